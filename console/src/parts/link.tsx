import type { MouseEvent, ReactNode } from "react";
import { go } from "../route";

/** A link within the console: a real one, so that it opens in a new tab as well. */
export function Link(props: { to: string; className?: string; current?: boolean; children: ReactNode; label?: string }) {
  const follow = (event: MouseEvent) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    go(props.to);
  };
  return (
    <a href={props.to} className={props.className} aria-current={props.current ? "page" : undefined} aria-label={props.label} onClick={follow}>
      {props.children}
    </a>
  );
}
