// What the whole console shows of maps, apps and rules, kept as it is on the server.
//
// Everything is read once; then the server's events bring what changes. Where events do not come (a proxy that holds
// them back, too many listeners), it is read anew every few seconds: slower, and never wrong. An event `reset` says that
// some were missed, so everything is read anew as well. A tab that nobody looks at listens to nothing.
//
// A connection that is cut on its way is not heard to end: where events are silent for some seconds, the server is asked
// whether it lives. So what is called live is.
//
// The store also remembers what each map's queue was, which is what its charts draw.

import { useSyncExternalStore } from "react";
import { all, isAlive, noAnswer, problemOf } from "./client";
import { History } from "./history";
import type { Activity } from "./wire/activity";
import type { App } from "./wire/app";
import type { TableMap } from "./wire/map";
import type { Problem } from "./wire/problem";
import type { Rule } from "./wire/rule";

export interface Live {
  maps: TableMap[] | null;
  apps: App[] | null;
  rules: Rule[] | null;
  /** Entries of the activity log that came while we listened, the newest first. */
  fresh: Activity[];
  /** Rises whenever an entry came, or may have come. */
  activityTick: number;
  /** When something was last heard of the server. */
  heardAt: number;
  /** How it is heard. */
  way: "events" | "polling" | "none";
  problem: Problem | null;
}

const POLL_MS = 2_000;
const RETRY_MS = 15_000;
const FRESH_MAX = 200;
/** From so many milliseconds of silence on the server is asked whether it lives, and this is how long it may take. */
const SILENT_MS = 6_000;
const ALIVE_MS = 4_000;

let shown: Live = empty();
const listeners = new Set<() => void>();
export const history = new History();

let started = false;
let wide = true;
let source: EventSource | null = null;
let timer: number | undefined;
let retryAt = 0;

function empty(): Live {
  return { maps: null, apps: null, rules: null, fresh: [], activityTick: 0, heardAt: 0, way: "none", problem: null };
}

export function useLive(): Live {
  return useSyncExternalStore(subscribe, () => shown);
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function show(change: Partial<Live>): void {
  shown = { ...shown, ...change };
  for (const listener of listeners) listener();
}

/** Begins. Apps and rules are about all maps: who is bound to some is not told of them. */
export function start(seesAll: boolean): void {
  if (started) return;
  started = true;
  wide = seesAll;
  document.addEventListener("visibilitychange", looked);
  looked();
}

export function stop(): void {
  started = false;
  document.removeEventListener("visibilitychange", looked);
  silence();
  shown = empty();
  history.clear();
}

let reading: Promise<void> | null = null;
let next: Promise<void> | null = null;
/** What events said while everything was being read: it is newer than what is read. */
let told = new Set<string>();

/**
 * Reads everything anew, at once: after something was done. One reading at a time, so that an older answer never takes the
 * place of a newer one; whoever asks meanwhile gets one that begins after the present one.
 */
export function refresh(): Promise<void> {
  if (reading === null) {
    reading = readAll().finally(() => {
      reading = null;
    });
    return reading;
  }
  next ??= reading.then(() => {
    next = null;
    return refresh();
  });
  return next;
}

/** What was read, but where an event was quicker. */
function merged<T extends { name: string }>(kind: string, read: T[], known: T[] | null): T[] {
  const isTold = (item: T) => told.has(`${kind} ${item.name}`);
  const kept = (known ?? []).filter(isTold);
  return [...read.filter((item) => !isTold(item)), ...kept].sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function readAll(): Promise<void> {
  told = new Set();
  try {
    const read = await Promise.all([
      all<TableMap>("/maps"),
      wide ? all<App>("/apps") : [],
      wide ? all<Rule>("/rules") : [],
    ]);
    if (!started) return;
    const maps = merged("map", read[0], shown.maps);
    history.note(maps);
    show({ maps, apps: merged("app", read[1], shown.apps), rules: merged("rule", read[2], shown.rules), heardAt: Date.now(), problem: null, activityTick: shown.activityTick + 1 });
  } catch (why) {
    if (started) show({ problem: problemOf(why) });
  }
}

function looked(): void {
  if (document.hidden) {
    silence();
  } else {
    listen();
    void tick();
  }
}

function silence(): void {
  source?.close();
  source = null;
  window.clearTimeout(timer);
  timer = undefined;
}

/** Every turn: what the charts remember, and reading anew where events do not come. */
async function tick(): Promise<void> {
  window.clearTimeout(timer);
  if (shown.way === "events" && shown.maps) {
    history.note(shown.maps);
    if (Date.now() - shown.heardAt > SILENT_MS) await sound();
  } else {
    await refresh();
    if (started && source === null && Date.now() >= retryAt) listen();
  }
  if (started && !document.hidden) timer = window.setTimeout(() => void tick(), POLL_MS);
}

/** Whether there is still somebody at the other end of a silent stream. */
async function sound(): Promise<void> {
  const lives = await isAlive(ALIVE_MS);
  if (!started || shown.way !== "events") return;
  if (lives) {
    show({ heardAt: Date.now() });
  } else {
    source?.close();
    source = null;
    retryAt = 0;
    show({ way: "polling", problem: noAnswer });
  }
}

function listen(): void {
  source?.close();
  retryAt = Date.now() + RETRY_MS;
  const opened = new EventSource("/api/v1/events");
  source = opened;
  const on = <T>(name: string, take: (data: T) => void) =>
    opened.addEventListener(name, (event) => {
      take(JSON.parse((event as MessageEvent<string>).data) as T);
    });
  opened.onopen = () => {
    show({ way: "events", heardAt: Date.now() });
    // Between the last reading and the first event something may have happened.
    void refresh();
  };
  opened.onerror = () => {
    show({ way: "polling" });
    // Closed for good by the answer: try again later, and read meanwhile. Else the browser connects again by itself.
    if (opened.readyState === EventSource.CLOSED && source === opened) source = null;
  };
  opened.addEventListener("reset", () => void refresh());
  // Before everything was read, one thing alone would look like all that there is: then the reading begins anew.
  on<TableMap>("map", (map) => {
    if (!shown.maps) return void refresh();
    told.add(`map ${map.name}`);
    show({ maps: placed(shown.maps, map), heardAt: Date.now() });
  });
  on<App>("app", (app) => {
    if (!shown.apps) return void refresh();
    told.add(`app ${app.name}`);
    show({ apps: placed(shown.apps, app), heardAt: Date.now() });
  });
  on<Rule>("rule", (rule) => {
    if (!shown.rules) return void refresh();
    told.add(`rule ${rule.name}`);
    show({ rules: placed(shown.rules, rule), heardAt: Date.now() });
  });
  on<{ kind: string; name: string }>("gone", ({ kind, name }) => {
    if (shown.maps) told.add(`${kind} ${name}`);
    const left = <T extends { name: string }>(list: T[] | null) => list?.filter((item) => item.name !== name) ?? null;
    if (kind === "map") show({ maps: left(shown.maps) });
    if (kind === "app") show({ apps: left(shown.apps) });
    if (kind === "rule") show({ rules: left(shown.rules) });
  });
  on<Activity>("activity", (entry) => {
    if (shown.fresh.some((known) => known.id === entry.id)) return;
    const fresh = [entry, ...shown.fresh].slice(0, FRESH_MAX);
    show({ fresh, activityTick: shown.activityTick + 1, heardAt: Date.now() });
  });
}

/** A list by name in which one thing is as it is now. */
function placed<T extends { name: string }>(list: T[], item: T): T[] {
  const others = list.filter((other) => other.name !== item.name);
  return [...others, item].sort((a, b) => (a.name < b.name ? -1 : 1));
}
