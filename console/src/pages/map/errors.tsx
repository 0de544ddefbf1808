// The catch-up errors of a map: by cause, then one by one; retried or deleted, some or all.

import { useState } from "react";
import { get, problemOf, segment } from "../../api/client";
import { useLive } from "../../api/live";
import type { ErrorCause, RecordError, RecordErrorInFull } from "../../api/wire/error";
import type { TableMap } from "../../api/wire/map";
import type { Page } from "../../api/wire/page";
import type { Problem } from "../../api/wire/problem";
import { cancelRetry, DeleteErrorsDialog, type Pick, retry } from "../../acts/errors";
import { useAsked, usePages, useSlowly } from "../../parts/asked";
import { Bar } from "../../parts/bar";
import { ActButton } from "../../parts/act-button";
import { Button } from "../../parts/button";
import { Key, Said } from "../../parts/cell";
import { Listing } from "../../parts/listing";
import { Ago } from "../../parts/moment";
import { Empty, Fix, ProblemCard } from "../../parts/notice";
import { OpSign } from "../../parts/record";
import { type Column, Table } from "../../parts/table";
import { useMayAct } from "../../parts/who";
import { setQuery, useRoute } from "../../route";
import { actorName } from "../../words/events";
import { causeName, codeOf } from "../../words/faults";
import { count, counted } from "../../words/format";
import { ErrorDrawer } from "./error-drawer";

export function ErrorsTab({ map }: { map: TableMap }) {
  const { query } = useRoute();
  const cause = query.get("class") ?? "";
  const ended = query.get("ended") === "yes";
  const [chosen, setChosen] = useState<string[]>([]);
  const [deleting, setDeleting] = useState<Pick | null>(null);
  const [open, setOpen] = useState<string | null>(null);
  const [fromSource, setFromSource] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const mayAct = useMayAct();
  const { errors } = map;
  const total = errors.open + errors.waiting + errors.retrying;
  // Counts alone would not tell: an error that is refused once more is as many as before.
  const { activityTick } = useLive();
  const tick = useSlowly(`${errors.open} ${errors.waiting} ${errors.retrying} ${activityTick}`);
  const causes = useAsked<Page<ErrorCause>>(`${map.name} ${tick}`, (signal) => get("/errors/causes", { map: map.name }, signal));
  const pages = usePages<RecordError>(`${map.name} ${cause} ${ended}`, tick, (after, limit, signal) =>
    get<Page<RecordError>>("/errors", { map: map.name, class: cause, status: ended ? "completed,superseded,deleted" : null, limit, after }, signal),
  );
  const act = (work: Promise<unknown>) => {
    setProblem(null);
    work.then(
      () => setChosen([]),
      (why: unknown) => setProblem(problemOf(why)),
    );
  };
  const shown = pages.items ?? [];
  const ids = chosen.filter((id) => shown.some((error) => error.id === id));
  const some: Pick = { ids, errors: ids.length };
  const ofCause = (causes.data?.items ?? []).filter((one) => one.class === cause).reduce((sum, one) => sum + one.errors, 0);
  const every: Pick = cause === "" ? { all: true, errors: total } : { class: cause, errors: ofCause };
  const all = cause === "" ? "all" : "all of this kind";
  const mayPick = mayAct && !ended;
  const picking = { chosen: ids, choose: setChosen, label: (error: RecordError) => `Select error ${error.id}` };
  const look = (error: RecordError) => (
    <>
      <button type="button" className="row-link" aria-label={`Look at error ${error.id}`} onClick={() => setOpen(error.id)}>
        <Key parts={error.key} />
      </button>
      {error.op && <OpSign op={error.op} />}
    </>
  );
  const columns: Column<RecordError>[] = [
    { name: "Record", cell: look },
    { name: "What the destination said", look: "wide said", cell: (error) => <Said text={error.message} /> },
    { name: "Status", cell: (error) => <span className={`status ${error.status}`}>{error.status}</span> },
    { name: "Attempts", look: "right", cell: (error) => count(error.attempts) },
    { name: "Last", cell: (error) => <Ago at={error.last_at} /> },
  ];
  return (
    <section aria-label="Catch-up errors">
      <div className="list-head">
        <p className="figures">
          <strong>{counted(errors.open, "open error")}</strong>
          {errors.waiting > 0 && <> · {count(errors.waiting)} waiting</>}
          {errors.retrying > 0 && <> · {count(errors.retrying)} being retried</>}
        </p>
        <label className="check">
          <input type="checkbox" checked={ended} onChange={(event) => setQuery({ ended: event.target.checked ? "yes" : null })} />
          <span>Those that ended</span>
        </label>
      </div>
      {mayPick && total > 0 && (
        <div className="buttons error-acts">
          <ActButton icon="retry" kind="main" disabled={ids.length === 0} onClick={() => act(retry(map, some, fromSource))}>
            {ids.length === 0 ? "Retry selected" : `Retry ${count(ids.length)} selected`}
          </ActButton>
          <ActButton icon="retry" onClick={() => act(retry(map, every, fromSource))}>
            Retry {all}
          </ActButton>
          <ActButton icon="trash" disabled={ids.length === 0} onClick={() => setDeleting(some)}>
            Delete selected
          </ActButton>
          <ActButton icon="trash" onClick={() => setDeleting(every)}>
            Delete {all}
          </ActButton>
          <label className="check" title="Instead of the change that was recorded">
            <input type="checkbox" checked={fromSource} onChange={(event) => setFromSource(event.target.checked)} />
            <span>Retry with the source's row as it is now</span>
          </label>
        </div>
      )}
      {problem && <ProblemCard problem={problem} />}
      {map.retries.map((one) => (
        <div className="card" key={one.since}>
          <div className="list-head">
            <p className="figures">
              <strong>Retrying {counted(one.errors, "error")}</strong> · {count(one.left)} left
              {one.refused > 0 && <> · {count(one.refused)} refused again</>} · by {actorName(one.actor)}, <Ago at={one.since} />
            </p>
            {mayAct && !one.cancelled && <ActButton onClick={() => act(cancelRetry(map))}>Cancel</ActButton>}
          </div>
          <Bar part={one.errors === 0 ? 1 : (one.errors - one.left) / one.errors} tone="good" label={`${count(one.errors - one.left)} of ${count(one.errors)} retried`} />
        </div>
      ))}
      {!ended && causes.data !== null && causes.data.items.length > 0 && <Causes causes={causes.data.items} chosen={cause} />}
      <Listing pages={pages} what="the errors" empty={<NoErrors ended={ended} cause={cause} />}>
        {(errors) => <Table className="errors" columns={columns} items={errors} idOf={(error) => error.id} picking={mayPick ? picking : undefined} />}
      </Listing>
      {deleting && <DeleteErrorsDialog map={map} pick={deleting} onClose={() => setDeleting(null)} />}
      {open !== null && <ErrorDrawer id={open} onClose={() => setOpen(null)} />}
    </section>
  );
}

function NoErrors({ ended, cause }: { ended: boolean; cause: string }) {
  if (!ended && cause !== "") {
    return (
      <Empty title="No errors of this kind">
        <Button onClick={() => setQuery({ class: null })}>Show all errors</Button>
      </Empty>
    );
  }
  return (
    <Empty title={ended ? "None have ended" : "No errors"}>
      <p>{ended ? "Errors that were retried, superseded or deleted stay listed here." : "Every record that was captured is applied, or waits in the queue."}</p>
    </Empty>
  );
}

function Causes({ causes, chosen }: { causes: ErrorCause[]; chosen: string }) {
  return (
    <ul className="causes" aria-label="Causes">
      {causes.map((cause) => (
        <li key={cause.class + (cause.code ?? "") + cause.first}>
          <button
            type="button"
            className="cause"
            aria-pressed={chosen === cause.class}
            onClick={() => setQuery({ class: chosen === cause.class ? null : cause.class })}
          >
            <span className="cause-count">{count(cause.errors)}</span>
            <span className="cause-text">
              <strong>
                {causeName(cause.class, cause.code)}
                {codeOf(cause.code) && <span className="faint"> {codeOf(cause.code)}</span>}
              </strong>
              <span>
                <Said text={cause.message} />
              </span>
              <span className="faint">
                first <Ago at={cause.first_at} />, last <Ago at={cause.last_at} />
              </span>
            </span>
          </button>
          <CauseFix id={cause.first} />
        </li>
      ))}
    </ul>
  );
}

/** What mends a cause: what mends the first of its errors. */
function CauseFix({ id }: { id: string }) {
  const asked = useAsked<RecordErrorInFull>(id, (signal) => get(`/errors/${segment(id)}`, {}, signal));
  return asked.data?.fix ? <Fix text={asked.data.fix} /> : null;
}
