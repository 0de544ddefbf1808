import { createRoot } from "react-dom/client";
import { Console } from "./console";
import "./style/base.css";
import "./style/parts.css";
import "./style/pages.css";
import "./style/narrow.css";

const root = document.getElementById("root");
if (root) createRoot(root).render(<Console />);
