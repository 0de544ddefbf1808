// Records of two-way maps that were changed on both sides without knowing of each other, and which side won.

import { get } from "../api/client";
import { useLive } from "../api/live";
import type { Conflict } from "../api/wire/conflict";
import type { Page } from "../api/wire/page";
import { usePages, useSlowly } from "../parts/asked";
import { Key } from "../parts/cell";
import { Link } from "../parts/link";
import { Listing } from "../parts/listing";
import { Ago } from "../parts/moment";
import { Empty } from "../parts/notice";
import { type Column, Table } from "../parts/table";
import { mapAddress } from "../route";

export function ConflictsPage() {
  return (
    <>
      <div className="page-head">
        <h1>Conflicts</h1>
        <p className="lead">Records that were changed on both sides of a two-way map at once, and which side won.</p>
      </div>
      <ConflictList />
    </>
  );
}

export function ConflictList({ map }: { map?: string }) {
  const { maps } = useLive();
  const tick = useSlowly(String((maps ?? []).reduce((sum, map) => sum + map.conflicts, 0)));
  const pages = usePages<Conflict>(map ?? "", tick, (after, limit, signal) => get<Page<Conflict>>("/conflicts", { map, after, limit }, signal));
  const outcome = (conflict: Conflict) => {
    const of = maps?.find((map) => map.name === conflict.map);
    if (conflict.winner === null) return <span className="status open">a person decides</span>;
    return of ? `${conflict.winner} (${of[conflict.winner].app}) won` : `${conflict.winner} won`;
  };
  const columns: Column<Conflict>[] = [
    { name: "Record", look: "wide", cell: (conflict) => <Key parts={conflict.key} /> },
    { name: "Outcome", cell: outcome },
    { name: "Policy", look: "faint", cell: (conflict) => conflict.policy.replaceAll("_", " ") },
    { name: "Found", cell: (conflict) => <Ago at={conflict.at} /> },
  ];
  const ofMap: Column<Conflict> = { name: "Map", cell: (conflict) => <Link to={mapAddress(conflict.map)}>{conflict.map}</Link> };
  const empty = (
    <Empty title="No conflicts">
      <p>No record was changed on both sides without knowing of the other change.</p>
    </Empty>
  );
  return (
    <section aria-label="Conflicts">
      <Listing pages={pages} what="the conflicts" empty={empty}>
        {(items) => <Table columns={map === undefined ? [ofMap, ...columns] : columns} items={items} idOf={(conflict) => String(conflict.id)} />}
      </Listing>
    </section>
  );
}
