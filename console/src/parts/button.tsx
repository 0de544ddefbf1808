import type { MouseEvent, ReactNode } from "react";
import { Icon, type IconName } from "./icons";

export interface ButtonProps {
  children: ReactNode;
  onClick?: (() => void) | undefined;
  kind?: "plain" | "main" | "danger" | "quiet";
  icon?: IconName;
  disabled?: boolean | undefined;
  type?: "button" | "submit";
  /** What it does, where its words alone do not say. */
  label?: string | undefined;
  /** Why it cannot be pressed. */
  title?: string | undefined;
}

export function Button({ children, onClick, kind = "plain", icon, disabled, type = "button", label, title }: ButtonProps) {
  // The second click of a double click is no wish of its own: what stood here may be something else by then.
  const press = onClick && ((event: MouseEvent) => event.detail < 2 && onClick());
  return (
    <button type={type} className={`button ${kind}`} onClick={press} disabled={disabled} aria-label={label} title={title}>
      {icon && <Icon name={icon} />}
      <span>{children}</span>
    </button>
  );
}
