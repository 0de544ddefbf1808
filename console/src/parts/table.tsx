// A table of records, which a phone shows as cards: each cell says then what it is.

import type { ReactNode } from "react";

export interface Column<T> {
  name: string;
  cell: (item: T) => ReactNode;
  /** `right` for numbers, `wide` for what may take what room there is, `faint` for what is seldom looked at. */
  look?: string;
}

/** Which items are picked, to do something with them. */
export interface Picking<T> {
  chosen: string[];
  choose: (ids: string[]) => void;
  /** What picking an item is called. */
  label: (item: T) => string;
}

export function Table<T>(props: { columns: Column<T>[]; items: T[]; idOf: (item: T) => string; picking?: Picking<T> | undefined; className?: string }) {
  const { columns, items, idOf, picking } = props;
  const ids = items.map(idOf);
  const chosen = picking?.chosen ?? [];
  const all = ids.every((id) => chosen.includes(id));
  const toggle = (id: string) => picking?.choose(chosen.includes(id) ? chosen.filter((other) => other !== id) : [...chosen, id]);
  return (
    <div className="table-box">
      <table className={`list ${props.className ?? ""}`}>
        <thead>
          <tr>
            {picking && (
              <th scope="col" className="pick">
                <input type="checkbox" aria-label="Select all that are shown" checked={all} onChange={() => picking.choose(all ? [] : ids)} />
              </th>
            )}
            {columns.map((column) => (
              <th key={column.name} scope="col" className={column.look?.startsWith("right") ? "right" : undefined}>
                {column.name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {items.map((item) => (
            <tr key={idOf(item)}>
              {picking && (
                <td className="pick">
                  <input type="checkbox" aria-label={picking.label(item)} checked={chosen.includes(idOf(item))} onChange={() => toggle(idOf(item))} />
                </td>
              )}
              {columns.map((column) => (
                <td key={column.name} data-label={column.name} className={column.look}>
                  {column.cell(item)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
