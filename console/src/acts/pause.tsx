// Pausing: what is written to the destination ends at once, and what changes in the source is queued.

import { useState } from "react";
import { useLive } from "../api/live";
import type { TableMap } from "../api/wire/map";
import { Notice } from "../parts/notice";
import { counted } from "../words/format";
import { ActionFrame } from "./frame";
import { usePlan } from "./planned";
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
