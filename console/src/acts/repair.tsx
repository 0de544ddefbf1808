// Repairing what a comparison has found: only the records that it has named, and only if it is still the last one.

import { useState } from "react";
import { segment } from "../api/client";
import { once } from "../api/once";
import type { TableMap } from "../api/wire/map";
import type { Verification } from "../api/wire/verify";
import { Notice } from "../parts/notice";
import { say } from "../parts/toast";
import { counted } from "../words/format";
import { ActForm } from "./form";
import { TypedName } from "./loss";

/** The side that is taken for right. */
export type Side = "left" | "right";

export function RepairDialog(props: { map: TableMap; found: Verification; side: Side; onBegun: () => void; onClose: () => void }) {
  const { map, found, side } = props;
  const [typed, setTyped] = useState("");
  const [right, wrong] = side === "left" ? [map.left, map.right] : [map.right, map.left];
  const records = counted(found.differing, "record");
  const [onlyThere, notThere] = side === "left" ? [found.missing_left, found.missing_right] : [found.missing_right, found.missing_left];
  const parts = [
    [found.changed, "written over"],
    [onlyThere, "deleted"],
    [notThere, "added"],
  ] as const;
  const said = parts.filter(([records]) => records > 0).map(([records, done]) => `${counted(records, "record")} ${done}`);
  // The server keeps so many names; of more, it can only be asked to repair whatever differs.
  const isNamed = found.differing === found.differences.length;
  const repair = async (reason: string) => {
    await once(`/maps/${segment(map.name)}/verify`, { repair: side, ...(isNamed ? { seen: found.started_at } : {}), reason });
    say(`${map.name}: the repair has begun`);
    props.onBegun();
  };
  return (
    <ActForm title={`Make ${wrong.app} equal to ${right.app}`} effect={isNamed ? `Repair ${records}` : "Repair whatever differs"} danger reasonNeeded incomplete={typed !== map.name} act={repair} onClose={props.onClose}>
      <Notice kind="bad" title={`In ${wrong.app}: ${said.join(", ")}`}>
        <p>
          {wrong.app}.{wrong.table} gets what {right.app} has at that moment. Whoever wrote something else there on purpose loses it, and this cannot be undone.
        </p>
        {isNamed ? <p>Only the records that this comparison has named are touched.</p> : <p>More records differ than are listed, so both tables are compared anew, and whatever differs then is repaired.</p>}
      </Notice>
      <TypedName name={map.name} typed={typed} onType={setTyped} />
    </ActForm>
  );
}
