// Maps: what was declared of one, and how it stands.

import type { QueueStats } from "./queue";

export type State = "not_running" | "initializing" | "running" | "paused" | "resuming";
export type Direction = "to_right" | "to_left" | "both";

export interface TableMap {
  name: string;
  state: State;
  pausing: boolean;
  since: string;
  holds: Hold[];
  allowed: string[];
  conditions: Condition[];
  direction: Direction;
  left: Side;
  right: Side;
  columns: Column[] | null;
  deletes: "reject" | "queue";
  on_leave: "keep" | "delete";
  depends_on: string[];
  dependents: string[];
  window: { until: string; then_resume: boolean; over: boolean } | null;
  catch_up: CatchUp | null;
  initial_sync: InitialSync | null;
  queue: QueueStats;
  errors: ErrorStats;
  retries: Retry[];
  conflicts: number;
  limits: Limits | null;
  flows: Flow[];
}

export interface Side {
  app: string;
  table: string;
  key: string[];
  filter: string | null;
}

export interface Column {
  left: string | null;
  right: string | null;
  direction: Direction;
  sensitive: boolean;
  lookup?: string;
}

export interface Hold {
  kind: "user" | "rule" | "limit" | "system" | "parent";
  name: string | null;
  since: string;
  actor: string;
  reason: string;
}

export interface Condition {
  type: string;
  status: boolean;
  well: boolean;
  reason: string;
  since: string;
  fix: string | null;
}

export interface CatchUp {
  since: string;
  applied: number;
  records: number;
  bytes: number;
  rate: number | null;
  arrival_rate: number | null;
  rate_cap: number | null;
  eta_seconds: number | null;
}

export interface InitialSync {
  phase: "chunks" | "again" | "last" | "ended";
  rows_done: number;
  rows_total_estimate: number | null;
  inserted: number;
  updated: number;
  unchanged: number;
  failed: number;
  rows_per_second: number | null;
  eta_seconds: number | null;
  started_at: string;
  ended_at: string | null;
  fault: string | null;
}

export interface ErrorStats {
  open: number;
  waiting: number;
  retrying: number;
  preserved_bytes: number;
}

export interface Retry {
  errors: number;
  left: number;
  refused: number;
  since: string;
  actor: string;
  cancelled: boolean;
}

export interface Limits {
  max_queue_bytes: number | null;
  max_pause_age_seconds: number | null;
  soft_limit: number;
  when_full: "block_writes" | "keep" | "drop_new_loses_data" | "drop_oldest_loses_data";
  used_bytes: number;
  counts_since: string | null;
  growth_bytes: number;
}

export interface Flow {
  flow: number;
  source: string;
  destination: string;
  queue: QueueStats;
  applied: number;
  filtered: number;
}

/** How a map's queue was, in steps of which the finest come first. */
export interface MapHistory {
  steps: { step_seconds: number; points: { at: string; records: number; bytes: number; lag_seconds: number }[] }[];
}
