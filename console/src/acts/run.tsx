// Running maps that are stopped, and going on after an initial sync that ended with errors.

import { useState } from "react";
import { useLive } from "../api/live";
import type { Action } from "../api/wire/action";
import { ActionFrame, Choice } from "./frame";
import { usePlan } from "./planned";
import { asked, type Target, title } from "./target";

type Start = "declared" | "copy" | "without" | "rerun" | "rerun_without_failed" | "skip_sync";

export function RunDialog({ target, onClose }: { target: Target; onClose: () => void }) {
  const maps = (useLive().maps ?? []).filter((map) => target.maps.includes(map.name));
  const failed = maps.some((map) => map.allowed.includes("rerun"));
  const [start, setStart] = useState<Start>(failed ? "rerun" : "declared");
  const fields: Record<Start, Partial<Action>> = {
    declared: {},
    copy: { initial_sync: true },
    without: { initial_sync: false },
    rerun: { initial_sync: true },
    rerun_without_failed: { without_failed: true },
    skip_sync: { initial_sync: false },
  };
  const action = asked(target, "run", fields[start]);
  const planned = usePlan(action);
  const names = { declared: "Run", copy: "Run", without: "Run", rerun: "Run the initial sync again", rerun_without_failed: "Run it again without them", skip_sync: "Go on without" };
  const choice = (value: Start, title: string, text: string) => (
    <Choice name="start" value={value} chosen={start} onChoose={setStart} title={title}>
      {text}
    </Choice>
  );
  return (
    <ActionFrame title={`Run ${title(target)}`} effect={names[start]} action={action} planned={planned} onClose={onClose}>
      <fieldset className="choices">
        <legend>{failed ? "The initial sync ended with errors" : "What about the records that are there already?"}</legend>
        {failed ? (
          <>
            {choice("rerun", "Do it again", "Every row is looked at once more. Rows that are equal already are left as they are.")}
            {choice("rerun_without_failed", "Do it again without the rows that failed", "They stay as catch-up errors.")}
            {choice("skip_sync", "Skip the initial sync", "Live synchronization begins. What was not copied stays as it is.")}
          </>
        ) : (
          <>
            {choice("declared", "As the map says", "With an initial sync, unless the map's config says that there is none.")}
            {choice("copy", "Copy them first", "Each record of the source is written to the destination; both apps stay in use.")}
            {choice("without", "Begin with what changes from now on", "Records that are there already are not copied.")}
          </>
        )}
      </fieldset>
    </ActionFrame>
  );
}
