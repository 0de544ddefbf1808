// How each map's queue was. What was before the page was opened, the server remembers; from then on what is shown is noted
// here, bounded, and thinned the older it gets.

import { get, segment } from "./client";
import type { MapHistory, TableMap } from "./wire/map";

export interface Sample {
  at: number;
  records: number;
  bytes: number;
  lagSeconds: number;
}

/** A sample that was noted here also has how many changes were applied by then. */
interface Noted extends Sample {
  applied: number;
}

/** How fast changes were applied in the seconds before a moment. */
export interface Pace {
  at: number;
  seconds: number;
  perSecond: number;
}

const SAMPLES_MAX = 480;
const APART_MS = 900;
/** Where nothing was noted for so long (a tab that nobody looked at), the server is asked again. */
const GAP_MS = 30_000;
/** What the server would not say is asked once more after this time. */
const AGAIN_MS = 30_000;

export class History {
  private readonly maps = new Map<string, Noted[]>();
  private readonly past = new Map<string, Sample[]>();
  private readonly asked = new Map<string, number>();

  note(maps: TableMap[]): void {
    const now = Date.now();
    for (const map of maps) {
      const samples = this.maps.get(map.name) ?? [];
      const last = samples.at(-1);
      if (last && now - last.at < APART_MS) continue;
      if (last && now - last.at > GAP_MS) {
        samples.length = 0;
        this.asked.delete(map.name);
      }
      const { records, bytes, oldest_at } = map.queue;
      const lagSeconds = oldest_at === null ? 0 : Math.max(0, (now - Date.parse(oldest_at)) / 1000);
      const applied = map.flows.reduce((sum, flow) => sum + flow.applied, 0);
      samples.push({ at: now, records, bytes: map.limits?.used_bytes ?? bytes, lagSeconds, applied });
      // Half of the older half goes, so that the beginning stays and the end is exact.
      if (samples.length > SAMPLES_MAX) {
        const half = SAMPLES_MAX / 2;
        const kept = samples.filter((_, place) => place >= half || place % 2 === 0);
        samples.splice(0, samples.length, ...kept);
      }
      this.maps.set(map.name, samples);
    }
  }

  /** Asks the server what was before, once for each map that is looked at. */
  ask(map: string): void {
    if (this.asked.has(map)) return;
    const asked = Date.now();
    this.asked.set(map, asked);
    const take = (history: MapHistory) => {
      // Meanwhile somebody may have signed out, or it was asked anew.
      if (this.asked.get(map) === asked) this.past.set(map, joined(history));
    };
    const later = () => window.setTimeout(() => this.asked.get(map) === asked && this.asked.delete(map), AGAIN_MS);
    get<MapHistory>(`/maps/${segment(map)}/history`).then(take, later);
  }

  /** What is known from a moment on. */
  of(map: string, since: number): Sample[] {
    const noted = this.maps.get(map) ?? [];
    const first = noted[0]?.at ?? Infinity;
    const before = (this.past.get(map) ?? []).filter((sample) => sample.at >= since && sample.at < first);
    return [...before, ...noted];
  }

  /** How fast changes were applied from a moment on. Counts begin anew when a map is run anew: then it was as if nothing was. */
  rates(map: string, since: number): Pace[] {
    const noted = (this.maps.get(map) ?? []).filter((sample) => sample.at >= since);
    return noted.slice(1).map((sample, place) => {
      const before = noted[place] ?? sample;
      const seconds = (sample.at - before.at) / 1000;
      return { at: sample.at, seconds, perSecond: Math.max(0, sample.applied - before.applied) / seconds };
    });
  }

  clear(): void {
    this.maps.clear();
    this.past.clear();
    this.asked.clear();
  }
}

/**
 * Coarse steps as far back as they go, and fine ones from where there are some. A step has the most that was seen in it, so
 * one that reaches into the fine ones would say of its beginning what came only then.
 */
function joined(history: MapHistory): Sample[] {
  const finestFirst = history.steps.map(({ step_seconds, points }) =>
    points.map(({ at, records, bytes, lag_seconds }) => ({ at: Date.parse(at), until: Date.parse(at) + step_seconds * 1000, records, bytes, lagSeconds: lag_seconds })),
  );
  return finestFirst.reduce((fine, coarse) => [...coarse.filter((sample) => sample.until <= (fine[0]?.at ?? Infinity)), ...fine], []);
}
