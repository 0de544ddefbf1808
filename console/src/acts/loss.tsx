// Before anything is lost: how much, from where, for good; and the name typed, so that no hand slips.
//
// The server is told the number that was seen, and does nothing if it is another one by then. Where the source is busy
// that would never end, so a person may say that what arrives meanwhile is meant as well.

import { Notice } from "../parts/notice";
import { bytes, counted } from "../words/format";

export interface Loss {
  /** What has to be typed. */
  name: string;
  /** The map, if it is about one. */
  map?: string | undefined;
  records: number;
  bytes: number;
  /** What that means, in a sentence. */
  what: string;
}

/** What a person has said to a loss so far. */
export interface Consent {
  typed: string;
  /** What arrives meanwhile is meant as well. */
  alsoNew: boolean;
  /** The number was another one when it was sent. */
  moved: boolean;
}

export const noConsent: Consent = { typed: "", alsoNew: false, moved: false };

export function LossConfirmation(props: { loss: Loss; consent: Consent; change: (change: Partial<Consent>) => void }) {
  const { loss, consent, change } = props;
  return (
    <>
      <Notice kind="bad" title={`${counted(loss.records, "record")} (${bytes(loss.bytes)}) will be lost`}>
        <p>{loss.what} This cannot be undone. The activity log keeps the exact count, and nothing of the records.</p>
        {loss.map !== undefined && (
          <p>
            To keep a copy of them, run <code>tandem queue export {loss.map}</code> first.
          </p>
        )}
      </Notice>
      {consent.moved && (
        <label className="check">
          <input type="checkbox" checked={consent.alsoNew} onChange={(event) => change({ alsoNew: event.target.checked })} />
          <span>Also those that arrive while I confirm: the number changes as we look at it</span>
        </label>
      )}
      <TypedName name={loss.name} typed={consent.typed} onType={(typed) => change({ typed })} />
    </>
  );
}

/** The name of what it is about, typed by a person. */
export function TypedName(props: { name: string; typed: string; onType: (typed: string) => void }) {
  return (
    <label className="field">
      <span>
        Type <strong>{props.name}</strong> to confirm
      </span>
      <input value={props.typed} autoComplete="off" spellCheck={false} onChange={(event) => props.onType(event.target.value)} />
    </label>
  );
}
