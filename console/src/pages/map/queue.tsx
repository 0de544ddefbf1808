// The queued records of a map: how many there are, those of one integration key, of one kind or of some time, and each in
// full.
//
// What a key does not find, the server finds by looking at one record after the other, a stretch of the queue at a
// request. The page asks on until it has something to show, some times, and then says that there may be more. And it
// does not do all that again whenever the queue grows: who wants to know presses Find.

import { useState } from "react";
import { get, segment } from "../../api/client";
import type { TableMap } from "../../api/wire/map";
import type { Page } from "../../api/wire/page";
import type { Op, QueuedRecord, QueuedRecordInFull } from "../../api/wire/queue";
import { usePages, useSlowly } from "../../parts/asked";
import { Button } from "../../parts/button";
import { Key } from "../../parts/cell";
import { Listing } from "../../parts/listing";
import { Ago, Since } from "../../parts/moment";
import { Empty } from "../../parts/notice";
import { OpSign, RecordDrawer } from "../../parts/record";
import { type Column, Table } from "../../parts/table";
import { useSeesKeys } from "../../parts/who";
import { setQuery, useRoute } from "../../route";
import { absolute, bytes, count, counted } from "../../words/format";
import { opNames } from "../../words/names";

type Search = Record<string, string | undefined>;

/** So many requests are sent for one page of what is searched. */
const STRETCHES = 10;

/** A page of what fits, or of what some stretches of the queue have of it. */
async function sought(path: string, search: Search, after: string | null, limit: number, signal: AbortSignal): Promise<Page<QueuedRecord>> {
  const found: Page<QueuedRecord> = { items: [], next: after };
  for (let stretch = 0; stretch < STRETCHES; stretch++) {
    const page = await get<Page<QueuedRecord>>(path, { ...search, after: found.next, limit: limit - found.items.length }, signal);
    found.items.push(...page.items);
    found.next = page.next;
    if (page.next === null || found.items.length >= limit) break;
  }
  return found;
}

export function QueueTab({ map }: { map: TableMap }) {
  const { query } = useRoute();
  // Who does not see keys is refused the search by them, whoever sent the link.
  const seesKeys = useSeesKeys(map);
  const key = seesKeys ? (query.get("key") ?? "") : "";
  const by = query.get("by") === "prefix" ? "prefix" : "key";
  const [op, since, until] = ["op", "since", "until"].map((name) => query.get(name) ?? "");
  const search: Search = { [by]: key, op, since, until };
  const looksThrough = (by === "prefix" && key !== "") || [op, since, until].some((given) => given !== "");
  const searches = looksThrough || key !== "";
  const [turn, setTurn] = useState(0);
  const [open, setOpen] = useState<number | null>(null);
  const tick = useSlowly(`${map.queue.records} ${map.queue.applied_seq} ${map.queue.head_seq}`);
  const path = `/maps/${segment(map.name)}/queue`;
  const pages = usePages<QueuedRecord>(`${map.name} ${JSON.stringify(search)}`, looksThrough ? turn : tick, (after, limit, signal) =>
    sought(path, search, after, limit, signal),
  );
  const name = map.left.key.join(" | ");
  const look = (record: QueuedRecord) => (
    <button type="button" className="row-link" aria-label={`Look at record ${record.seq}`} onClick={() => setOpen(record.seq)}>
      {count(record.seq)}
    </button>
  );
  const columns: Column<QueuedRecord>[] = [
    { name: "Number", look: "right", cell: look },
    { name: "What", cell: (record) => <OpSign op={record.op} /> },
    { name: `Key (${name})`, look: "wide", cell: (record) => <Key parts={record.key} /> },
    { name: "Committed", cell: (record) => <Ago at={record.committed_at} /> },
    { name: "Transaction", look: "faint", cell: (record) => record.transaction || "–" },
    { name: "Size", look: "right faint", cell: (record) => bytes(record.bytes) },
  ];
  return (
    <section aria-label="Queued records">
      <div className="list-head">
        <p className="figures">
          <strong>{counted(map.queue.records, "queued record")}</strong>
          {map.queue.records > 0 && (
            <>
              {" "}
              · {bytes(map.queue.bytes)}
              {map.queue.oldest_at && (
                <>
                  {" "}
                  · oldest <Since at={map.queue.oldest_at} />
                </>
              )}
            </>
          )}
        </p>
        <div className="queue-search">
          {seesKeys && <KeySearch name={name} by={by} looked={key} onFind={() => setTurn(turn + 1)} />}
          <Narrowed op={op ?? ""} since={since ?? ""} until={until ?? ""} />
        </div>
      </div>
      <Listing pages={pages} what="the queue" of={searches ? undefined : map.queue.records} empty={<NoRecords map={map} searches={searches} more={pages.more} />}>
        {(records) => <Table columns={columns} items={records} idOf={(record) => String(record.seq)} />}
      </Listing>
      {open !== null && <QueuedRecordDrawer map={map} seq={open} onClose={() => setOpen(null)} />}
    </section>
  );
}

/** By one key, or by how it begins. The address holds it, so that a link shows what its sender saw. */
function KeySearch({ name, by, looked, onFind }: { name: string; by: "key" | "prefix"; looked: string; onFind: () => void }) {
  const [typed, setTyped] = useState(looked);
  return (
    <form
      className="key-search"
      role="search"
      onSubmit={(event) => {
        event.preventDefault();
        setQuery({ key: typed.trim() });
        onFind();
      }}
    >
      <select aria-label="How the key is matched" value={by} onChange={(event) => setQuery({ by: event.target.value === "prefix" ? "prefix" : null })}>
        <option value="key">key is</option>
        <option value="prefix">key begins with</option>
      </select>
      <input type="search" aria-label={`Integration key: ${name}`} placeholder={name} value={typed} onChange={(event) => setTyped(event.target.value)} />
      <Button type="submit">Find</Button>
      {looked !== "" && (
        <Button
          kind="quiet"
          onClick={() => {
            setTyped("");
            setQuery({ key: null });
          }}
        >
          Show all
        </Button>
      )}
    </form>
  );
}

/** By what happened, and by when it did at the source. */
function Narrowed({ op, since, until }: { op: string; since: string; until: string }) {
  return (
    <div className="narrowed" role="group" aria-label="Narrow the list">
      <select aria-label="What happened" value={op} onChange={(event) => setQuery({ op: event.target.value })}>
        <option value="">any change</option>
        {(Object.keys(opNames) as Op[]).map((op) => (
          <option key={op} value={op}>
            {opNames[op]}
          </option>
        ))}
      </select>
      <Clock name="Committed from" value={since} onChange={(since) => setQuery({ since })} />
      <Clock name="until" label="Committed before" value={until} onChange={(until) => setQuery({ until })} />
      {(op !== "" || since !== "" || until !== "") && (
        <Button kind="quiet" onClick={() => setQuery({ op: null, since: null, until: null })}>
          Any change, any time
        </Button>
      )}
    </div>
  );
}

/** A moment as the clock on the wall shows it here; the address has it as the server takes it. */
function Clock(props: { name: string; label?: string; value: string; onChange: (moment: string | null) => void }) {
  const at = new Date(props.value);
  const shown = Number.isNaN(at.getTime()) ? "" : new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
  const change = (typed: string) => {
    const moment = new Date(typed);
    props.onChange(Number.isNaN(moment.getTime()) ? null : moment.toISOString());
  };
  return (
    <label className="clock">
      <span>{props.name}</span>
      <input type="datetime-local" step="1" aria-label={props.label ?? props.name} value={shown} onChange={(event) => change(event.target.value)} />
    </label>
  );
}

function NoRecords({ map, searches, more }: { map: TableMap; searches: boolean; more: boolean }) {
  if (searches) {
    return (
      <Empty title={more ? "Nothing found so far" : "No queued record fits"} icon="info">
        <p>{more ? "The queue is long: “Load more” looks further." : `Looked in ${counted(map.queue.records, "record")}.`}</p>
      </Empty>
    );
  }
  const runs = map.state !== "not_running";
  return (
    <Empty title={runs ? "Nothing is queued" : "This map is not running"}>
      <p>{runs ? "Everything that was captured is applied." : "It follows no changes, so none are queued."}</p>
    </Empty>
  );
}

function QueuedRecordDrawer({ map, seq, onClose }: { map: TableMap; seq: number; onClose: () => void }) {
  return (
    <RecordDrawer<QueuedRecordInFull> title={`Record ${count(seq)}`} path={`/maps/${segment(map.name)}/queue/${seq}`} onClose={onClose}>
      {(record) => (
        <>
          <dt>Committed</dt>
          <dd>{absolute(record.committed_at)}</dd>
          <dt>Captured</dt>
          <dd>{absolute(record.captured_at)}</dd>
          <dt>Size</dt>
          <dd>{bytes(record.bytes)} in the journal</dd>
        </>
      )}
    </RecordDrawer>
  );
}
