// How full a map is: of its bytes, of its time, and which of the two is reached first.

import type { TableMap } from "../api/wire/map";
import { bytes, secondsSince, span } from "./format";

export interface Fullness {
  limit: "bytes" | "age";
  part: number;
  soft: number;
  /** "12 MB of 1 GB" */
  words: string;
}

/** The nearer limit; null if none applies now. */
export function fullness(map: TableMap, now: number): Fullness | null {
  const [ofBytes, ofAge] = [bytesFull(map), ageFull(map, now)];
  if (ofBytes && ofAge) return ofAge.part > ofBytes.part ? ofAge : ofBytes;
  return ofBytes ?? ofAge;
}

export function bytesFull(map: TableMap): Fullness | null {
  const limits = map.limits;
  if (!limits || limits.max_queue_bytes === null || map.state === "not_running") return null;
  const part = limits.max_queue_bytes === 0 ? 1 : limits.used_bytes / limits.max_queue_bytes;
  return { limit: "bytes", part, soft: limits.soft_limit, words: `${bytes(limits.used_bytes)} of ${bytes(limits.max_queue_bytes)}` };
}

export function ageFull(map: TableMap, now: number): Fullness | null {
  const limits = map.limits;
  if (!limits || limits.max_pause_age_seconds === null || map.state === "not_running") return null;
  const age = limits.counts_since === null ? 0 : secondsSince(limits.counts_since, now);
  const part = limits.max_pause_age_seconds === 0 ? 1 : age / limits.max_pause_age_seconds;
  return { limit: "age", part, soft: limits.soft_limit, words: `${span(age)} of ${span(limits.max_pause_age_seconds)}` };
}

/** When a paused map's hard limits are reached if all goes on as it does, in sentences; the sooner first. */
export function forecast(map: TableMap, now: number): string[] {
  const limits = map.limits;
  if (!limits || map.state !== "paused") return [];
  const said: [number, string][] = [];
  if (limits.max_queue_bytes !== null && limits.growth_bytes > 0) {
    const left = Math.max(0, limits.max_queue_bytes - limits.used_bytes) / limits.growth_bytes;
    // A forecast of years says nothing.
    if (left < 90 * 86_400) said.push([left, `Full ${left < 1 ? "within a second" : `in ${span(left)}`} at ${bytes(limits.growth_bytes)}/s`]);
  }
  if (limits.max_pause_age_seconds !== null && limits.counts_since !== null) {
    const left = Math.max(0, limits.max_pause_age_seconds - secondsSince(limits.counts_since, now));
    said.push([left, `Longest pause reached in ${span(left)}`]);
  }
  return said.sort((a, b) => a[0] - b[0]).map(([, text]) => text);
}

export function tone(full: Fullness): "good" | "warn" | "bad" | "calm" {
  if (full.part >= 1) return "bad";
  return full.part >= full.soft ? "warn" : "calm";
}
