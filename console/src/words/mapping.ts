// What a map does with a record, in words.

import type { MappingStep, TwoWay } from "../api/wire/mapping";
import { counted } from "./format";

const roundings: Record<string, string> = {
  half_even: "halves go to the even digit",
  half_up: "halves go away from zero",
  down: "towards zero",
  up: "away from zero",
  floor: "downwards",
  ceiling: "upwards",
  exact: "nothing may be lost",
};

/** A step that is said without a value of a record. */
export type PlainStep = Exclude<MappingStep, { kind: "default" | "replace" }>;

export function stepName(step: PlainStep): string {
  switch (step.kind) {
    case "trim":
      return "White space off both ends";
    case "truncate":
      return `At most ${counted(step.characters, "character")}`;
    case "case":
      return step.to === "upper" ? "UPPER CASE" : "lower case";
    case "scale":
      return `${counted(step.digits, "decimal place")}, ${roundings[step.rounding] ?? step.rounding}`;
    case "timezone":
      return `Time on the wall of ${step.zone}`;
    case "values":
      return `${counted(step.pairs.length, "value")} called otherwise`;
  }
}

export const conflictNames: Record<TwoWay["conflict"], string> = {
  left_wins: "the left one wins",
  right_wins: "the right one wins",
  latest_wins: "the later one wins",
  park: "both stay as they are, and it becomes an error",
};
