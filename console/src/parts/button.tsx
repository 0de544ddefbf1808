import type { ReactNode } from "react";
import { Icon, type IconName } from "./icons";

interface Props {
  children: ReactNode;
  onClick?: () => void;
  kind?: "plain" | "main" | "danger" | "quiet";
  icon?: IconName;
  disabled?: boolean;
  type?: "button" | "submit";
  /** What it does, where its words alone do not say. */
  label?: string;
  /** Why it cannot be pressed. */
  title?: string;
}

export function Button({ children, onClick, kind = "plain", icon, disabled, type = "button", label, title }: Props) {
  return (
    <button type={type} className={`button ${kind}`} onClick={onClick} disabled={disabled} aria-label={label} title={title}>
      {icon && <Icon name={icon} />}
      <span>{children}</span>
    </button>
  );
}
