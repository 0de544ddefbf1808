// Comparing the two tables of a map, and repairing what differs.

import { useEffect, useState } from "react";
import { RepairDialog, type Side } from "../../acts/repair";
import { get, problemOf, Refused, segment } from "../../api/client";
import { useLive } from "../../api/live";
import { once } from "../../api/once";
import type { TableMap } from "../../api/wire/map";
import type { Problem } from "../../api/wire/problem";
import type { Verification } from "../../api/wire/verify";
import { useAsked, useSlowly } from "../../parts/asked";
import { Bar } from "../../parts/bar";
import { ActButton } from "../../parts/act-button";
import { Key, Said } from "../../parts/cell";
import { Ago, useNow } from "../../parts/moment";
import { Empty, Notice, ProblemCard } from "../../parts/notice";
import { useMayAct } from "../../parts/who";
import { actorName } from "../../words/events";
import { count, counted } from "../../words/format";

const kinds: Record<string, string> = { changed: "has other values", missing_left: "only on the right", missing_right: "only on the left", refused: "cannot be mapped" };

export function VerifyTab({ map }: { map: TableMap }) {
  const [repair, setRepair] = useState<Side | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const mayAct = useMayAct();
  const path = `/maps/${segment(map.name)}/verify`;
  // While it goes on it is looked at again and again; that another one has begun is in the activity log.
  const { activityTick } = useLive();
  const [goesOn, setGoesOn] = useState(false);
  const now = useNow();
  const tick = useSlowly(`${goesOn ? Math.floor(now / 2_000) : ""} ${activityTick}`);
  // There is none until one was asked for.
  const asked = useAsked<Verification | null>(`${map.name} ${tick}`, (signal) =>
    get<Verification>(path, {}, signal).catch((why: unknown) => {
      if (why instanceof Refused && why.problem.status === 404) return null;
      throw why;
    }),
  );
  const found = asked.data;
  useEffect(() => setGoesOn(found !== null && found.ended_at === null), [found]);
  const act = (path: string, body: unknown) => {
    setProblem(null);
    once(path, body).then(asked.again, (why: unknown) => setProblem(problemOf(why)));
  };
  return (
    <div className="rooms">
      <section className="card" aria-label="Compare">
        <h2>Compare the two tables</h2>
        <p className="faint">Record by record, while both apps stay in use. What moves meanwhile is looked at twice.</p>
        {mayAct && (
          <div className="buttons">
            {goesOn ? (
              <ActButton onClick={() => act(`${path}/cancel`, {})}>Cancel</ActButton>
            ) : (
              <ActButton kind="main" onClick={() => act(path, { limit: LISTED_MAX })}>
                Compare
              </ActButton>
            )}
          </div>
        )}
        {problem && <ProblemCard problem={problem} />}
        {asked.problem && <ProblemCard problem={asked.problem} />}
      </section>
      {found === null && !asked.problem && <Empty title="Not compared since the server started" icon="info" />}
      {found && <Result found={found} map={map} onRepair={mayAct ? setRepair : undefined} />}
      {found && repair && <RepairDialog map={map} found={found} side={repair} onBegun={asked.again} onClose={() => setRepair(null)} />}
    </div>
  );
}

/** A repair of what was seen needs each record by its name, and the server keeps so many. */
const LISTED_MAX = 1_000;

function Result({ found, map, onRepair }: { found: Verification; map: TableMap; onRepair: ((side: Side) => void) | undefined }) {
  const sides: Side[] = map.direction === "both" ? ["left", "right"] : [map.direction === "to_left" ? "right" : "left"];
  const differ = found.state === "done" && found.differing > found.repaired;
  const isLast = found.repair === null;
  const part = found.rows_estimate ? Math.min(0.99, found.rows_read / found.rows_estimate) : 0;
  const titles: Record<Verification["state"], string> = {
    source: "Comparing",
    destination: "Comparing the other way round",
    done: found.repair !== null ? repairedWords(found) : found.differing === 0 ? "The tables are equal" : counted(found.differing, "record differs", "records differ"),
    cancelled: "Cancelled",
    failed: "It failed",
  };
  const numbers: [string, number][] = [
    ["Equal", found.equal],
    ["Other values", found.changed],
    ["Only left", found.missing_right],
    ["Only right", found.missing_left],
    ["Left out by the filter", found.left_out],
    ["Queued", found.queued],
    ["With an error", found.has_error],
    ["Moving", found.moving],
    ["Repaired", found.repaired],
  ];
  return (
    <section className="card" aria-label="Result">
      <h2>{titles[found.state]}</h2>
      {found.ended_at === null && <Bar part={part} tone={found.differing > 0 ? "warn" : "good"} label={`${counted(found.rows_read, "row")} read`} />}
      {found.fault && (
        <Notice kind="warn">
          <p>
            <Said text={found.fault} />
          </p>
        </Notice>
      )}
      <dl className="numbers">
        {numbers
          .filter(([name, value]) => value > 0 || name === "Equal")
          .map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{count(value)}</dd>
            </div>
          ))}
      </dl>
      {differ && isLast && onRepair && (
        <>
          <div className="buttons">
            {sides.map((side) => (
              <ActButton key={side} kind="danger" disabled={map.state !== "running" || map.pausing} onClick={() => onRepair(side)}>
                {side === "left" ? `Make ${map.right.app} equal to ${map.left.app} …` : `Make ${map.left.app} equal to ${map.right.app} …`}
              </ActButton>
            ))}
          </div>
          {map.state !== "running" && <p className="faint">A repair goes through the map itself, so it needs one that runs.</p>}
        </>
      )}
      {found.differences.length > 0 && (
        <table className="compare">
          <thead>
            <tr>
              <th scope="col">Record</th>
              <th scope="col">Difference</th>
            </tr>
          </thead>
          <tbody>
            {found.differences.map((difference, place) => (
              <tr key={place}>
                <td>
                  <Key parts={difference.key} />
                </td>
                <td>
                  {kinds[difference.kind] ?? difference.kind}
                  {difference.repaired && <span className="faint"> · repaired</span>}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <p className="faint">
        {found.repair !== null && <>a repair </>}asked for by {actorName(found.actor)}, <Ago at={found.started_at} />
      </p>
    </section>
  );
}

function repairedWords(found: Verification): string {
  const left = found.differing - found.repaired;
  if (left > 0) return `${counted(found.repaired, "record")} repaired; ${counted(left, "record differs", "records differ")} still`;
  return found.repaired === 0 ? "Nothing was left to repair" : `${counted(found.repaired, "record")} repaired`;
}
