import { createRoot } from "react-dom/client";
import { Console } from "./console";
import "./style/base.css";
import "./style/controls.css";
import "./style/notices.css";
import "./style/shell.css";
import "./style/maps.css";
import "./style/map.css";
import "./style/records.css";
import "./style/narrow.css";

const root = document.getElementById("root");
if (root) createRoot(root).render(<Console />);
