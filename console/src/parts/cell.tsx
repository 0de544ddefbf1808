// Values of records. Text, whatever they are: React escapes it, and nothing here sets HTML.

import type { Json, Row } from "../api/wire/value";
import { Icon } from "./icons";

/** What the server puts in place of a value that the session's role does not show. */
const MASKED = "(masked)";

export function Cell({ value }: { value: Json | undefined }) {
  if (value === undefined) return <span className="value none">not in the log</span>;
  if (value === null) return <span className="value none">null</span>;
  if (value === MASKED) {
    return (
      <span className="value masked" title="Your role does not show values of records">
        <Icon name="lock" /> masked
      </span>
    );
  }
  if (value === "") return <span className="value none">empty text</span>;
  if (typeof value === "object") return <span className="value">{JSON.stringify(value)}</span>;
  return <span className="value">{String(value)}</span>;
}

/** What an app said of a record: it may quote it, so it is hidden as a whole from who does not see values. */
export function Said({ text }: { text: string }) {
  return text === MASKED ? <Cell value={text} /> : text;
}

/** An integration key, its columns with a bar between them. */
export function Key({ parts }: { parts: Json[] | null }) {
  if (parts === null) return <span className="value none">unknown</span>;
  return (
    <span className="key">
      {parts.map((part, place) => (
        <span key={place}>
          {place > 0 && <span className="faint"> | </span>}
          <Cell value={part} />
        </span>
      ))}
    </span>
  );
}

/** Whether any value is hidden. */
export function hasMasked(row: Row | null): boolean {
  return row !== null && Object.values(row).includes(MASKED);
}

/** A record before and after, column by column; what changed stands out. */
export function BeforeAfter({ before, after }: { before: Row | null; after: Row | null }) {
  const columns = [...new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])];
  if (columns.length === 0) return <p className="faint">The log names no columns of this change.</p>;
  const changed = (column: string) => before !== null && after !== null && column in after && before[column] !== after[column];
  return (
    <table className="compare">
      <thead>
        <tr>
          <th scope="col">Column</th>
          {before && <th scope="col">Before</th>}
          {after && <th scope="col">After</th>}
        </tr>
      </thead>
      <tbody>
        {columns.map((column) => (
          <tr key={column} className={changed(column) ? "changed" : undefined}>
            <th scope="row">{column}</th>
            {before && (
              <td>
                <Cell value={before[column]} />
              </td>
            )}
            {after && (
              <td>
                <Cell value={after[column]} />
              </td>
            )}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
