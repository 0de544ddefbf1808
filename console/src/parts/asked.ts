// What a page asks the server for beside what is live: asked when it opens and whenever what it depends on changes.

import { useCallback, useEffect, useRef, useState } from "react";
import { problemOf } from "../api/client";
import type { Page } from "../api/wire/page";
import type { Problem } from "../api/wire/problem";

export interface Asked<T> {
  data: T | null;
  problem: Problem | null;
  again: () => void;
}

/** Asks with `ask` whenever `key` changes. What was there stays until the new is. */
export function useAsked<T>(key: string, ask: (signal: AbortSignal) => Promise<T>): Asked<T> {
  const [state, setState] = useState<{ key: string; data: T | null; problem: Problem | null }>({ key: "", data: null, problem: null });
  const [turn, setTurn] = useState(0);
  const latest = useRef(ask);
  latest.current = ask;
  useEffect(() => {
    const aborted = new AbortController();
    latest.current(aborted.signal).then(
      (data) => setState({ key, data, problem: null }),
      (why: unknown) => {
        if (!aborted.signal.aborted) setState((before) => ({ ...before, problem: problemOf(why) }));
      },
    );
    return () => aborted.abort();
  }, [key, turn]);
  const again = useCallback(() => setTurn((turn) => turn + 1), []);
  return { data: state.data, problem: state.problem, again };
}

export interface Pages<T> {
  items: T[] | null;
  more: boolean;
  busy: boolean;
  problem: Problem | null;
  load: () => void;
}

/**
 * A list page by page. When `tick` changes, what is shown is read anew, as long as it is: nobody who reads further down
 * is thrown back to the first page.
 */
export function usePages<T>(key: string, tick: unknown, ask: (after: string | null, limit: number, signal: AbortSignal) => Promise<Page<T>>): Pages<T> {
  const [state, setState] = useState<{ key: string; items: T[] | null; next: string | null }>({ key: "", items: null, next: null });
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const latest = useRef(ask);
  latest.current = ask;
  const length = state.key === key ? (state.items?.length ?? 0) : 0;
  const shown = useRef(0);
  shown.current = length;
  useEffect(() => {
    const aborted = new AbortController();
    const limit = Math.min(500, Math.max(PAGE, shown.current));
    latest.current(null, limit, aborted.signal).then(
      (page) => {
        setState({ key, items: page.items, next: page.next });
        setProblem(null);
      },
      (why: unknown) => {
        if (!aborted.signal.aborted) setProblem(problemOf(why));
      },
    );
    return () => aborted.abort();
  }, [key, tick]);
  const load = () => {
    if (busy || state.next === null) return;
    setBusy(true);
    latest
      .current(state.next, PAGE, new AbortController().signal)
      .then(
        (page) =>
          setState((before) => (before.key === key ? { key, items: [...(before.items ?? []), ...page.items], next: page.next } : before)),
        (why: unknown) => setProblem(problemOf(why)),
      )
      .finally(() => setBusy(false));
  };
  const isCurrent = state.key === key;
  return { items: isCurrent ? state.items : null, more: isCurrent && state.next !== null, busy, problem, load };
}

/** The items of a page. */
export const PAGE = 50;

/** Lists are read anew when what they show moves, and at most this often. */
const REREAD_MS = 2_000;

/** A value that follows another at most so often. */
export function useSlowly(value: string): string {
  const [slow, setSlow] = useState(value);
  const latest = useRef(value);
  latest.current = value;
  useEffect(() => {
    const timer = window.setInterval(() => setSlow(latest.current), REREAD_MS);
    return () => window.clearInterval(timer);
  }, []);
  return slow;
}
