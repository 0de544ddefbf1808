// The one place that asks the server. A refusal is a `Refused` with the server's problem, which says what to do; a
// server that does not answer is one as well, with words of ours.
//
// The session is a cookie that no script can read. What acts sends the session's CSRF token along, which a page of
// somebody else's cannot know. What changes something is sent through `once.ts`.

import type { Page } from "./wire/page";
import type { Problem } from "./wire/problem";

export class Refused extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail);
  }
}

let csrf = "";
let signedOut: () => void = () => {};

/** What acts is sent with this from now on. */
export function keepCsrf(token: string): void {
  csrf = token;
}

/** What is called when the server no longer knows who asks. */
export function whenSignedOut(tell: () => void): void {
  signedOut = tell;
}

export async function get<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> {
  return ask<T>("GET", path + search(query), { signal });
}

/** Sends something; with a key, what it asks for is done once, however often it is sent. */
export async function post<T>(path: string, body: unknown = {}, key?: string): Promise<T> {
  return ask<T>("POST", path, { body, key });
}

export async function remove(path: string): Promise<void> {
  await ask("DELETE", path);
}

export type Query = Record<string, string | number | null | undefined>;

/** Every item of a list, page by page. For lists that are as long as the config, not as the data. */
export async function all<T>(path: string, query: Query = {}): Promise<T[]> {
  const items: T[] = [];
  let after: string | null = null;
  do {
    const page: Page<T> = await get(path, { ...query, limit: 500, after });
    items.push(...page.items);
    after = page.next;
  } while (after !== null);
  return items;
}

/** Whether the server answers at all, within so many milliseconds. It is no use of the session. */
export async function isAlive(withinMs: number): Promise<boolean> {
  try {
    return (await fetch("/livez", { cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(withinMs) })).ok;
  } catch {
    return false;
  }
}

/** A name within a path. */
export function segment(name: string): string {
  return encodeURIComponent(name);
}

function search(query: Query): string {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") given.set(name, String(value));
  }
  const text = given.toString();
  return text === "" ? "" : `?${text}`;
}

interface Sent {
  body?: unknown;
  key?: string | undefined;
  signal?: AbortSignal | undefined;
}

/** How long an answer may take before it is taken for lost. */
const ANSWER_MS = 20_000;

async function ask<T>(method: string, path: string, { body, key, signal }: Sent = {}): Promise<T> {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (method !== "GET") headers["X-CSRF-Token"] = csrf;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key !== undefined) headers["Idempotency-Key"] = key;
  const late = AbortSignal.timeout(ANSWER_MS);
  const sent: RequestInit = { method, headers, credentials: "same-origin", cache: "no-store", signal: signal ? AbortSignal.any([signal, late]) : late };
  if (body !== undefined) sent.body = JSON.stringify(body);
  let response: Response;
  let text: string;
  try {
    response = await fetch(`/api/v1${path}`, sent);
    text = await response.text();
  } catch (why) {
    if (signal?.aborted) throw why;
    throw new Refused(noAnswer);
  }
  const read = text === "" ? null : parse(text);
  if (response.ok) return read as T;
  if (response.status === 401 && path !== "/session") signedOut();
  throw new Refused(isProblem(read) ? read : unread(response.status));
}

export const noAnswer: Problem = {
  status: 0,
  code: "no_answer",
  title: "The server does not answer",
  detail: "Tandem could not be reached, so what stands here may be old.",
  fix: "See whether the server runs; this page goes on by itself when it does.",
};

function unread(status: number): Problem {
  return { status, code: "unreadable", title: "The server's answer was not understood", detail: `It answered with status ${status}.` };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function isProblem(read: unknown): read is Problem {
  return typeof read === "object" && read !== null && "code" in read && "detail" in read;
}

/** The problem in whatever was thrown. */
export function problemOf(why: unknown): Problem {
  if (why instanceof Refused) return why.problem;
  return { status: 0, code: "internal", title: "Something went wrong in this page", detail: String(why), fix: "Load the page again." };
}
