// Catch-up errors, one by one and by their causes, and what is asked of them.

import type { Mapped } from "./image";
import type { Op } from "./queue";
import type { Json, Row } from "./value";

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
