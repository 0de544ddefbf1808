// The queue of a map, and the records in it.

import type { Mapped } from "./image";
import type { Json, Row } from "./value";

export interface QueueStats {
  records: number;
  bytes: number;
  oldest_at: string | null;
  applied_seq: number;
  head_seq: number;
}

export type Op = "insert" | "update" | "delete" | "truncate";

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

export type QueuedRecordInFull = QueuedRecord & Mapped;
