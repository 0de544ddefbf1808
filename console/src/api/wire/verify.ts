// A comparison of the two tables of a map.

import type { Json } from "./value";

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
