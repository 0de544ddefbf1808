// What is said to a person: a problem with what mends it, a state that is empty, a word about what was just done.

import { type ReactNode, useEffect, useRef, useState } from "react";
import type { Problem } from "../api/wire/problem";
import { blocked } from "../words/names";
import { Icon, type IconName } from "./icons";

export function ProblemCard({ problem }: { problem: Problem }) {
  // Most of the time the sentence names them already.
  const blockers = (problem.blockers ?? []).filter((blocker) => !problem.detail.includes(blocker.needs));
  // In a dialog that is longer than the screen it would be said where nobody looks.
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (box.current?.closest("dialog")) box.current.scrollIntoView({ block: "nearest" });
  }, [problem]);
  return (
    <div className="notice bad" role="alert" ref={box}>
      <Icon name="error" />
      <div>
        <strong>{problem.title}</strong>
        <p>{problem.detail}</p>
        {blockers.length > 0 && (
          <ul>
            {blockers.map((blocker) => (
              <li key={blocker.map + blocker.needs}>{blocked(blocker)}</li>
            ))}
          </ul>
        )}
        {problem.findings?.map((finding) => (
          <div key={finding.place + finding.code} className="finding">
            <p>
              {finding.place}: {finding.message}
            </p>
            {finding.fix && <Fix text={finding.fix} />}
          </div>
        ))}
        {problem.fix && <Fix text={problem.fix} />}
        <p className="faint">
          <code>{problem.code}</code>
        </p>
      </div>
    </div>
  );
}

/** What a person can do about something. Commands and SQL stand in it as the server wrote them. */
export function Fix({ text }: { text: string }) {
  return (
    <p className="fix">
      <span className="fix-mark">What to do</span> <span className="fix-text">{text}</span>
    </p>
  );
}

export function Notice(props: { kind?: "bad" | "warn" | "info" | "good"; icon?: IconName; title?: string; children?: ReactNode }) {
  const kind = props.kind ?? "info";
  const icons = { bad: "error", warn: "warning", info: "info", good: "check" } as const;
  return (
    <div className={`notice ${kind}`}>
      <Icon name={props.icon ?? icons[kind]} />
      <div>
        {props.title && <strong>{props.title}</strong>}
        {props.children}
      </div>
    </div>
  );
}

export function Empty(props: { title: string; children?: ReactNode; icon?: IconName }) {
  return (
    <div className="empty">
      <Icon name={props.icon ?? "check"} />
      <h3>{props.title}</h3>
      <div>{props.children}</div>
    </div>
  );
}

/** Shown only when it takes long enough to be noticed. */
export function Waiting({ what }: { what: string }) {
  const [late, setLate] = useState(false);
  useEffect(() => {
    const timer = window.setTimeout(() => setLate(true), 200);
    return () => window.clearTimeout(timer);
  }, []);
  return <p className="waiting">{late ? `Reading ${what} …` : "\u00a0"}</p>;
}
