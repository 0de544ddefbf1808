// The initial sync: how it gets on, or how it ended.

import type { InitialSync, TableMap } from "../../api/wire/map";
import { Bar } from "../../parts/bar";
import { Link } from "../../parts/link";
import { Ago } from "../../parts/moment";
import { Empty, Notice } from "../../parts/notice";
import { mapAddress } from "../../route";
import { count, counted, rate, span } from "../../words/format";

const phases: Record<InitialSync["phase"], string> = {
  chunks: "Copying, chunk by chunk",
  again: "Trying again what could not be written before",
  last: "Trying the rest for the last time",
  ended: "Done",
};

export function SyncTab({ map }: { map: TableMap }) {
  const sync = map.initial_sync;
  if (!sync) {
    return (
      <Empty title="There was no initial sync" icon="info">
        <p>The map was run without, or was not run yet. Records that are there already are copied when it is run with one.</p>
      </Empty>
    );
  }
  const total = sync.rows_total_estimate;
  const part = sync.ended_at !== null ? 1 : total ? sync.rows_done / total : 0;
  const said = [total !== null && sync.ended_at === null ? `${count(sync.rows_done)} of about ${counted(total, "row")}` : sync.rows_done === 0 ? "There was nothing to copy" : counted(sync.rows_done, "row")];
  if (sync.rows_per_second !== null) said.push(rate(sync.rows_per_second));
  if (sync.eta_seconds !== null) said.push(`about ${span(sync.eta_seconds)} left`);
  return (
    <div className="rooms">
      <section className="card" aria-label="Initial sync">
        <h2>{sync.phase === "ended" && sync.failed > 0 ? "Ended, with rows that could not be written" : phases[sync.phase]}</h2>
        <Bar part={part} tone={sync.failed > 0 ? "warn" : "good"} label={said.join(", ")} />
        <p className="figures">{said.join(" · ")}</p>
        {sync.fault && (
          <Notice kind="warn" title="Nothing can be read now">
            <p>{sync.fault}</p>
          </Notice>
        )}
        <dl className="numbers">
          {(
            [
              ["Inserted", sync.inserted],
              ["Updated", sync.updated],
              ["Unchanged", sync.unchanged],
              ["Failed", sync.failed],
            ] as const
          ).map(([name, value]) => (
            <div key={name} className={name === "Failed" && value > 0 ? "bad" : undefined}>
              <dt>{name}</dt>
              <dd>{count(value)}</dd>
            </div>
          ))}
        </dl>
        {sync.failed > 0 && (
          <p>
            <Link to={mapAddress(map.name, "errors")}>Look at {counted(sync.failed, "row")} that failed</Link>
          </p>
        )}
        <p className="faint">
          began <Ago at={sync.started_at} />
          {sync.ended_at && (
            <>
              , ended <Ago at={sync.ended_at} />
            </>
          )}
        </p>
      </section>
    </div>
  );
}
