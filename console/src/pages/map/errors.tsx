// The catch-up errors of a map: by cause, then one by one; retried or deleted, some or all.

import { useState } from "react";
import { get, problemOf, segment } from "../../api/client";
import { useLive } from "../../api/live";
import type { ErrorCause, Page, Problem, RecordError, RecordErrorInFull, TableMap } from "../../api/types";
import { cancelRetry, DeleteErrorsDialog, type Pick, retry } from "../../acts/errors";
import { useAsked, usePages, useSlowly } from "../../parts/asked";
import { Bar } from "../../parts/bar";
import { Button } from "../../parts/button";
import { Key } from "../../parts/cell";
import { Ago } from "../../parts/moment";
import { Empty, Fix, ProblemCard, Waiting } from "../../parts/notice";
import { useMayAct } from "../../parts/who";
import { setQuery, useRoute } from "../../route";
import { count, counted } from "../../words/format";
import { opNames } from "../../words/names";
import { ErrorDrawer } from "./error-drawer";

export function ErrorsTab({ map }: { map: TableMap }) {
  const { query } = useRoute();
  const cause = query.get("class") ?? "";
  const ended = query.get("ended") === "yes";
  const [chosen, setChosen] = useState<string[]>([]);
  const [deleting, setDeleting] = useState<Pick | null>(null);
  const [open, setOpen] = useState<string | null>(null);
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
  const every: Pick = { all: true, errors: total };
  const toggle = (id: string) => setChosen((before) => (before.includes(id) ? before.filter((other) => other !== id) : [...before, id]));
  return (
    <section aria-label="Catch-up errors">
      <div className="list-head">
        <p className="figures">
          <strong>{counted(errors.open, "open error")}</strong>
          {errors.waiting > 0 && <> · {count(errors.waiting)} waiting</>}
          {errors.retrying > 0 && <> · {count(errors.retrying)} being retried</>}
        </p>
        {mayAct && !ended && total > 0 && (
          <div className="buttons">
            <Button icon="retry" kind="main" disabled={ids.length === 0} onClick={() => act(retry(map, some))}>
              {ids.length === 0 ? "Retry selected" : `Retry ${count(ids.length)} selected`}
            </Button>
            <Button icon="retry" onClick={() => act(retry(map, every))}>
              Retry all
            </Button>
            <Button icon="trash" disabled={ids.length === 0} onClick={() => setDeleting(some)}>
              Delete selected
            </Button>
            <Button icon="trash" onClick={() => setDeleting(every)}>
              Delete all
            </Button>
          </div>
        )}
        <label className="check">
          <input type="checkbox" checked={ended} onChange={(event) => setQuery({ ended: event.target.checked ? "yes" : null })} />
          <span>Those that ended</span>
        </label>
      </div>
      {problem && <ProblemCard problem={problem} />}
      {map.retries.map((one) => (
        <div className="card" key={one.since}>
          <div className="list-head">
            <p className="figures">
              <strong>Retrying {counted(one.errors, "error")}</strong> · {count(one.left)} left
              {one.refused > 0 && <> · {count(one.refused)} refused again</>} · by {one.actor}, <Ago at={one.since} />
            </p>
            {mayAct && !one.cancelled && <Button onClick={() => act(cancelRetry(map))}>Cancel</Button>}
          </div>
          <Bar part={one.errors === 0 ? 1 : (one.errors - one.left) / one.errors} tone="good" label={`${count(one.errors - one.left)} of ${count(one.errors)} retried`} />
        </div>
      ))}
      {!ended && causes.data !== null && causes.data.items.length > 0 && <Causes causes={causes.data.items} chosen={cause} />}
      {pages.problem && <ProblemCard problem={pages.problem} />}
      {pages.items === null && !pages.problem && <Waiting what="the errors" />}
      {pages.items?.length === 0 && (
        <Empty title={ended ? "None have ended" : cause === "" ? "No errors" : "No errors of this cause"}>
          <p>{ended ? "Errors that were retried, superseded or deleted stay listed here." : "Every record that was captured is applied, or waits in the queue."}</p>
        </Empty>
      )}
      {shown.length > 0 && (
        <>
          <div className="table-box">
            <table className="list errors">
              <thead>
                <tr>
                  {mayAct && !ended && (
                    <th scope="col" className="pick">
                      <input
                        type="checkbox"
                        aria-label="Select all that are shown"
                        checked={ids.length === shown.length}
                        onChange={() => setChosen(ids.length === shown.length ? [] : shown.map((error) => error.id))}
                      />
                    </th>
                  )}
                  <th scope="col">Record</th>
                  <th scope="col">What the destination said</th>
                  <th scope="col">Status</th>
                  <th scope="col" className="right">
                    Attempts
                  </th>
                  <th scope="col">Last</th>
                </tr>
              </thead>
              <tbody>
                {shown.map((error) => (
                  <tr key={error.id}>
                    {mayAct && !ended && (
                      <td className="pick">
                        <input type="checkbox" aria-label={`Select error ${error.id}`} checked={chosen.includes(error.id)} onChange={() => toggle(error.id)} />
                      </td>
                    )}
                    <td data-label="Record">
                      <button type="button" className="row-link" aria-label={`Look at error ${error.id}`} onClick={() => setOpen(error.id)}>
                        <Key parts={error.key} />
                      </button>
                      {error.op && <span className={`op ${error.op}`}>{opNames[error.op]}</span>}
                    </td>
                    <td data-label="What the destination said" className="wide said">
                      {error.message}
                    </td>
                    <td data-label="Status">
                      <span className={`status ${error.status}`}>{error.status}</span>
                    </td>
                    <td data-label="Attempts" className="right">
                      {count(error.attempts)}
                    </td>
                    <td data-label="Last">
                      <Ago at={error.last_at} />
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
          <div className="more">
            <span className="faint">Showing {count(shown.length)}</span>
            {pages.more && (
              <Button onClick={pages.load} disabled={pages.busy}>
                {pages.busy ? "Loading …" : "Load more"}
              </Button>
            )}
          </div>
        </>
      )}
      {deleting && <DeleteErrorsDialog map={map} pick={deleting} onClose={() => setDeleting(null)} />}
      {open !== null && <ErrorDrawer id={open} onClose={() => setOpen(null)} />}
    </section>
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
                {cause.class}
                {cause.code && <span className="faint"> {cause.code}</span>}
              </strong>
              <span>{cause.message}</span>
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
