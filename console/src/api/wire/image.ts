// What a map makes of a change: what would be written, or why nothing can be.

import type { Json, Row } from "./value";

export interface Mapped {
  image: Image | null;
  unwritable: Unwritable | null;
}

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
