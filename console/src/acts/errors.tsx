// Retrying and deleting catch-up errors.

import { useState } from "react";
import { segment } from "../api/client";
import { refresh } from "../api/live";
import { once } from "../api/once";
import type { ErrorsRequest, ErrorsTaken } from "../api/wire/error";
import type { TableMap } from "../api/wire/map";
import { Notice } from "../parts/notice";
import { say } from "../parts/toast";
import { counted } from "../words/format";
import { ActForm } from "./form";
import { TypedName } from "./loss";

/** Which errors are meant, and how many were seen. */
export interface Pick {
  all?: boolean;
  ids?: string[];
  /** Those of one class of causes. */
  class?: string;
  errors: number;
}

function asked(pick: Pick): ErrorsRequest {
  if (pick.class !== undefined) return { class: pick.class };
  return pick.all ? { all: true } : { ids: pick.ids ?? [] };
}

function address(map: TableMap, verb: string): string {
  return `/maps/${segment(map.name)}/errors/${verb}`;
}

/** Tries them again: the change that was recorded, or the source's row as it is now. */
export async function retry(map: TableMap, pick: Pick, fromSource: boolean): Promise<void> {
  const taken = await once<ErrorsTaken>(address(map, "retry"), { ...asked(pick), ...(fromSource ? { refresh: true } : {}) });
  say(`${map.name}: retrying ${counted(taken.errors, "error")}`);
  await refresh();
}

export async function cancelRetry(map: TableMap): Promise<void> {
  await once(address(map, "cancel"));
  say(`${map.name}: the retry ends`);
  await refresh();
}

export function DeleteErrorsDialog({ map, pick, onClose }: { map: TableMap; pick: Pick; onClose: () => void }) {
  const [typed, setTyped] = useState("");
  const errors = counted(pick.errors, "error");
  const remove = async (reason: string) => {
    const taken = await once<ErrorsTaken>(address(map, "delete"), { ...asked(pick), expected: pick.errors, reason });
    say(`${map.name}: ${counted(taken.errors, "error")} deleted`);
    await refresh();
  };
  return (
    <ActForm title={`Delete ${errors} of ${map.name}`} effect={`Delete ${errors}`} danger reasonNeeded incomplete={typed !== map.name} act={remove} onClose={onClose}>
      <Notice kind="bad" title={`${counted(pick.errors, "change")} will never be applied`}>
        <p>The two sides differ in these records until somebody mends that. This cannot be undone.</p>
      </Notice>
      <TypedName name={map.name} typed={typed} onType={setTyped} />
    </ActForm>
  );
}
