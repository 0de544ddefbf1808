// Comparing the two tables of a map, and repairing what differs.

import { useState } from "react";
import { get, post, problemOf, Refused, segment } from "../../api/client";
import type { Problem, TableMap, Verification } from "../../api/types";
import { useAsked, useSlowly } from "../../parts/asked";
import { Bar } from "../../parts/bar";
import { Button } from "../../parts/button";
import { Key } from "../../parts/cell";
import { Ago, useNow } from "../../parts/moment";
import { Empty, Notice, ProblemCard } from "../../parts/notice";
import { useMayAct } from "../../parts/who";
import { count, counted } from "../../words/format";

const kinds: Record<string, string> = { changed: "has other values", missing_left: "only on the right", missing_right: "only on the left", refused: "cannot be mapped" };

export function VerifyTab({ map }: { map: TableMap }) {
  const [repair, setRepair] = useState("");
  const [problem, setProblem] = useState<Problem | null>(null);
  const mayAct = useMayAct();
  const path = `/maps/${segment(map.name)}/verify`;
  const tick = useSlowly(String(Math.floor(useNow() / 2_000)));
  // There is none until one was asked for.
  const asked = useAsked<Verification | null>(`${map.name} ${tick}`, (signal) =>
    get<Verification>(path, {}, signal).catch((why: unknown) => {
      if (why instanceof Refused && why.problem.status === 404) return null;
      throw why;
    }),
  );
  const found = asked.data;
  const goesOn = found !== null && found.ended_at === null;
  const act = (path: string, body: unknown) => {
    setProblem(null);
    post(path, body).then(asked.again, (why: unknown) => setProblem(problemOf(why)));
  };
  return (
    <div className="rooms">
      <section className="card" aria-label="Compare">
        <h2>Compare the two tables</h2>
        <p className="faint">Record by record, while both apps stay in use. What moves meanwhile is looked at twice.</p>
        {mayAct && (
          <div className="buttons">
            <select aria-label="What to do with differences" value={repair} disabled={goesOn} onChange={(event) => setRepair(event.target.value)}>
              <option value="">only report differences</option>
              <option value="left">make {map.right.app} equal to {map.left.app}</option>
              <option value="right">make {map.left.app} equal to {map.right.app}</option>
            </select>
            {goesOn ? (
              <Button onClick={() => act(`${path}/cancel`, {})}>Cancel</Button>
            ) : (
              <Button kind={repair === "" ? "main" : "danger"} onClick={() => act(path, repair === "" ? {} : { repair })}>
                {repair === "" ? "Compare" : "Compare and repair"}
              </Button>
            )}
          </div>
        )}
        {problem && <ProblemCard problem={problem} />}
        {asked.problem && <ProblemCard problem={asked.problem} />}
      </section>
      {found === null && !asked.problem && <Empty title="Not compared since the server started" icon="info" />}
      {found && <Result found={found} />}
    </div>
  );
}

function Result({ found }: { found: Verification }) {
  const part = found.ended_at !== null ? 1 : found.rows_estimate ? Math.min(0.99, found.rows_read / found.rows_estimate) : 0;
  const titles: Record<Verification["state"], string> = {
    source: "Comparing",
    destination: "Comparing the other way round",
    done: found.differing === 0 ? "The tables are equal" : counted(found.differing, "record differs", "records differ"),
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
      <Bar part={part} tone={found.differing > 0 ? "warn" : "good"} label={`${counted(found.rows_read, "row")} read`} />
      {found.fault && (
        <Notice kind="warn">
          <p>{found.fault}</p>
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
        asked for by {found.actor}, <Ago at={found.started_at} />
      </p>
    </section>
  );
}
