// What a map does with each column.

import type { Json } from "./value";

export interface Mapping {
  columns: MappedColumn[] | null;
  initial_sync: boolean;
  two_way: TwoWay | null;
}

export interface TwoWay {
  conflict: "left_wins" | "right_wins" | "latest_wins" | "park";
  side_effects: "sync" | "ignore";
  master: "left" | "right";
}

export interface MappedColumn {
  left: string | null;
  right: string | null;
  key: boolean;
  sensitive: boolean;
  to_right: ColumnWay | null;
  to_left: ColumnWay | null;
}

export interface ColumnWay {
  from: Origin;
  steps: MappingStep[];
  lookup: { map: string; column: string } | null;
}

export type Origin = { kind: "column"; name: string } | { kind: "constant"; value: Json } | { kind: "expression"; text: string };

export interface ValuePair {
  from: Json;
  to: Json;
}

export type MappingStep =
  | { kind: "default"; value: Json }
  | { kind: "trim" }
  | { kind: "truncate"; characters: number }
  | { kind: "case"; to: "upper" | "lower" }
  | { kind: "replace"; from: string; to: string }
  | { kind: "scale"; digits: number; rounding: string }
  | { kind: "timezone"; zone: string }
  | { kind: "values"; pairs: ValuePair[]; others_pass: boolean };
