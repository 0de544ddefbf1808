// What may be done with the maps that are selected: with all of them or with none. The server plans each action, and
// what stands in its way is named beside the button that it shuts.

import { useEffect, useState } from "react";
import { ActDialog } from "../acts/act";
import { asked, offered, plan } from "../acts/target";
import type { Plan, Verb } from "../api/wire/action";
import type { TableMap } from "../api/wire/map";
import { ActButton } from "../parts/act-button";
import { Button } from "../parts/button";
import { Icon, verbIcons } from "../parts/icons";
import { counted } from "../words/format";
import { blocked, verbNames } from "../words/names";

const verbs: Verb[] = ["pause", "resume", "skip", "run", "stop"];
export function Selection({ maps, onDone }: { maps: TableMap[]; onDone: () => void }) {
  const [plans, setPlans] = useState<Partial<Record<Verb, Plan>>>({});
  const [verb, setVerb] = useState<Verb | null>(null);
  const names = maps.map((map) => map.name);
  const possible = verbs.filter((verb) => maps.some((map) => offered(map).includes(verb)));
  const key = JSON.stringify([names, possible, maps.map((map) => [map.state, map.pausing])]);
  useEffect(() => {
    let current = true;
    const [names, possible] = JSON.parse(key) as [string[], Verb[]];
    if (names.length === 0) return;
    const one = async (verb: Verb): Promise<[Verb, Plan | undefined]> => {
      try {
        return [verb, await plan(asked({ maps: names }, verb, first(verb)))];
      } catch {
        return [verb, undefined];
      }
    };
    void Promise.all(possible.map(one)).then((found) => {
      if (current) setPlans(Object.fromEntries(found.filter(([, plan]) => plan !== undefined)) as Partial<Record<Verb, Plan>>);
    });
    return () => {
      current = false;
    };
  }, [key]);
  if (maps.length === 0) return null;
  const blockers = possible.filter((verb) => (plans[verb]?.blockers.length ?? 0) > 0);
  return (
    <div className="selection" role="region" aria-label="Selected maps">
      <div className="selection-line">
        <strong>{counted(maps.length, "map")} selected</strong>
        <div className="buttons">
          {possible.map((verb) => {
            const found = plans[verb];
            const along = found?.maps.filter((map) => map.goes_along).length ?? 0;
            const words = `${verbNames[verb]}${along > 0 ? ` (+${counted(along, "dependent")})` : ""}`;
            return (
              <ActButton
                key={verb}
                icon={verbIcons[verb]}
                kind={verb === "stop" ? "plain" : "main"}
                disabled={found === undefined || found.blockers.length > 0}
                onClick={() => setVerb(verb)}
              >
                {words}
              </ActButton>
            );
          })}
          <Button kind="quiet" onClick={onDone}>
            Clear
          </Button>
        </div>
      </div>
      {blockers.map((verb) => (
        <p key={verb} className="selection-blocker">
          <Icon name="info" /> {verbNames[verb]} is not possible: {plans[verb]?.blockers.map(blocked).join("; ")}
        </p>
      ))}
      {verb && (
        <ActDialog
          verb={verb}
          target={{ maps: names }}
          onClose={() => {
            setVerb(null);
          }}
        />
      )}
    </div>
  );
}

/** What an action needs to be planned before anybody has chosen how. */
function first(verb: Verb) {
  if (verb === "skip") return { queue: "preserve" as const };
  if (verb === "stop") return { queue: "preserve" as const };
  return {};
}
