// All maps: how each stands, and what may be done with several at once.

import { useEffect, useRef, useState } from "react";
import { ActDialog } from "../acts/act";
import { offered } from "../acts/target";
import { useLive } from "../api/live";
import type { Verb } from "../api/wire/action";
import type { TableMap } from "../api/wire/map";
import { ActButton } from "../parts/act-button";
import { Bar } from "../parts/bar";
import { Icon, verbIcons } from "../parts/icons";
import { Link } from "../parts/link";
import { Since, useNow } from "../parts/moment";
import { Empty, ProblemCard, Waiting } from "../parts/notice";
import { StatePill } from "../parts/pill";
import { Spark } from "../parts/spark";
import { useMayAct, useMayActOn } from "../parts/who";
import { mapAddress, setQuery, useRoute } from "../route";
import { count, counted } from "../words/format";
import { fullness, tone } from "../words/fullness";
import { arrows, conditionName, holder, verbNames } from "../words/names";
import { Selection } from "./selection";

const groups = [
  ["", "All"],
  ["trouble", "Need attention"],
  ["running", "Running"],
  ["paused", "Paused"],
  ["resuming", "Resuming"],
  ["not_running", "Not running"],
] as const;

export function MapsPage() {
  const { maps, problem } = useLive();
  const { query } = useRoute();
  const [chosen, setChosen] = useState<string[]>([]);
  const [act, setAct] = useState<{ verb: Verb; map: string } | null>(null);
  const mayAct = useMayAct();
  const mayActOn = useMayActOn();
  const search = useRef<HTMLInputElement>(null);
  useEffect(() => {
    const slash = (event: KeyboardEvent) => {
      if (event.key !== "/" || event.target instanceof HTMLInputElement || document.querySelector("dialog[open]")) return;
      event.preventDefault();
      search.current?.focus();
    };
    window.addEventListener("keydown", slash);
    return () => window.removeEventListener("keydown", slash);
  }, []);
  if (maps === null) return problem ? <ProblemCard problem={problem} /> : <Waiting what="the maps" />;
  if (maps.length === 0) {
    return (
      <Empty title="There are no maps yet" icon="info">
        <p>A map pairs a table of one app with a table of another. Maps stand in the config:</p>
        <pre>{EXAMPLE}</pre>
        <p>Then check it with <code>tandem check</code>, and start the server again.</p>
      </Empty>
    );
  }
  const text = query.get("q") ?? "";
  const group = query.get("state") ?? "";
  const isIn = (map: TableMap, group: string) => group === "" || (group === "trouble" ? troubles(map).length > 0 || openErrors(map) > 0 : map.state === group);
  const shown = maps.filter((map) => isIn(map, group) && matches(map, text));
  const selected = maps.filter((map) => chosen.includes(map.name));
  const toggle = (name: string) => setChosen((before) => (before.includes(name) ? before.filter((other) => other !== name) : [...before, name]));
  const pickable = shown.filter(mayActOn);
  const all = pickable.length > 0 && pickable.every((map) => chosen.includes(map.name));
  return (
    <>
      <div className="page-head">
        <h1>Maps</h1>
        <p className="lead">Each keeps a table of one app in step with one of another. While a map is paused its changes wait here, and are applied when you resume it.</p>
        <input
          ref={search}
          type="search"
          className="search"
          aria-label="Filter maps"
          placeholder="Name, app or table (press /)"
          value={text}
          onChange={(event) => setQuery({ q: event.target.value })}
        />
      </div>
      <div className="chips" role="group" aria-label="Filter by state">
        {groups
          .map(([value, name]) => ({ value, name, number: maps.filter((map) => isIn(map, value)).length }))
          .filter(({ value, number }) => value === "" || number > 0)
          .map(({ value, name, number }) => (
            <button key={value} type="button" className="chip" aria-pressed={group === value} onClick={() => setQuery({ state: value })}>
              {name} <span className="number">{number}</span>
            </button>
          ))}
      </div>
      <div className="table-box">
        <table className={mayAct ? "maps" : "maps looking"}>
          <thead>
            <tr>
              {mayAct && (
                <th scope="col" className="pick">
                  <input
                    type="checkbox"
                    aria-label="Select all that are shown"
                    checked={all}
                    onChange={() => setChosen(all ? [] : pickable.map((map) => map.name))}
                  />
                </th>
              )}
              <th scope="col">Map</th>
              <th scope="col">State</th>
              <th scope="col">Queue and lag</th>
              <th scope="col">Applied</th>
              <th scope="col">Nearer limit</th>
              <th scope="col" className="right">
                Errors
              </th>
              {mayAct && (
                <th scope="col">
                  <span className="hidden">What may be done</span>
                </th>
              )}
            </tr>
          </thead>
          <tbody>
            {shown.map((map) => (
              <MapRow key={map.name} map={map} chosen={chosen.includes(map.name)} mayPick={mayAct} onToggle={mayActOn(map) ? () => toggle(map.name) : undefined} onAct={mayActOn(map) ? (verb) => setAct({ verb, map: map.name }) : undefined} />
            ))}
          </tbody>
        </table>
      </div>
      {shown.length === 0 && (
        <Empty title="No map fits the filter" icon="info">
          <button type="button" className="button" onClick={() => setQuery({ q: null, state: null })}>
            Show all {counted(maps.length, "map")}
          </button>
        </Empty>
      )}
      {mayAct && <Selection maps={selected} onDone={() => setChosen([])} />}
      {act && <ActDialog verb={act.verb} target={{ maps: [act.map] }} onClose={() => setAct(null)} />}
    </>
  );
}

function MapRow(props: { map: TableMap; chosen: boolean; mayPick: boolean; onToggle: (() => void) | undefined; onAct: ((verb: Verb) => void) | undefined }) {
  const { map } = props;
  const now = useNow();
  const full = fullness(map, now);
  const bad = troubles(map);
  const errors = openErrors(map);
  return (
    <tr className={props.chosen ? "chosen" : undefined}>
      {props.mayPick && (
        <td className="pick">
          {props.onToggle && <input type="checkbox" aria-label={`Select ${map.name}`} checked={props.chosen} onChange={props.onToggle} />}
        </td>
      )}
      <th scope="row" className="map-name">
        <Link to={mapAddress(map.name)}>{map.name}</Link>
        <span className="faint sides">
          {map.left.app}.{map.left.table} <span aria-label={map.direction.replace("_", " ")}>{arrows[map.direction]}</span> {map.right.app}.
          {map.right.table}
        </span>
      </th>
      <td className="map-state" data-label="State">
        <StatePill map={map} />
        {bad.length > 0 ? (
          <span className="trouble" title={bad[0]?.reason}>
            <Icon name="warning" />
            {bad.length === 1 ? conditionName(bad[0]?.type ?? "", bad[0]?.status ?? true) : `${bad.length} troubles`}
          </span>
        ) : (
          map.state === "paused" && map.holds[0] && <span className="faint holder">{holder(map.holds[0])}</span>
        )}
      </td>
      <td data-label="Queue and lag">
        <QueueOf map={map} />
      </td>
      <td data-label="Applied"><Spark map={map.name} now={now} none={map.state === "not_running"} /></td>
      <td data-label="Nearer limit" className="limit">
        {full === null || full.part === 0 ? (
          <span className="faint">{full === null ? "–" : "0 %"}</span>
        ) : (
          <span className="two-lines">
            <Bar part={full.part} soft={full.soft} tone={tone(full)} label={`${full.limit === "bytes" ? "Bytes" : "Time"}: ${full.words}`} />
            <span className="faint">{full.words}</span>
          </span>
        )}
      </td>
      <td data-label="Errors" className="right">
        {errors === 0 ? <span className="faint">0</span> : <Link to={mapAddress(map.name, "errors")} className="error-count" label={`${count(errors)} errors of ${map.name}`}>{count(errors)}</Link>}
      </td>
      {props.mayPick && <td className="row-act">{props.onAct && <RowAct map={map} onAct={props.onAct} />}</td>}
    </tr>
  );
}

/** What is asked of a map most often as it stands, without opening its page. */
function RowAct({ map, onAct }: { map: TableMap; onAct: (verb: Verb) => void }) {
  const verb = offered(map)[0];
  // One that is paused with another one resumes with it.
  const isHeld = map.state === "paused" && verb !== "resume";
  if (verb === undefined || verb === "stop" || map.state === "initializing" || isHeld) return null;
  return (
    <ActButton icon={verbIcons[verb]} onClick={() => onAct(verb)} label={`${verbNames[verb]} ${map.name}`}>
      {verbNames[verb]}
    </ActButton>
  );
}

/** What waits, and for how long the oldest of it; of a map that is up to date, what it did. */
function QueueOf({ map }: { map: TableMap }) {
  const { records, oldest_at } = map.queue;
  if (map.state === "not_running") return <span className="faint">–</span>;
  const applied = map.flows.reduce((sum, flow) => sum + flow.applied, 0);
  return (
    <span className="two-lines">
      {records > 0 ? <span>{counted(records, "record")}</span> : <span className="faint">{map.state === "paused" ? "nothing waits" : "up to date"}</span>}
      {oldest_at ? (
        <span className="faint">
          lag <Since at={oldest_at} />
        </span>
      ) : (
        applied > 0 && <span className="faint">{count(applied)} applied</span>
      )}
    </span>
  );
}

/** Conditions that are no good news, beside errors, which have a column of their own. */
function troubles(map: TableMap) {
  return map.conditions.filter((condition) => !condition.well && condition.type !== "ErrorsOpen");
}

function openErrors({ errors }: TableMap): number {
  return errors.open + errors.waiting + errors.retrying;
}

function matches(map: TableMap, text: string): boolean {
  const words = text.toLowerCase().split(/\s+/);
  const said = [map.name, map.left.app, map.left.table, map.right.app, map.right.table].join(" ").toLowerCase();
  return words.every((word) => said.includes(word));
}

const EXAMPLE = `[[maps]]
name  = "customers"
left  = { app = "erp", table = "customers", key = ["customer_no"] }
right = { app = "crm", table = "accounts",  key = ["ext_no"] }`;
