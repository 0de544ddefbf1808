// One record of a list in full, at the side of the page: what is known of it, how it was before and after in the source,
// and what the map makes of it now.

import type { ReactNode } from "react";
import { get } from "../api/client";
import type { Mapped } from "../api/wire/image";
import type { Json, Row } from "../api/wire/value";
import type { Op } from "../api/wire/queue";
import { opNames } from "../words/names";
import { useAsked } from "./asked";
import { BeforeAfter, Key } from "./cell";
import { Dialog } from "./dialog";
import { Icon } from "./icons";
import { MappedImage } from "./image";
import { ProblemCard, Waiting } from "./notice";

/** What every record has, a queued one or one that was set aside. */
type Change = Mapped & { op: Op | null; table: string | null; key: Json[] | null; transaction: string; old: Row | null; new: Row | null };

interface Props<T> {
  title: string;
  /** Where it is asked for. */
  path: string;
  onClose: () => void;
  /** What stands above all else. */
  first?: (record: T) => ReactNode;
  /** More of what is known of it, as terms and descriptions. */
  children: (record: T) => ReactNode;
}

export function RecordDrawer<T extends Change>({ title, path, onClose, first, children }: Props<T>) {
  const asked = useAsked<T>(path, (signal) => get(path, {}, signal));
  const record = asked.data;
  return (
    <Dialog title={title} drawer onClose={onClose}>
      {asked.problem && <ProblemCard problem={asked.problem} />}
      {!record && !asked.problem && <Waiting what="the record" />}
      {record && (
        <>
          {first?.(record)}
          <dl className="facts">
            {record.op && (
              <>
                <dt>What</dt>
                <dd>
                  <OpSign op={record.op} />
                  {record.table && ` in ${record.table}`}
                </dd>
              </>
            )}
            <dt>Integration key</dt>
            <dd>
              <Key parts={record.key} />
            </dd>
            {children(record)}
            <dt>Transaction</dt>
            <dd>{record.transaction || <span className="faint">has no name</span>}</dd>
          </dl>
          <h3>In the source</h3>
          <BeforeAfter before={record.old} after={record.new} />
          <h3>
            <Icon name="next" /> What would be written now
          </h3>
          <MappedImage mapped={record} />
        </>
      )}
    </Dialog>
  );
}

/** What was done with a record: in words, and with a colour. */
export function OpSign({ op }: { op: Op }) {
  return <span className={`op ${op}`}>{opNames[op]}</span>;
}
