// Retrying and deleting catch-up errors.

import { type FormEvent, useState } from "react";
import { post, problemOf, segment } from "../api/client";
import { refresh } from "../api/live";
import type { ErrorsRequest, ErrorsTaken, Problem, TableMap } from "../api/types";
import { Button } from "../parts/button";
import { Dialog } from "../parts/dialog";
import { Notice, ProblemCard } from "../parts/notice";
import { say } from "../parts/toast";
import { counted } from "../words/format";

/** Which errors are meant, and how many were seen. */
export interface Pick {
  all?: boolean;
  ids?: string[];
  errors: number;
}

function asked(pick: Pick): ErrorsRequest {
  return pick.all ? { all: true } : { ids: pick.ids ?? [] };
}

function address(map: TableMap, verb: string): string {
  return `/maps/${segment(map.name)}/errors/${verb}`;
}

export async function retry(map: TableMap, pick: Pick): Promise<void> {
  const taken = await post<ErrorsTaken>(address(map, "retry"), asked(pick));
  say(`${map.name}: retrying ${counted(taken.errors, "error")}`);
  await refresh();
}

export async function cancelRetry(map: TableMap): Promise<void> {
  await post(address(map, "cancel"));
  say(`${map.name}: the retry ends`);
  await refresh();
}

export function DeleteErrorsDialog({ map, pick, onClose }: { map: TableMap; pick: Pick; onClose: () => void }) {
  const [reason, setReason] = useState("");
  const [typed, setTyped] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const errors = counted(pick.errors, "error");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    post<ErrorsTaken>(address(map, "delete"), { ...asked(pick), expected: pick.errors, reason: reason.trim() })
      .then(async (taken) => {
        say(`${map.name}: ${counted(taken.errors, "error")} deleted`);
        await refresh();
        onClose();
      })
      .catch((why: unknown) => {
        setProblem(problemOf(why));
        setBusy(false);
      });
  };
  return (
    <Dialog title={`Delete ${errors} of ${map.name}`} onClose={onClose}>
      <form onSubmit={submit}>
        <Notice kind="bad" title={`${counted(pick.errors, "change")} will never be applied`}>
          <p>The two sides differ in these records until somebody mends that. This cannot be undone.</p>
        </Notice>
        <label className="field">
          <span>
            Type <strong>{map.name}</strong> to confirm
          </span>
          <input value={typed} autoComplete="off" spellCheck={false} onChange={(event) => setTyped(event.target.value)} />
        </label>
        <label className="field">
          <span>Reason</span>
          <input value={reason} maxLength={300} onChange={(event) => setReason(event.target.value)} />
        </label>
        {problem && <ProblemCard problem={problem} />}
        <footer>
          <Button kind="quiet" onClick={onClose}>
            Cancel
          </Button>
          <Button type="submit" kind="danger" disabled={busy || typed !== map.name || reason.trim() === ""}>
            {busy ? "Working …" : `Delete ${errors}`}
          </Button>
        </footer>
      </form>
    </Dialog>
  );
}
