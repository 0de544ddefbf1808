// Before anything is lost: how much, from where, for good; and the name typed, so that no hand slips.
//
// The server is told the number that was seen, and does nothing if it is another one by then. Where the source is busy
// that would never end, so a person may say that what arrives meanwhile is meant as well.

import { useState } from "react";
import type { Problem } from "../api/types";
import { Notice } from "../parts/notice";
import { bytes, counted } from "../words/format";

export interface Loss {
  typed: string;
  alsoNew: boolean;
  moved: boolean;
}

export function useLoss(): [Loss, (change: Partial<Loss>) => void, (problem: Problem) => void] {
  const [loss, setLoss] = useState<Loss>({ typed: "", alsoNew: false, moved: false });
  const change = (change: Partial<Loss>) => setLoss((before) => ({ ...before, ...change }));
  const refused = (problem: Problem) => {
    if (problem.status === 409) change({ moved: true });
  };
  return [loss, change, refused];
}

export function LossConfirmation(props: { name: string; records: number; bytes: number; what: string; loss: Loss; change: (change: Partial<Loss>) => void }) {
  const { loss, change } = props;
  return (
    <>
      <Notice kind="bad" title={`${counted(props.records, "record")} (${bytes(props.bytes)}) will be lost`}>
        <p>{props.what} This cannot be undone. The activity log keeps the exact count, and nothing of the records.</p>
      </Notice>
      {loss.moved && (
        <label className="check">
          <input type="checkbox" checked={loss.alsoNew} onChange={(event) => change({ alsoNew: event.target.checked })} />
          <span>Also those that arrive while I confirm: the number changes as we look at it</span>
        </label>
      )}
      <label className="field">
        <span>
          Type <strong>{props.name}</strong> to confirm
        </span>
        <input value={loss.typed} autoComplete="off" spellCheck={false} onChange={(event) => change({ typed: event.target.value })} />
      </label>
    </>
  );
}
