// Pausing, running and stopping.

import { useState } from "react";
import { useLive } from "../api/live";
import type { Action, TableMap } from "../api/types";
import { Notice } from "../parts/notice";
import { counted } from "../words/format";
import { ActionFrame, Choice } from "./frame";
import { LossConfirmation, useLoss } from "./loss";
import { usePlan, waiting } from "./planned";
import { asked, type Target, title } from "./target";

/** For how long a pause is planned: seconds. */
const windows: [string, string][] = [
  ["", "until I resume"],
  ["1800", "30 min"],
  ["3600", "1 h"],
  ["7200", "2 h"],
  ["14400", "4 h"],
  ["43200", "12 h"],
];

export function PauseDialog({ target, onClose }: { target: Target; onClose: () => void }) {
  const [seconds, setSeconds] = useState("");
  const [thenResume, setThenResume] = useState(false);
  const end = seconds === "" ? {} : { for_seconds: Number(seconds), ...(thenResume ? { then_resume: true } : {}) };
  const action = asked(target, "pause", end);
  const planned = usePlan(action);
  const maps = useLive().maps ?? [];
  const touched = (planned.plan?.maps ?? []).map((map) => maps.find((one) => one.name === map.name));
  const rejects = touched.filter((map): map is TableMap => map?.deletes === "reject");
  return (
    <ActionFrame
      title={`Pause ${title(target)}`}
      effect={`Pause ${counted(planned.plan?.maps.length ?? 0, "map")}`}
      action={action}
      planned={planned}
      onClose={onClose}
    >
      <p>
        From now on nothing is written to the destination. Changes in the source are queued, in order, and users of the source keep
        working. Nothing is lost.
      </p>
      <label className="field short">
        <span>For how long</span>
        <select value={seconds} onChange={(event) => setSeconds(event.target.value)}>
          {windows.map(([value, name]) => (
            <option key={value} value={value}>
              {name}
            </option>
          ))}
        </select>
      </label>
      {seconds !== "" && (
        <label className="check">
          <input type="checkbox" checked={thenResume} onChange={(event) => setThenResume(event.target.checked)} />
          <span>Then resume by itself, and catch up</span>
        </label>
      )}
      {rejects.length > 0 && (
        <Notice kind="info" title="Deletes are refused in the source meanwhile">
          <p>Of {rejects.map((map) => map.name).join(", ")}: whoever deletes a record there is told that it is in a queued state.</p>
        </Notice>
      )}
    </ActionFrame>
  );
}

type Start = "declared" | "copy" | "without" | "rerun" | "rerun_without_failed" | "skip_sync";

export function RunDialog({ target, onClose }: { target: Target; onClose: () => void }) {
  const maps = (useLive().maps ?? []).filter((map) => target.maps.includes(map.name));
  const failed = maps.some((map) => map.allowed.includes("rerun"));
  const [start, setStart] = useState<Start>(failed ? "rerun" : "declared");
  const fields: Record<Start, Partial<Action>> = {
    declared: {},
    copy: { initial_sync: true },
    without: { initial_sync: false },
    rerun: { initial_sync: true },
    rerun_without_failed: { without_failed: true },
    skip_sync: { initial_sync: false },
  };
  const action = asked(target, "run", fields[start]);
  const planned = usePlan(action);
  const names = { declared: "Run", copy: "Run", without: "Run", rerun: "Run the initial sync again", rerun_without_failed: "Run it again without them", skip_sync: "Go on without" };
  const choice = (value: Start, title: string, text: string) => (
    <Choice name="start" value={value} chosen={start} onChoose={setStart} title={title}>
      {text}
    </Choice>
  );
  return (
    <ActionFrame title={`Run ${title(target)}`} effect={names[start]} action={action} planned={planned} onClose={onClose}>
      <fieldset className="choices">
        <legend>{failed ? "The initial sync ended with errors" : "What about the records that are there already?"}</legend>
        {failed ? (
          <>
            {choice("rerun", "Do it again", "Every row is looked at once more. Rows that are equal already are left as they are.")}
            {choice("rerun_without_failed", "Do it again without the rows that failed", "They stay as catch-up errors.")}
            {choice("skip_sync", "Skip the initial sync", "Live synchronization begins. What was not copied stays as it is.")}
          </>
        ) : (
          <>
            {choice("declared", "As the map says", "With an initial sync, unless the map's config says that there is none.")}
            {choice("copy", "Copy them first", "Each record of the source is written to the destination; both apps stay in use.")}
            {choice("without", "Begin with what changes from now on", "Records that are there already are not copied.")}
          </>
        )}
      </fieldset>
    </ActionFrame>
  );
}

export function StopDialog({ target, onClose }: { target: Target; onClose: () => void }) {
  const maps = (useLive().maps ?? []).filter((map) => (target.app === undefined ? target.maps.includes(map.name) : uses(map, target.app)));
  const errors = maps.reduce((sum, map) => sum + map.errors.open + map.errors.waiting + map.errors.retrying, 0);
  const records = maps.reduce((sum, map) => sum + map.queue.records, 0);
  const hasQueue = maps.some((map) => map.state === "paused" || map.state === "resuming") || errors > 0;
  const [queue, setQueue] = useState<"preserve" | "discard">("preserve");
  const [loss, change, refused] = useLoss();
  const action = asked(target, "stop", hasQueue ? { queue } : {});
  const planned = usePlan(action);
  const queued = waiting(planned.plan);
  const discards = hasQueue && queue === "discard" && (queued.records > 0 || errors > 0);
  const name = title(target);
  const what = errors > 0 ? `${counted(errors, "catch-up error")} of ${name} go as well.` : `These changes of ${name} are never written to the destination.`;
  return (
    <ActionFrame
      title={`Stop ${name}`}
      effect={discards ? `Stop, and discard ${counted(queued.records, "record")}` : "Stop"}
      danger
      incomplete={discards && loss.typed !== name}
      reasonNeeded={discards}
      action={discards && !loss.alsoNew ? { ...action, expected: queued.records } : action}
      planned={planned}
      onClose={onClose}
      onRefused={refused}
    >
      <p>
        A stopped map follows its source no longer: changes that are made while it is stopped reach the other side only by a new initial
        sync. To take an app down for maintenance, pause it instead.
      </p>
      {hasQueue && (
        <fieldset className="choices">
          <legend>What becomes of {counted(records, "queued record")}{errors > 0 ? ` and ${counted(errors, "catch-up error")}` : ""}?</legend>
          <Choice name="queue" value="preserve" chosen={queue} onChoose={setQueue} title="Preserve them as catch-up errors">
            They can be retried when the map runs again.
          </Choice>
          <Choice name="queue" value="discard" chosen={queue} onChoose={setQueue} title="Discard them">
            They are dropped.
          </Choice>
        </fieldset>
      )}
      {discards && <LossConfirmation name={name} records={queued.records} bytes={queued.bytes} what={what} loss={loss} change={change} />}
    </ActionFrame>
  );
}

function uses(map: TableMap, app: string): boolean {
  return map.left.app === app || map.right.app === app;
}
