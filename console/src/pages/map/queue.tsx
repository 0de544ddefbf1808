// The queued records of a map: how many there are, those of one integration key, and each in full.

import { useState } from "react";
import { get, segment } from "../../api/client";
import type { Page, QueuedRecord, QueuedRecordInFull, TableMap } from "../../api/types";
import { useAsked, usePages, useSlowly } from "../../parts/asked";
import { Button } from "../../parts/button";
import { BeforeAfter, Key } from "../../parts/cell";
import { Dialog } from "../../parts/dialog";
import { Icon } from "../../parts/icons";
import { MappedImage } from "../../parts/image";
import { Ago, Since } from "../../parts/moment";
import { Empty, ProblemCard, Waiting } from "../../parts/notice";
import { setQuery, useRoute } from "../../route";
import { absolute, bytes, count, counted } from "../../words/format";
import { opNames } from "../../words/names";

export function QueueTab({ map }: { map: TableMap }) {
  const { query } = useRoute();
  const key = query.get("key") ?? "";
  const by = query.get("by") === "prefix" ? "prefix" : "key";
  const [typed, setTyped] = useState(key);
  const [open, setOpen] = useState<number | null>(null);
  const tick = useSlowly(`${map.queue.records} ${map.queue.applied_seq} ${map.queue.head_seq}`);
  const path = `/maps/${segment(map.name)}/queue`;
  const pages = usePages<QueuedRecord>(`${map.name} ${by} ${key}`, tick, (after, limit, signal) =>
    get<Page<QueuedRecord>>(path, { limit, after, [by]: key }, signal),
  );
  const search = (text: string) => setQuery({ key: text });
  const name = map.left.key.join(" | ");
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
        <form
          className="key-search"
          role="search"
          onSubmit={(event) => {
            event.preventDefault();
            search(typed.trim());
          }}
        >
          <select aria-label="How the key is matched" value={by} onChange={(event) => setQuery({ by: event.target.value === "prefix" ? "prefix" : null })}>
            <option value="key">key is</option>
            <option value="prefix">key begins with</option>
          </select>
          <input type="search" aria-label={`Integration key: ${name}`} placeholder={name} value={typed} onChange={(event) => setTyped(event.target.value)} />
          <Button type="submit">Find</Button>
          {key !== "" && (
            <Button
              kind="quiet"
              onClick={() => {
                setTyped("");
                search("");
              }}
            >
              Show all
            </Button>
          )}
        </form>
      </div>
      {pages.problem && <ProblemCard problem={pages.problem} />}
      {pages.items === null && !pages.problem && <Waiting what="the queue" />}
      {pages.items?.length === 0 &&
        (key === "" ? (
          <Empty title={map.state === "not_running" ? "This map is not running" : "Nothing is queued"}>
            <p>{map.state === "not_running" ? "It follows no changes, so none are queued." : "Everything that was captured is applied."}</p>
          </Empty>
        ) : (
          <Empty title="No queued record has this key" icon="info">
            <p>
              Looked for <code>{key}</code> in {counted(map.queue.records, "record")}.
            </p>
          </Empty>
        ))}
      {pages.items !== null && pages.items.length > 0 && (
        <>
          <div className="table-box">
            <table className="list">
              <thead>
                <tr>
                  <th scope="col" className="right">
                    Number
                  </th>
                  <th scope="col">What</th>
                  <th scope="col">{name}</th>
                  <th scope="col">Committed</th>
                  <th scope="col">Transaction</th>
                  <th scope="col" className="right">
                    Size
                  </th>
                </tr>
              </thead>
              <tbody>
                {pages.items.map((record) => (
                  <tr key={record.seq}>
                    <td className="right" data-label="Number">
                      <button type="button" className="row-link" aria-label={`Look at record ${record.seq}`} onClick={() => setOpen(record.seq)}>
                        {count(record.seq)}
                      </button>
                    </td>
                    <td data-label="What">
                      <span className={`op ${record.op}`}>{opNames[record.op]}</span>
                    </td>
                    <td data-label={name} className="wide">
                      <Key parts={record.key} />
                    </td>
                    <td data-label="Committed">
                      <Ago at={record.committed_at} />
                    </td>
                    <td data-label="Transaction" className="faint">
                      {record.transaction || "–"}
                    </td>
                    <td className="right faint" data-label="Size">
                      {bytes(record.bytes)}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
          <div className="more">
            <span className="faint">
              Showing {count(pages.items.length)}
              {key === "" && ` of ${count(map.queue.records)}`}
            </span>
            {pages.more && (
              <Button onClick={pages.load} disabled={pages.busy}>
                {pages.busy ? "Loading …" : "Load more"}
              </Button>
            )}
          </div>
        </>
      )}
      {open !== null && <RecordDrawer map={map} seq={open} onClose={() => setOpen(null)} />}
    </section>
  );
}

function RecordDrawer({ map, seq, onClose }: { map: TableMap; seq: number; onClose: () => void }) {
  const asked = useAsked<QueuedRecordInFull>(`${map.name} ${seq}`, (signal) => get(`/maps/${segment(map.name)}/queue/${seq}`, {}, signal));
  const record = asked.data;
  return (
    <Dialog title={`Record ${count(seq)}`} drawer onClose={onClose}>
      {asked.problem && <ProblemCard problem={asked.problem} />}
      {!record && !asked.problem && <Waiting what="the record" />}
      {record && (
        <>
          <dl className="facts">
            <dt>What</dt>
            <dd>
              <span className={`op ${record.op}`}>{opNames[record.op]}</span> in {record.table}
            </dd>
            <dt>Integration key</dt>
            <dd>
              <Key parts={record.key} />
            </dd>
            <dt>Committed</dt>
            <dd>{absolute(record.committed_at)}</dd>
            <dt>Captured</dt>
            <dd>{absolute(record.captured_at)}</dd>
            <dt>Transaction</dt>
            <dd>{record.transaction || <span className="faint">has no name</span>}</dd>
            <dt>Size</dt>
            <dd>{bytes(record.bytes)} in the journal</dd>
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
