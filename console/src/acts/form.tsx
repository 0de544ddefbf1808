// What every dialog that does something has: a reason, what was refused, and the one button that does it, once.

import { type FormEvent, type ReactNode, useState } from "react";
import { problemOf } from "../api/client";
import type { Problem } from "../api/wire/problem";
import { ActButton } from "../parts/act-button";
import { Button } from "../parts/button";
import { Dialog } from "../parts/dialog";
import { ProblemCard } from "../parts/notice";

interface Props {
  title: string;
  /** The words of the button: the effect, and not just "OK". */
  effect: string;
  danger?: boolean;
  /** Something still has to be said, or to be out of the way, before it can be done. */
  incomplete?: boolean;
  /** A reason has to be given. */
  reasonNeeded?: boolean;
  act: (reason: string) => Promise<unknown>;
  onClose: () => void;
  /** What a refusal means for the dialog around. */
  onRefused?: (problem: Problem) => void;
  children?: ReactNode;
}

export function ActForm(props: Props) {
  const [reason, setReason] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const noReason = props.reasonNeeded === true && reason.trim() === "";
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setProblem(null);
    try {
      await props.act(reason.trim());
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
        <label className="field">
          <span>Reason {props.reasonNeeded ? "" : <span className="faint">(optional; stands in the activity log)</span>}</span>
          <input value={reason} maxLength={300} onChange={(event) => setReason(event.target.value)} />
        </label>
        {problem && <ProblemCard problem={problem} />}
        <footer>
          <Button kind="quiet" onClick={props.onClose}>
            Cancel
          </Button>
          <ActButton type="submit" kind={props.danger ? "danger" : "main"} disabled={busy || props.incomplete === true || noReason}>
            {busy ? "Working …" : props.effect}
          </ActButton>
        </footer>
      </form>
    </Dialog>
  );
}
