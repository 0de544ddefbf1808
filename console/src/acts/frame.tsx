// What every dialog of an action has: what will happen, a reason, what was refused, and the one button that does it.

import { type FormEvent, type ReactNode, useState } from "react";
import { problemOf } from "../api/client";
import type { Action, Problem } from "../api/types";
import { Button } from "../parts/button";
import { Dialog } from "../parts/dialog";
import { ProblemCard } from "../parts/notice";
import { PlanView, type Planned } from "./planned";
import { perform } from "./target";

interface Props {
  title: string;
  /** The words of the button: the effect, and not just "OK". */
  effect: string;
  danger?: boolean;
  /** Something still has to be said before it can be done. */
  incomplete?: boolean;
  /** A reason has to be given. */
  reasonNeeded?: boolean;
  action: Action;
  planned: Planned;
  onClose: () => void;
  /** What a refusal means for the dialog around. */
  onRefused?: (problem: Problem) => void;
  children?: ReactNode;
}

export function ActionFrame(props: Props) {
  const [reason, setReason] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const blocked = (props.planned.plan?.blockers.length ?? 0) > 0 || props.planned.plan === null;
  const noReason = props.reasonNeeded === true && reason.trim() === "";
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setProblem(null);
    try {
      await perform({ ...props.action, reason: reason.trim() });
      props.onClose();
    } catch (why) {
      const refused = problemOf(why);
      setProblem(refused);
      props.onRefused?.(refused);
      setBusy(false);
    }
  };
  return (
    <Dialog title={props.title} onClose={props.onClose}>
      <form onSubmit={(event) => void submit(event)}>
        {props.children}
        {props.planned.plan && <PlanView plan={props.planned.plan} />}
        {props.planned.problem && <ProblemCard problem={props.planned.problem} />}
        <label className="field">
          <span>Reason {props.reasonNeeded ? "" : <span className="faint">(optional; stands in the activity log)</span>}</span>
          <input value={reason} maxLength={300} onChange={(event) => setReason(event.target.value)} placeholder="maintenance of the CRM" />
        </label>
        {problem && <ProblemCard problem={problem} />}
        <footer>
          <Button kind="quiet" onClick={props.onClose}>
            Cancel
          </Button>
          <Button type="submit" kind={props.danger ? "danger" : "main"} disabled={busy || blocked || props.incomplete === true || noReason}>
            {busy ? "Working …" : props.effect}
          </Button>
        </footer>
      </form>
    </Dialog>
  );
}

/** One of a few ways, with what each means. */
export function Choice<T extends string>(props: { name: string; value: T; chosen: T; onChoose: (value: T) => void; title: string; children: ReactNode }) {
  return (
    <label className={props.value === props.chosen ? "choice chosen" : "choice"}>
      <input type="radio" name={props.name} checked={props.value === props.chosen} onChange={() => props.onChoose(props.value)} />
      <span>
        <strong>{props.title}</strong>
        <span className="choice-text">{props.children}</span>
      </span>
    </label>
  );
}
