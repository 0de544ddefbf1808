// How a map stands at one look: where its changes are, how full its queue is and when it will be, what troubles it.

import { useEffect } from "react";
import { history, useLive } from "../../api/live";
import type { CatchUp, Condition, Flow, TableMap } from "../../api/wire/map";
import { Bar } from "../../parts/bar";
import { Chart, type Line } from "../../parts/chart";
import { Icon } from "../../parts/icons";
import { Link } from "../../parts/link";
import { Since, useNow } from "../../parts/moment";
import { Fix, Notice } from "../../parts/notice";
import { mapAddress } from "../../route";
import { bytes, count, counted, rate, secondsSince, span } from "../../words/format";
import { ageFull, bytesFull, forecast, type Fullness, tone } from "../../words/fullness";
import { conditionName, whenFullNames } from "../../words/names";

export function OverviewTab({ map }: { map: TableMap }) {
  return (
    <div className="rooms">
      {map.catch_up && <CatchUpPanel map={map} catchUp={map.catch_up} />}
      {map.flows.length > 0 ? (
        map.flows.map((flow) => <Pipeline key={flow.flow} map={map} flow={flow} />)
      ) : (
        <Notice kind="info" title="Not running">
          <p>Nothing of this map is followed. Changes that are made now reach the other side only by a new initial sync.</p>
        </Notice>
      )}
      {map.conditions.length > 0 && <Conditions conditions={map.conditions} />}
      {map.flows.length > 0 && <Charts map={map} />}
      <Limits map={map} />
      <Facts map={map} />
    </div>
  );
}

/** Source, journal, destination: what is in each now. */
function Pipeline({ map, flow }: { map: TableMap; flow: Flow }) {
  const toRight = map.flows.length < 2 ? map.direction !== "to_left" : flow.source === map.left.app;
  const [from, to] = toRight ? [map.left, map.right] : [map.right, map.left];
  const connected = (type: string) => map.conditions.find((condition) => condition.type === type)?.status ?? true;
  const flowing = map.state === "running" || map.state === "resuming" || map.state === "initializing";
  return (
    <section className="card pipeline" aria-label={`From ${from.app} to ${to.app}`}>
      <div className={connected("SourceConnected") ? "stage" : "stage broken"}>
        <span className="stage-kind">Source</span>
        <strong>{from.app}</strong>
        <span className="faint">{from.table}</span>
        <span className="stage-note">{connected("SourceConnected") ? "is being read" : "is not connected"}</span>
      </div>
      <Pipe on={connected("SourceConnected")} />
      <div className={flow.queue.records > 0 ? "stage journal holding" : "stage journal"}>
        <span className="stage-kind">Journal</span>
        <strong>{counted(flow.queue.records, "queued record")}</strong>
        <span className="faint">
          {bytes(flow.queue.bytes)}
          {flow.queue.oldest_at && (
            <>
              , oldest <Since at={flow.queue.oldest_at} />
            </>
          )}
        </span>
        <span className="stage-note">{flow.queue.records > 0 ? <Link to={mapAddress(map.name, "queue")}>Look at them</Link> : "everything is applied"}</span>
      </div>
      <Pipe on={flowing && connected("DestinationConnected")} />
      <div className={connected("DestinationConnected") ? "stage" : "stage broken"}>
        <span className="stage-kind">Destination</span>
        <strong>{to.app}</strong>
        <span className="faint">{to.table}</span>
        <span className="stage-note">
          {!connected("DestinationConnected") ? "does not answer" : flowing ? `${count(flow.applied)} applied since start` : "nothing is written"}
        </span>
      </div>
    </section>
  );
}

function Pipe({ on }: { on: boolean }) {
  return (
    <div className={on ? "pipe on" : "pipe"} aria-hidden="true">
      <svg viewBox="0 0 40 20" preserveAspectRatio="none">
        <path d="M0 10H40" />
      </svg>
      {!on && <Icon name="pause" />}
    </div>
  );
}

/** How a catch-up gets on: with its rates, so that an end that comes no nearer explains itself. */
function CatchUpPanel({ map, catchUp }: { map: TableMap; catchUp: CatchUp }) {
  const whole = catchUp.applied + catchUp.records;
  const part = whole === 0 ? 1 : catchUp.applied / whole;
  const said = [`${count(catchUp.records)} left`];
  if (catchUp.rate !== null) said.push(`applying ${rate(catchUp.rate)}`);
  if (catchUp.arrival_rate !== null && catchUp.arrival_rate > 0) said.push(`arriving ${rate(catchUp.arrival_rate)}`);
  if (catchUp.rate_cap !== null) said.push(`at most ${rate(catchUp.rate_cap)}`);
  if (catchUp.eta_seconds !== null) said.push(`about ${span(catchUp.eta_seconds)}`);
  const grows = catchUp.rate !== null && catchUp.arrival_rate !== null && catchUp.arrival_rate >= catchUp.rate && catchUp.records > 0;
  return (
    <section className="card" aria-label="Catch-up">
      <h2>Catching up</h2>
      <Bar part={part} tone="good" label={`${Math.round(part * 100)} % applied`} />
      <p className="figures">{said.join(" · ")}</p>
      {grows && map.allowed.includes("skip") && (
        <p className="faint">As much arrives as is applied, so there is no end in sight. Skip to live ends it now, with the queue preserved or discarded.</p>
      )}
    </section>
  );
}

function Conditions({ conditions }: { conditions: Condition[] }) {
  const bad = conditions.filter((condition) => !condition.well);
  const good = conditions.filter((condition) => condition.well);
  return (
    <section className="card" aria-label="Conditions">
      <h2>{bad.length === 0 ? "Nothing needs attention" : counted(bad.length, "thing needs attention", "things need attention")}</h2>
      {bad.map((condition) => (
        <Notice key={condition.type} kind="warn" title={conditionName(condition.type, condition.status)}>
          <p>
            {condition.reason} <span className="faint">for <Since at={condition.since} /></span>
          </p>
          {condition.fix && <Fix text={condition.fix} />}
        </Notice>
      ))}
      {good.length > 0 && (
        <ul className="good-list">
          {good.map((condition) => (
            <li key={condition.type} title={condition.reason}>
              <Icon name={condition.type === "RecordsWaiting" ? "info" : "check"} />
              {conditionName(condition.type, condition.status)}
              {condition.type === "GuardArmed" || condition.type === "RecordsWaiting" ? <span className="faint">: {condition.reason}</span> : null}
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

const HOUR_MS = 3_600_000;

/** A chart shows the last hour, and of a pause that is longer all of it. */
function chartSince(map: TableMap, now: number): number {
  const paused = map.state === "paused" ? Date.parse(map.since) - HOUR_MS / 12 : now;
  return Math.min(paused, now - HOUR_MS);
}

function Charts({ map }: { map: TableMap }) {
  const now = useNow();
  useLive();
  useEffect(() => history.ask(map.name));
  const samples = history.of(map.name, chartSince(map, now));
  const limits = map.limits;
  const max = limits?.max_queue_bytes ?? null;
  const lines = (hard: number | null, name: string): Line[] =>
    hard === null || !limits ? [] : [{ at: hard * limits.soft_limit, kind: "soft", name: `soft ${name}` }, { at: hard, kind: "hard", name: `hard ${name}` }];
  const growth = map.state === "paused" ? (limits?.growth_bytes ?? 0) : 0;
  const ahead = growth > 0 ? { perSecond: growth } : undefined;
  const lagMax = map.state === "paused" ? null : (limits?.max_pause_age_seconds ?? null);
  const lag = map.queue.oldest_at === null ? 0 : secondsSince(map.queue.oldest_at, now);
  return (
    <div className="two">
      <Chart
        title="Queue"
        value={bytes(limits?.used_bytes ?? map.queue.bytes)}
        points={samples.map((sample) => ({ at: sample.at, value: sample.bytes }))}
        lines={lines(max, "limit")}
        ahead={ahead}
        format={bytes}
        scale="tens"
        now={now}
        notes={forecast(map, now)}
      />
      <Chart
        title="Lag: age of the oldest record that waits"
        value={lag === 0 ? "none" : span(lag)}
        points={samples.map((sample) => ({ at: sample.at, value: sample.lagSeconds }))}
        lines={lines(lagMax, "limit")}
        format={span}
        scale="clock"
        now={now}
        notes={[]}
      />
    </div>
  );
}

function Limits({ map }: { map: TableMap }) {
  const now = useNow();
  const limits = map.limits;
  if (!limits) return null;
  const rows: [string, Fullness | null, string][] = [
    ["Bytes", bytesFull(map), limits.max_queue_bytes === null ? "No limit but the disk's floor" : bytes(limits.max_queue_bytes)],
    ["Time", ageFull(map, now), limits.max_pause_age_seconds === null ? "No limit" : span(limits.max_pause_age_seconds)],
  ];
  return (
    <section className="card" aria-label="Limits">
      <h2>Limits</h2>
      <dl className="limits">
        {rows.map(([name, full, most]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>
              {full ? (
                <>
                  <Bar part={full.part} soft={full.soft} tone={tone(full)} label={`${name}: ${full.words}`} />
                  <span>{full.words}</span>
                </>
              ) : (
                <span className="faint">{most}</span>
              )}
            </dd>
          </div>
        ))}
      </dl>
      <p className="faint">
        Warns at {Math.round(limits.soft_limit * 100)} %. When full, {whenFullNames[limits.when_full]}.
      </p>
    </section>
  );
}

function Facts({ map }: { map: TableMap }) {
  const known = (useLive().maps ?? []).map((map) => map.name);
  const names = (names: string[]) => names.map((name, place) => (
    <span key={name}>
      {place > 0 && ", "}
      {known.includes(name) ? <Link to={mapAddress(name)}>{name}</Link> : name}
    </span>
  ));
  return (
    <section className="card" aria-label="Facts">
      <h2>About this map</h2>
      <dl className="facts">
        <dt>Deletes while paused</dt>
        <dd>{map.deletes === "reject" ? "refused in the source" : "queued like everything else"}</dd>
        <dt>Depends on</dt>
        <dd>{map.depends_on.length > 0 ? names(map.depends_on) : <span className="faint">no other map</span>}</dd>
        <dt>Dependents, which pause with it</dt>
        <dd>{map.dependents.length > 0 ? names(map.dependents) : <span className="faint">none</span>}</dd>
        {map.flows.length > 0 && (
          <>
            <dt>Applied up to</dt>
            <dd>
              change {count(map.queue.applied_seq)} <span className="faint">of {count(map.queue.head_seq)} that the journal has seen</span>
            </dd>
          </>
        )}
      </dl>
    </section>
  );
}
