// How each map's queue was while the console is open: bounded, and thinned the older it gets.

import type { TableMap } from "./types";

export interface Sample {
  at: number;
  records: number;
  bytes: number;
  lagSeconds: number;
}

const SAMPLES_MAX = 480;
const APART_MS = 900;

export class History {
  private readonly maps = new Map<string, Sample[]>();

  note(maps: TableMap[]): void {
    const now = Date.now();
    for (const map of maps) {
      const samples = this.maps.get(map.name) ?? [];
      const last = samples.at(-1);
      if (last && now - last.at < APART_MS) continue;
      const { records, bytes, oldest_at } = map.queue;
      const lagSeconds = oldest_at === null ? 0 : Math.max(0, (now - Date.parse(oldest_at)) / 1000);
      samples.push({ at: now, records, bytes: map.limits?.used_bytes ?? bytes, lagSeconds });
      // Half of the older half goes, so that the beginning stays and the end is exact.
      if (samples.length > SAMPLES_MAX) {
        const half = SAMPLES_MAX / 2;
        const kept = samples.filter((_, place) => place >= half || place % 2 === 0);
        samples.splice(0, samples.length, ...kept);
      }
      this.maps.set(map.name, samples);
    }
  }

  of(map: string): Sample[] {
    return this.maps.get(map) ?? [];
  }

  clear(): void {
    this.maps.clear();
  }
}
