// A list that is read page by page, in each of its states: it is being read, it cannot be, it is empty, there is more.

import type { ReactNode } from "react";
import { count } from "../words/format";
import type { Pages } from "./asked";
import { Button } from "./button";
import { ProblemCard, Waiting } from "./notice";

interface Props<T> {
  pages: Pages<T>;
  /** What is listed, in the middle of a sentence. */
  what: string;
  /** Those of what was read that are to be shown; all of them if it is left out. */
  shown?: T[];
  /** How many there are, where that is known. */
  of?: number | undefined;
  /** What is said where there is nothing. */
  empty: ReactNode;
  children: (items: T[]) => ReactNode;
}

export function Listing<T>({ pages, what, shown, of, empty, children }: Props<T>) {
  const items = shown ?? pages.items ?? [];
  const isRead = pages.items !== null;
  return (
    <>
      {pages.problem && <ProblemCard problem={pages.problem} />}
      {!isRead && !pages.problem && <Waiting what={what} />}
      {isRead && items.length === 0 && empty}
      {items.length > 0 && children(items)}
      {(items.length > 0 || pages.more) && (
        <div className="more">
          <span className="faint">
            Showing {count(items.length)}
            {of !== undefined && ` of ${count(of)}`}
          </span>
          {pages.more && (
            <Button onClick={pages.load} disabled={pages.busy}>
              {pages.busy ? "Loading …" : "Load more"}
            </Button>
          )}
        </div>
      )}
    </>
  );
}
