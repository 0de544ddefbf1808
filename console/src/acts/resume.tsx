// Resuming paused maps in one of three ways, and skipping to live while they catch up.

import { useState } from "react";
import type { Action } from "../api/wire/action";
import { counted } from "../words/format";
import { Choice, ActionFrame } from "./frame";
import { usePlan, waiting } from "./planned";
import { asked, onlyMap, type Target, title } from "./target";

type Mode = NonNullable<Action["mode"]>;

export function ResumeDialog({ target, onClose }: { target: Target; onClose: () => void }) {
  const [mode, setMode] = useState<Mode>("catch_up");
  const [rate, setRate] = useState("");
  const [withParents, setWithParents] = useState(false);
  const cap = mode === "catch_up" && Number(rate) > 0 ? { rate: Math.floor(Number(rate)) } : {};
  const parents = withParents ? { with_parents: true } : {};
  const action = asked(target, "resume", { mode, ...cap, ...parents });
  const planned = usePlan(action);
  const queued = waiting(planned.plan);
  const parentBlocks = planned.plan?.blockers.some((blocker) => blocker.needs.includes("must be live first")) ?? false;
  const discards = mode === "skip_discard" && queued.records > 0;
  const name = title(target);
  const words = queued.records === 0 ? nothing : wordsOf(counted(queued.records, "queued record"), queued.records === 1);
  return (
    <ActionFrame
      title={`Resume ${name}`}
      effect={discards ? `Discard ${counted(queued.records, "record")}` : mode === "catch_up" ? "Resume and catch up" : "Resume live"}
      action={action}
      planned={planned}
      loss={discards ? { name, map: onlyMap(target), ...queued, what: `These changes of ${name} are never written to the destination.` } : null}
      onClose={onClose}
    >
      <fieldset className="choices">
        <legend>What becomes of the queue?</legend>
        <Choice name="mode" value="catch_up" chosen={mode} onChoose={setMode} title="Catch up">
          {words.catch_up}
        </Choice>
        <Choice name="mode" value="skip_preserve" chosen={mode} onChoose={setMode} title="Skip to live, and preserve the queue">
          {words.skip_preserve}
        </Choice>
        <Choice name="mode" value="skip_discard" chosen={mode} onChoose={setMode} title="Skip to live, and discard the queue">
          {words.skip_discard}
        </Choice>
      </fieldset>
      {mode === "catch_up" && (
        <label className="field short">
          <span>
            At most so many records a second <span className="faint">(empty: as fast as it goes)</span>
          </span>
          <input inputMode="numeric" value={rate} onChange={(event) => setRate(event.target.value.replace(/\D/g, ""))} />
        </label>
      )}
      {(parentBlocks || withParents) && (
        <label className="check">
          <input type="checkbox" checked={withParents} onChange={(event) => setWithParents(event.target.checked)} />
          <span>Also resume the maps that it depends on, by catch-up</span>
        </label>
      )}
    </ActionFrame>
  );
}

/** What becomes of the queue in each way. */
function wordsOf(records: string, one: boolean): Record<Mode, string> {
  return {
    catch_up: `Apply the ${records} first, in order; changes that come meanwhile join the end. Nothing is lost.`,
    skip_preserve: `Live at once. The ${records} ${one ? "becomes a catch-up error" : "become catch-up errors"}, to be retried or deleted when you like.`,
    skip_discard: `Live at once. The ${records} ${one ? "is" : "are"} dropped: the two sides differ in ${one ? "it" : "them"} until somebody mends that.`,
  };
}

const nothing: Record<Mode, string> = {
  catch_up: "Nothing is queued now. What comes is applied in order; nothing is lost.",
  skip_preserve: "Live at once. Nothing is queued now; what is by then becomes catch-up errors.",
  skip_discard: "Live at once. Nothing is queued now; what is by then is dropped.",
};

export function SkipDialog({ target, onClose }: { target: Target; onClose: () => void }) {
  const [queue, setQueue] = useState<"preserve" | "discard">("preserve");
  const action = asked(target, "skip", { queue });
  const planned = usePlan(action);
  const queued = waiting(planned.plan);
  const discards = queue === "discard" && queued.records > 0;
  const name = title(target);
  // While it catches up the number falls by itself: what is dropped is what is left then, which is never more.
  const records = counted(queued.records, "record");
  return (
    <ActionFrame
      title={`Skip ${name} to live`}
      effect={discards ? `Discard what is left (${records})` : "Skip to live"}
      action={action}
      planned={planned}
      loss={discards ? { name, map: onlyMap(target), ...queued, what: `What is left of the queue of ${name} is never written to the destination.` } : null}
      onClose={onClose}
    >
      <p>The catch-up ends here, and live synchronization begins at once.</p>
      <fieldset className="choices">
        <legend>What becomes of the {records} that {queued.records === 1 ? "is" : "are"} left?</legend>
        <Choice name="queue" value="preserve" chosen={queue} onChoose={setQueue} title="Preserve them as catch-up errors">
          They can be retried or deleted when you like. Nothing is lost.
        </Choice>
        <Choice name="queue" value="discard" chosen={queue} onChoose={setQueue} title="Discard them">
          They are dropped, and the two sides differ in them.
        </Choice>
      </fieldset>
    </ActionFrame>
  );
}
