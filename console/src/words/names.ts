// What the server's names are called in front of a person. One list for each, so that a name has one wording.

import type { Blocker, Verb } from "../api/wire/action";
import type { Image } from "../api/wire/image";
import type { Direction, Hold, State, TableMap } from "../api/wire/map";
import type { Op } from "../api/wire/queue";
import { actorName } from "./events";

export const stateNames: Record<State, string> = {
  not_running: "Not running",
  initializing: "Initializing",
  running: "Running",
  paused: "Paused",
  resuming: "Resuming",
};

export function stateOf(map: TableMap): string {
  return map.pausing ? "Pausing" : stateNames[map.state];
}

/** A state in the middle of a sentence. */
export function stateWord(state: string): string {
  return (stateNames[state as State] ?? state.replaceAll("_", " ")).toLowerCase();
}

export const verbNames: Record<Verb, string> = { run: "Run", pause: "Pause", resume: "Resume", skip: "Skip to live", stop: "Stop" };

export const opNames: Record<Op, string> = { insert: "Insert", update: "Update", delete: "Delete", truncate: "Truncate" };

export const imageNames: Record<Image["op"], string> = {
  upsert: "Insert, or update if it is there",
  patch: "Update of these columns",
  rekey: "Update that gives it another key",
  delete: "Delete",
  pass: "Nothing: the map's filter leaves it out",
};

export const arrows: Record<Direction, string> = { to_right: "→", to_left: "←", both: "⇄" };

export const conditionNames: Record<string, string> = {
  SourceConnected: "Source connected",
  DestinationConnected: "Destination connected",
  GapDetected: "Gap in the source's log",
  Stalled: "Stalled",
  ErrorsOpen: "Errors are open",
  DiskFailed: "Tandem's own disk failed",
  Leaving: "Being taken out of its apps",
  SoftLimit: "Near its limits",
  RecordsDropped: "Records were dropped",
  SourceHeld: "The source is not read",
  WritesBlocked: "Writes are blocked in the source",
  GuardArmed: "Guard armed",
  NotConverging: "Not converging",
  WindowOver: "The planned end of the pause is over",
  SchemaMatches: "Tables match the map",
  SourceTruncated: "The source's table was truncated",
  PingPong: "Two triggers undo each other",
  Unbalanced: "The books do not balance",
  RecordsWaiting: "Records wait for another map",
};

/** The name of a condition, said as it stands. */
export function conditionName(type: string, status: boolean): string {
  if (!status) {
    const negated: Record<string, string> = {
      SourceConnected: "Source not connected",
      DestinationConnected: "Destination not connected",
      GuardArmed: "Guard not armed",
      SchemaMatches: "Tables do not match the map",
    };
    if (negated[type]) return negated[type];
  }
  return conditionNames[type] ?? type.replace(/([a-z])([A-Z])/g, "$1 $2");
}

export const whenFullNames = {
  block_writes: "the source refuses further writes to the table",
  keep: "the queue grows on, up to the disk's floor",
  drop_new_loses_data: "changes that come then are lost",
  drop_oldest_loses_data: "the oldest queued changes are lost",
};

/** Who or what holds a map, in a sentence. */
export function holder(hold: Hold): string {
  switch (hold.kind) {
    case "user":
      return `Paused by ${actorName(hold.actor)}`;
    case "rule":
      return `Paused by the rule ${hold.name ?? ""}`;
    case "limit":
      return "Paused by a limit of its queue";
    case "parent":
      return `Paused with ${hold.name ?? "a map that it depends on"}`;
    case "system":
      return `Paused by Tandem: ${(hold.name ?? "").replaceAll("_", " ")}`;
  }
}

/** What stands in the way, in a sentence. */
export function blocked(blocker: Blocker): string {
  return `${blocker.map} is ${stateWord(blocker.state)}: ${blocker.needs}`;
}
