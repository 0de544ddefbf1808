import { useEffect, useRef } from "react";

/** A bar that is filled to a part of it. The words beside it say the same. */
export function Bar(props: { part: number; soft?: number; tone?: "good" | "warn" | "bad" | "calm"; label: string }) {
  const element = useRef<HTMLSpanElement>(null);
  const part = Math.min(1, Math.max(0, props.part));
  useEffect(() => {
    element.current?.style.setProperty("--part", `${part * 100}%`);
    element.current?.style.setProperty("--soft", `${(props.soft ?? 1) * 100}%`);
  }, [part, props.soft]);
  return (
    <span
      ref={element}
      className={`bar ${props.tone ?? "calm"} ${props.soft === undefined ? "" : "marked"}`}
      role="meter"
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(part * 100)}
      aria-label={props.label}
    >
      <span className="filled" />
    </span>
  );
}
