// Going on behind a gap in an app's log. What lies in it is not known to anybody, so a person says that they know it, or
// that they will compare.

import { useState } from "react";
import { segment } from "../api/client";
import { refresh } from "../api/live";
import { once } from "../api/once";
import type { Accepted } from "../api/wire/action";
import type { Condition, TableMap } from "../api/wire/map";
import { Notice } from "../parts/notice";
import { StatePill } from "../parts/pill";
import { say } from "../parts/toast";
import { counted } from "../words/format";
import { ActForm } from "./form";
import { TypedName } from "./loss";

/** A map that has a gap, and what the server says of it. */
export interface Torn {
  map: TableMap;
  condition: Condition;
}

/**
 * The maps with a gap that can be accepted in this app's log. What a destination has lost is the same condition and cannot be
 * accepted: the server says which it is by what mends it.
 */
export function tornBy(app: string, maps: TableMap[]): Torn[] {
  const accepts = `tandem app accept-gap ${app} `;
  return maps.flatMap((map) => {
    const found = map.conditions.filter((condition) => condition.type === "GapDetected" && condition.status);
    return found.filter((condition) => condition.fix?.includes(accepts)).map((condition) => ({ map, condition }));
  });
}

export function GapDialog({ app, torn, onClose }: { app: string; torn: Torn[]; onClose: () => void }) {
  const [typed, setTyped] = useState("");
  const accept = async (reason: string) => {
    await once<Accepted>(`/apps/${segment(app)}/accept-gap`, { reason });
    say(`${app}: its log is taken up behind the gap. Resume its maps, then compare them`);
    await refresh();
  };
  return (
    <ActForm title={`Go on behind the gap in ${app}`} effect="Go on without what is in the gap" danger reasonNeeded incomplete={typed !== app} act={accept} onClose={onClose}>
      <Notice kind="bad" title="What was changed within the gap will never come by itself">
        <p>
          {app}’s log is taken up where it is now. What was inserted, changed or deleted in {app} between there and the last place that was
          read is not brought to the other side, and nobody knows how much it is. This cannot be undone.
        </p>
      </Notice>
      <p>What is queued from before the gap stays, and is applied first. The maps stay paused until you resume them:</p>
      <ul className="plan">
        {torn.map(({ map }) => (
          <li key={map.name}>
            <strong>{map.name}</strong>
            <StatePill map={map} />
            <span className="faint">{queuedFrom(map, app) > 0 ? `${counted(queuedFrom(map, app), "record")} queued` : "nothing queued"}</span>
          </li>
        ))}
      </ul>
      <p>
        Then compare both tables under <em>Verify</em> on each map’s page: that finds what is missing, and a repair brings it over,
        deletes included. If everything is to be copied anew instead, stop all of these maps, discard their queues, and run them again.
      </p>
      <TypedName name={app} typed={typed} onType={setTyped} />
    </ActForm>
  );
}

/** What waits of this app's changes: those of a two-way map's other side are not in its log. */
function queuedFrom(map: TableMap, app: string): number {
  return map.flows.filter((flow) => flow.source === app).reduce((sum, flow) => sum + flow.queue.records, 0);
}
