// What is asked of maps: what it would do, what stands in its way, what was accepted.

import type { Finding } from "./finding";
import type { State } from "./map";

export type Verb = "run" | "pause" | "resume" | "skip" | "stop";

export interface Action {
  action: Verb;
  maps?: string[];
  app?: string;
  reason?: string;
  initial_sync?: boolean;
  without_failed?: boolean;
  mode?: "catch_up" | "skip_preserve" | "skip_discard";
  queue?: "preserve" | "discard";
  expected?: number;
  rate?: number;
  with_parents?: boolean;
  for_seconds?: number;
  then_resume?: boolean;
}

export interface Plan {
  maps: PlannedMap[];
  blockers: Blocker[];
}

export interface PlannedMap {
  name: string;
  from: State;
  to: State;
  goes_along: boolean;
  queued: number;
  bytes: number;
  lost: boolean;
}

export interface Blocker {
  map: string;
  state: string;
  needs: string;
}

export interface Accepted {
  id: number;
  maps: { name: string; state: State }[];
  warnings: Finding[];
}
