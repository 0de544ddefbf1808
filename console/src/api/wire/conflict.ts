// Records that were changed on both sides.

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
