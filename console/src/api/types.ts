// The shapes of the API, field for field as the server's `wire` modules have them. Nothing is renamed on the way.

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
export type Row = Record<string, Json>;

export interface Page<T> {
  items: T[];
  next: string | null;
}

export type State = "not_running" | "initializing" | "running" | "paused" | "resuming";
export type Direction = "to_right" | "to_left" | "both";
export type Verb = "run" | "pause" | "resume" | "skip" | "stop";

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

export interface QueueStats {
  records: number;
  bytes: number;
  oldest_at: string | null;
  applied_seq: number;
  head_seq: number;
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

export interface QueuedRecord {
  seq: number;
  transaction: string;
  op: Op;
  key: Json[] | null;
  bytes: number;
  committed_at: string;
  captured_at: string;
  table: string;
  old: Row | null;
  new: Row | null;
}

export type Op = "insert" | "update" | "delete" | "truncate";

export interface Mapped {
  image: Image | null;
  unwritable: Unwritable | null;
}

export type QueuedRecordInFull = QueuedRecord & Mapped;

export interface Image {
  table: string;
  op: "upsert" | "patch" | "rekey" | "delete" | "pass";
  key: Row;
  values: Row | null;
  looked_up?: Record<string, { map: string; table: string; column: string; state: string; value: Json }>;
}

export interface Unwritable {
  code: string;
  message: string;
  fix: string;
}

export type Tried = Mapped & { filtered: boolean };

export interface RecordError {
  id: string;
  map: string;
  flow: number;
  status: "open" | "waiting" | "retrying" | "completed" | "superseded" | "deleted";
  superseded_by: number | null;
  seq: number;
  transaction: string;
  op: Op | null;
  key: Json[] | null;
  class: string;
  code: string | null;
  operation: string;
  message: string;
  fix: string | null;
  attempts: number;
  first_at: string;
  last_at: string;
  committed_at: string | null;
  table: string | null;
  old: Row | null;
  new: Row | null;
}

export type RecordErrorInFull = RecordError & Mapped;

export interface ErrorCause {
  map: string;
  class: string;
  code: string | null;
  message: string;
  errors: number;
  first: string;
  first_at: string;
  last_at: string;
}

export interface ErrorsRequest {
  all?: boolean;
  ids?: string[];
  class?: string;
  refresh?: boolean;
  expected?: number;
  reason?: string;
}

export interface ErrorsTaken {
  id: number;
  map: string;
  errors: number;
}

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

export interface Finding {
  severity: "error" | "warning";
  code: string;
  place: string;
  message: string;
  fix: string | null;
}

export interface App {
  name: string;
  capturing: boolean;
  fault: { class: string; message: string; code: string | null; fix: string | null } | null;
  guards: { table: string; map: string; refuses: "deletes" | "writes"; since: string }[];
}

export interface Rule {
  name: string;
  enabled: boolean;
  when: string;
  action: "none" | "pause" | "stop";
  resumes_per_hour: number | null;
  notify: string[];
  watches: string[] | null;
  cooldown_seconds: number;
  maps: { map: string; holds: boolean; fired_at: string | null; resumed_within_hour: number; resumes_left: number | null }[];
  told: number;
  untold: number;
}

export interface RuleTest {
  since: string;
  until: string;
  items: { at: string; map: string; why: string }[];
  unknown: string[];
}

export interface Activity {
  id: number;
  at: string;
  event: string;
  map: string | null;
  actor: string;
  reason: string;
  from: string | null;
  to: string | null;
  detail: string;
}

export interface Conflict {
  id: number;
  map: string;
  key: string[];
  left_seq: number;
  right_seq: number;
  policy: string;
  winner: "left" | "right" | null;
  at: string;
}

export interface Verification {
  map: string;
  state: "source" | "destination" | "done" | "cancelled" | "failed";
  repair: "left" | "right" | null;
  differing: number;
  equal: number;
  left_out: number;
  changed: number;
  missing_left: number;
  missing_right: number;
  refused: number;
  queued: number;
  has_error: number;
  moving: number;
  repaired: number;
  rows_read: number;
  rows_estimate: number | null;
  looks_back: boolean;
  differences: { key: Json[]; kind: string; repaired: boolean | null }[];
  fault: string | null;
  actor: string;
  started_at: string;
  ended_at: string | null;
}

export interface Problem {
  status: number;
  code: string;
  title: string;
  detail: string;
  fix?: string;
  blockers?: Blocker[];
  findings?: Finding[];
}

export interface Session {
  name: string;
  role: "viewer" | "operator" | "admin";
  maps: string[] | null;
  csrf_token: string | null;
  server_version: string;
}
