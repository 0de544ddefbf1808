// Records of two-way maps that were changed on both sides without knowing of each other, and which side won.

import { get } from "../api/client";
import { useLive } from "../api/live";
import type { Conflict, Page } from "../api/types";
import { usePages, useSlowly } from "../parts/asked";
import { Button } from "../parts/button";
import { Key } from "../parts/cell";
import { Link } from "../parts/link";
import { Ago } from "../parts/moment";
import { Empty, ProblemCard, Waiting } from "../parts/notice";
import { mapAddress } from "../route";
import { count } from "../words/format";

export function ConflictsPage() {
  return (
    <>
      <div className="page-head">
        <h1>Conflicts</h1>
      </div>
      <ConflictList />
    </>
  );
}

export function ConflictList({ map }: { map?: string }) {
  const { maps } = useLive();
  const tick = useSlowly(String((maps ?? []).reduce((sum, map) => sum + map.conflicts, 0)));
  const pages = usePages<Conflict>(map ?? "", tick, (after, limit, signal) => get<Page<Conflict>>("/conflicts", { map, after, limit }, signal));
  const winner = (conflict: Conflict) => {
    const of = maps?.find((map) => map.name === conflict.map);
    if (conflict.winner === null) return <span className="status open">a person decides</span>;
    return of ? `${conflict.winner} (${of[conflict.winner].app}) won` : `${conflict.winner} won`;
  };
  return (
    <section aria-label="Conflicts">
      {pages.problem && <ProblemCard problem={pages.problem} />}
      {pages.items === null && !pages.problem && <Waiting what="the conflicts" />}
      {pages.items?.length === 0 && (
        <Empty title="No conflicts">
          <p>No record was changed on both sides without knowing of the other change.</p>
        </Empty>
      )}
      {pages.items !== null && pages.items.length > 0 && (
        <>
          <div className="table-box">
            <table className="list">
              <thead>
                <tr>
                  {map === undefined && <th scope="col">Map</th>}
                  <th scope="col">Record</th>
                  <th scope="col">Outcome</th>
                  <th scope="col">Policy</th>
                  <th scope="col">Found</th>
                </tr>
              </thead>
              <tbody>
                {pages.items.map((conflict) => (
                  <tr key={conflict.id}>
                    {map === undefined && (
                      <td data-label="Map">
                        <Link to={mapAddress(conflict.map)}>{conflict.map}</Link>
                      </td>
                    )}
                    <td data-label="Record" className="wide">
                      <Key parts={conflict.key} />
                    </td>
                    <td data-label="Outcome">{winner(conflict)}</td>
                    <td data-label="Policy" className="faint">
                      {conflict.policy.replaceAll("_", " ")}
                    </td>
                    <td data-label="Found">
                      <Ago at={conflict.at} />
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
          <div className="more">
            <span className="faint">Showing {count(pages.items.length)}</span>
            {pages.more && (
              <Button onClick={pages.load} disabled={pages.busy}>
                Load more
              </Button>
            )}
          </div>
        </>
      )}
    </section>
  );
}
