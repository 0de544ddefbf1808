// Stopping: the map follows its source no longer, and what becomes of its queue and errors has to be said.

import { useState } from "react";
import { useLive } from "../api/live";
import type { TableMap } from "../api/wire/map";
import { counted } from "../words/format";
import { ActionFrame, Choice } from "./frame";
import { usePlan, waiting } from "./planned";
import { asked, onlyMap, type Target, title } from "./target";

export function StopDialog({ target, onClose }: { target: Target; onClose: () => void }) {
  const maps = (useLive().maps ?? []).filter((map) => (target.app === undefined ? target.maps.includes(map.name) : uses(map, target.app)));
  const errors = maps.reduce((sum, map) => sum + map.errors.open + map.errors.waiting + map.errors.retrying, 0);
  const records = maps.reduce((sum, map) => sum + map.queue.records, 0);
  const hasQueue = maps.some((map) => map.state === "paused" || map.state === "resuming") || errors > 0;
  const [queue, setQueue] = useState<"preserve" | "discard">("preserve");
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
      action={action}
      planned={planned}
      loss={discards ? { name, map: onlyMap(target), ...queued, what } : null}
      onClose={onClose}
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
    </ActionFrame>
  );
}

function uses(map: TableMap, app: string): boolean {
  return map.left.app === app || map.right.app === app;
}
