// What an action is about, and doing it.

import { post } from "../api/client";
import { refresh } from "../api/live";
import { once } from "../api/once";
import type { Accepted, Action, Plan, Verb } from "../api/wire/action";
import type { TableMap } from "../api/wire/map";
import { say } from "../parts/toast";
import { counted } from "../words/format";

/** Maps by name, or an app, which is all of its maps that the action can be done with. */
export interface Target {
  maps: string[];
  app?: string;
}

/** The map that it is, if it is one. */
export function onlyMap(target: Target): string | undefined {
  return target.app === undefined && target.maps.length === 1 ? target.maps[0] : undefined;
}

export function title(target: Target): string {
  if (target.app !== undefined) return `all maps of ${target.app}`;
  return onlyMap(target) ?? counted(target.maps.length, "map");
}

/** An action on it, with what belongs to the action. */
export function asked(target: Target, verb: Verb, more: Partial<Action> = {}): Action {
  const about = target.app === undefined ? { maps: target.maps } : { app: target.app };
  return { action: verb, ...about, ...more };
}

export function plan(action: Action): Promise<Plan> {
  return post<Plan>("/plan", action);
}

const done: Record<Verb, string> = { run: "started", pause: "pausing", resume: "resumed", skip: "taken to live", stop: "stopped" };

export async function perform(action: Action): Promise<Accepted> {
  const accepted = await once<Accepted>("/actions", action);
  const names = accepted.maps.map((map) => map.name);
  say(names.length === 1 ? `${names[0]}: ${done[action.action]}` : `${counted(names.length, "map")}: ${done[action.action]}`);
  await refresh();
  return accepted;
}

/** What a person may ask of a map now, in the order of the buttons. The server says it; nothing is decided here. */
export function offered(map: TableMap): Verb[] {
  const verbs: Verb[] = ["pause", "resume", "skip", "run", "stop"];
  const also = map.allowed.includes("rerun") || map.allowed.includes("skip_initial_sync");
  return verbs.filter((verb) => map.allowed.includes(verb) || (verb === "run" && also));
}
