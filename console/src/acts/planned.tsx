// What an action would do, as the server says, asked anew whenever the action or a map's state changes.

import { useEffect, useState } from "react";
import { problemOf } from "../api/client";
import { useLive } from "../api/live";
import type { Action, Plan, PlannedMap } from "../api/wire/action";
import type { Problem } from "../api/wire/problem";
import { bytes, counted } from "../words/format";
import { blocked, stateNames } from "../words/names";
import { Notice } from "../parts/notice";
import { plan } from "./target";

export interface Planned {
  plan: Plan | null;
  problem: Problem | null;
}

export function usePlan(action: Action): Planned {
  const [planned, setPlanned] = useState<Planned>({ plan: null, problem: null });
  const { maps } = useLive();
  const key = JSON.stringify(action);
  const states = (maps ?? []).map((map) => `${map.name} ${map.state} ${map.queue.records}`).join();
  useEffect(() => {
    let current = true;
    plan(JSON.parse(key) as Action).then(
      (plan) => current && setPlanned({ plan, problem: null }),
      // What was known stays in sight; nothing is done by it.
      (why: unknown) => current && setPlanned((before) => ({ plan: before.plan, problem: problemOf(why) })),
    );
    return () => {
      current = false;
    };
  }, [key, states]);
  return planned;
}

/** The maps that it touches, and what stands in its way. */
export function PlanView({ plan }: { plan: Plan }) {
  if (plan.blockers.length > 0) {
    return (
      <Notice kind="warn" title="Nothing would be done: all maps, or none">
        <ul>
          {plan.blockers.map((blocker) => (
            <li key={blocker.map + blocker.needs}>{blocked(blocker)}</li>
          ))}
        </ul>
      </Notice>
    );
  }
  return (
    <ul className="plan">
      {plan.maps.map((map) => (
        <li key={map.name}>
          <strong>{map.name}</strong>
          <span>
            {map.from === map.to ? stateNames[map.to] : `${stateNames[map.from]} → ${stateNames[map.to]}`}
          </span>
          <span className="faint">{remarks(map)}</span>
        </li>
      ))}
    </ul>
  );
}

function remarks(map: PlannedMap): string {
  const said: string[] = [];
  if (map.goes_along) said.push("goes along");
  if (map.queued > 0 && map.from !== "running") said.push(`${counted(map.queued, "record")} queued, ${bytes(map.bytes)}`);
  if (map.lost) said.push("lost");
  return said.join(" · ");
}

/** What of a plan would be lost. */
export function lost(plan: Plan | null): { records: number; bytes: number } {
  const gone = (plan?.maps ?? []).filter((map) => map.lost);
  return { records: gone.reduce((sum, map) => sum + map.queued, 0), bytes: gone.reduce((sum, map) => sum + map.bytes, 0) };
}

/** Records that the plan says wait, lost or not, of the maps that were named. */
export function waiting(plan: Plan | null): { records: number; bytes: number } {
  const named = (plan?.maps ?? []).filter((map) => !map.goes_along);
  return { records: named.reduce((sum, map) => sum + map.queued, 0), bytes: named.reduce((sum, map) => sum + map.bytes, 0) };
}
