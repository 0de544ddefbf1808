// Which columns belong together, and what the map makes of a row that somebody tries.

import { type FormEvent, useState } from "react";
import { post, problemOf, segment } from "../../api/client";
import type { Json, Problem, Row, TableMap, Tried } from "../../api/types";
import { Button } from "../../parts/button";
import { Icon } from "../../parts/icons";
import { MappedImage } from "../../parts/image";
import { Link } from "../../parts/link";
import { Notice, ProblemCard } from "../../parts/notice";
import { mapAddress } from "../../route";
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
        <p className="faint">A record that leaves the filter {map.on_leave === "keep" ? "stays on the other side as it is" : "is deleted on the other side"}.</p>
      </section>
      <section className="card" aria-label="Columns">
        <h2>Columns</h2>
        {map.columns === null ? (
          <p>Columns of the same name belong together.</p>
        ) : (
          <table className="compare columns">
            <thead>
              <tr>
                <th scope="col">{map.left.app}</th>
                <th scope="col">
                  <span className="hidden">Direction</span>
                </th>
                <th scope="col">{map.right.app}</th>
                <th scope="col">
                  <span className="hidden">Remarks</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {map.columns.map((column, place) => (
                <tr key={place}>
                  <td>{column.left ?? <span className="faint">computed</span>}</td>
                  <td className="arrow" aria-label={column.direction.replace("_", " ")}>
                    {arrows[column.direction]}
                  </td>
                  <td>{column.right ?? <span className="faint">computed</span>}</td>
                  <td className="faint">
                    {isKey(map, column.left, column.right) && <span className="tag">key</span>}
                    {column.sensitive && (
                      <span className="tag" title="Its values are shown to admins only">
                        <Icon name="lock" /> sensitive
                      </span>
                    )}
                    {column.lookup && (
                      <span className="tag">
                        looked up through <Link to={mapAddress(column.lookup, "mapping")}>{column.lookup}</Link>
                      </span>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
        <p className="faint">
          Columns, transforms and filters stand in the config; <code>docs/mapping.md</code> says what they can do.
        </p>
      </section>
      <TryRow map={map} />
    </div>
  );
}

function isKey(map: TableMap, left: string | null, right: string | null): boolean {
  return (left !== null && map.left.key.includes(left)) || (right !== null && map.right.key.includes(right));
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
          <Button type="submit" kind="main">
            Try it
          </Button>
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
