// Which columns belong together and what happens between them, and what the map makes of a row that somebody tries.

import { type FormEvent, useState } from "react";
import { get, post, problemOf, segment } from "../../api/client";
import { useLive } from "../../api/live";
import type { Tried } from "../../api/wire/image";
import type { TableMap } from "../../api/wire/map";
import type { ColumnWay, MappedColumn, Mapping, MappingStep } from "../../api/wire/mapping";
import type { Problem } from "../../api/wire/problem";
import type { Json, Row } from "../../api/wire/value";
import { ActButton } from "../../parts/act-button";
import { useAsked, useSlowly } from "../../parts/asked";
import { Button } from "../../parts/button";
import { Cell } from "../../parts/cell";
import { Icon } from "../../parts/icons";
import { MappedImage } from "../../parts/image";
import { Link } from "../../parts/link";
import { Notice, ProblemCard, Waiting } from "../../parts/notice";
import { mapAddress } from "../../route";
import { conflictNames, stepName } from "../../words/mapping";
import { arrows } from "../../words/names";

export function MappingTab({ map }: { map: TableMap }) {
  return (
    <div className="rooms">
      <section className="card" aria-label="Sides">
        <div className="two sides-of-map">
          {([map.left, map.right] as const).map((side, place) => (
            <dl className="facts" key={place}>
              <dt>{place === 0 ? "Left" : "Right"}</dt>
              <dd>
                <strong>{side.app}</strong> {side.table}
              </dd>
              <dt>Integration key</dt>
              <dd>
                <code>{side.key.join(" | ")}</code>
              </dd>
              <dt>Filter</dt>
              <dd>{side.filter ? <code>{side.filter}</code> : <span className="faint">all records</span>}</dd>
            </dl>
          ))}
        </div>
        {(map.left.filter !== null || map.right.filter !== null) && (
          <p className="faint">A record that leaves the filter {map.on_leave === "keep" ? "stays on the other side as it is" : "is deleted on the other side"}.</p>
        )}
      </section>
      <Columns map={map} />
      <TryRow map={map} />
    </div>
  );
}

/** Which columns belong together, and what happens to a value between them. */
function Columns({ map }: { map: TableMap }) {
  // A reload of the config may change it, and is in the activity log.
  const { activityTick } = useLive();
  const tick = useSlowly(String(activityTick));
  const asked = useAsked<Mapping>(`${map.name} ${tick}`, (signal) => get(`/maps/${segment(map.name)}/mapping`, {}, signal));
  const mapping = asked.data;
  return (
    <section className="card" aria-label="Columns">
      <h2>Columns</h2>
      {asked.problem && <ProblemCard problem={asked.problem} />}
      {mapping === null && !asked.problem && <Waiting what="the mapping" />}
      {mapping?.columns === null && <p>Columns of the same name belong together, and their values go as they are.</p>}
      {mapping?.columns && (
        <table className="compare columns">
          <thead>
            <tr>
              <th scope="col">{map.left.app}</th>
              <th scope="col">
                <span className="hidden">Direction</span>
              </th>
              <th scope="col">{map.right.app}</th>
              <th scope="col">What happens on the way</th>
            </tr>
          </thead>
          <tbody>
            {mapping.columns.map((column, place) => (
              <ColumnRow key={place} map={map} column={column} />
            ))}
          </tbody>
        </table>
      )}
      {mapping && (
        <p className="faint">
          {mapping.initial_sync ? "A run copies the records that are there already." : "A run copies nothing unless it is told to."}
          {mapping.two_way && (
            <>
              {" "}
              Where both sides have a record then, the values of {mapping.two_way.master === "left" ? map.left.app : map.right.app} stay. Where both have changed one,{" "}
              {conflictNames[mapping.two_way.conflict]}. What an app’s triggers make of what is written{" "}
              {mapping.two_way.side_effects === "sync" ? "goes to the other side" : "stays where it is"}.
            </>
          )}
        </p>
      )}
      <p className="faint">
        All of this stands in the config; <code>docs/mapping.md</code> says what it can do.
      </p>
    </section>
  );
}

function ColumnRow({ map, column }: { map: TableMap; column: MappedColumn }) {
  const direction = column.to_right === null ? "to_left" : column.to_left === null ? "to_right" : "both";
  const { to_right, to_left } = column;
  const bothAsTheyAre = direction === "both" && [to_right, to_left].every((way) => way !== null && isPlain(way));
  return (
    <tr>
      <td>
        {column.left ?? <span className="faint">–</span>}
        {column.key && <span className="tag">key</span>}
        {column.sensitive && (
          <span className="tag" title="Its values are shown to admins only">
            <Icon name="lock" /> sensitive
          </span>
        )}
      </td>
      <td className="arrow">
        <span aria-hidden="true">{arrows[direction]}</span>
        <span className="hidden">{direction.replace("_", " ")}</span>
      </td>
      <td>{column.right ?? <span className="faint">–</span>}</td>
      <td>
        {direction !== "both" && <Way way={to_right ?? to_left} />}
        {bothAsTheyAre && <Way way={to_right} />}
        {direction === "both" && !bothAsTheyAre && (
          <dl className="ways">
            <dt>to {map.right.app}</dt>
            <dd>
              <Way way={to_right} />
            </dd>
            <dt>to {map.left.app}</dt>
            <dd>
              <Way way={to_left} />
            </dd>
          </dl>
        )}
      </td>
    </tr>
  );
}

function isPlain(way: ColumnWay): boolean {
  return way.from.kind === "column" && way.steps.length === 0 && way.lookup === null;
}

function Way({ way }: { way: ColumnWay | null }) {
  if (way === null || isPlain(way)) return <span className="faint">as it is</span>;
  return (
    <ol className="steps">
      {way.from.kind === "constant" && (
        <li>
          Always <Value value={way.from.value} />
        </li>
      )}
      {way.from.kind === "expression" && (
        <li>
          <code>{way.from.text}</code>
        </li>
      )}
      {way.steps.map((step, place) => (
        <li key={place}>
          <Step step={step} />
        </li>
      ))}
      {way.lookup && (
        <li>
          Looked up: <code>{way.lookup.column}</code> of the record in <Link to={mapAddress(way.lookup.map, "mapping")}>{way.lookup.map}</Link>
        </li>
      )}
    </ol>
  );
}

function Value({ value }: { value: Json }) {
  return (
    <code className="literal">
      <Cell value={value} />
    </code>
  );
}

/** So many pairs of a list of values are shown at once. */
const PAIRS_SHOWN = 4;

function Step({ step }: { step: MappingStep }) {
  if (step.kind === "default") {
    return (
      <>
        Null becomes <Value value={step.value} />
      </>
    );
  }
  if (step.kind === "replace") {
    return (
      <>
        <Value value={step.from} /> becomes <Value value={step.to} />
      </>
    );
  }
  if (step.kind !== "values") return <>{stepName(step)}</>;
  const others = step.others_pass ? "Others pass as they are." : "Others are refused.";
  const pairs = (
    <ul className="pairs">
      {step.pairs.map((pair, place) => (
        <li key={place}>
          <Value value={pair.from} /> → <Value value={pair.to} />
        </li>
      ))}
    </ul>
  );
  if (step.pairs.length <= PAIRS_SHOWN) {
    return (
      <>
        {pairs}
        <span className="faint">{others}</span>
      </>
    );
  }
  return (
    <details>
      <summary>{stepName(step)}</summary>
      {pairs}
      <span className="faint">{others}</span>
    </details>
  );
}

/** A row made up by somebody: what the map would write of it. Nothing is written. */
function TryRow({ map }: { map: TableMap }) {
  const [to, setTo] = useState<"right" | "left">(map.direction === "to_left" ? "left" : "right");
  const [values, setValues] = useState<Record<string, string>>({});
  const [tried, setTried] = useState<Tried | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const known = (map.columns ?? []).map((column) => (to === "right" ? column.left : column.right)).filter((name): name is string => name !== null);
  const from = to === "right" ? map.left : map.right;
  const names = [...new Set([...from.key, ...known])];
  const [more, setMore] = useState("");
  const columns = [...names, ...Object.keys(values).filter((name) => !names.includes(name))];
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const row: Row = {};
    for (const name of columns) {
      const text = values[name];
      if (text !== undefined && text !== "") row[name] = read(text);
    }
    setProblem(null);
    post<Tried>(`/maps/${segment(map.name)}/try`, { row, to }).then(setTried, (why: unknown) => {
      setTried(null);
      setProblem(problemOf(why));
    });
  };
  return (
    <section className="card" aria-label="Try a row">
      <h2>Try a row</h2>
      <p className="faint">
        What the map would write of a row of {from.app}.{from.table}. Nothing is written. A field that is left empty is missing from the row;
        write <code>null</code> for null.
      </p>
      <form onSubmit={submit}>
        {map.direction === "both" && (
          <label className="field short">
            <span>Direction</span>
            <select value={to} onChange={(event) => setTo(event.target.value as "right" | "left")}>
              <option value="right">to {map.right.app}</option>
              <option value="left">to {map.left.app}</option>
            </select>
          </label>
        )}
        <div className="try-fields">
          {columns.map((name) => (
            <label className="field" key={name}>
              <span>{name}</span>
              <input value={values[name] ?? ""} autoComplete="off" onChange={(event) => setValues({ ...values, [name]: event.target.value })} />
            </label>
          ))}
        </div>
        <div className="buttons">
          <ActButton type="submit" kind="main">
            Try it
          </ActButton>
          {map.columns === null && (
            <>
              <input aria-label="Another column" placeholder="another column" value={more} onChange={(event) => setMore(event.target.value)} />
              <Button
                disabled={more.trim() === ""}
                onClick={() => {
                  setValues({ ...values, [more.trim()]: "" });
                  setMore("");
                }}
              >
                Add column
              </Button>
            </>
          )}
        </div>
      </form>
      {problem && <ProblemCard problem={problem} />}
      {tried && (
        <div className="tried">
          {tried.filtered ? (
            <Notice kind="info" title="The filter leaves it out">
              <p>Nothing would be written.</p>
            </Notice>
          ) : (
            <MappedImage mapped={tried} />
          )}
        </div>
      )}
    </section>
  );
}

/** What somebody typed: a whole number and null are taken for what they look like, all else is text. */
function read(text: string): Json {
  if (text === "null") return null;
  if (text === "true" || text === "false") return text === "true";
  if (/^-?\d{1,15}$/.test(text) && !/^-?0\d/.test(text)) return Number(text);
  return text;
}
