// The one place that asks the server. A refusal is a `Refused` with the server's problem, which says what to do; a
// server that does not answer is one as well, with words of ours.
//
// The session is a cookie that no script can read. What acts sends the session's CSRF token along, which a page of
// somebody else's cannot know.

import type { Page, Problem } from "./types";

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
  return ask<T>("GET", path + search(query), undefined, signal);
}

export async function post<T>(path: string, body: unknown = {}): Promise<T> {
  return ask<T>("POST", path, body);
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

async function ask<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (method !== "GET") headers["X-CSRF-Token"] = csrf;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const sent: RequestInit = { method, headers, credentials: "same-origin", cache: "no-store" };
  if (body !== undefined) sent.body = JSON.stringify(body);
  if (signal) sent.signal = signal;
  let response: Response;
  try {
    response = await fetch(`/api/v1${path}`, sent);
  } catch (why) {
    if (signal?.aborted) throw why;
    throw new Refused(noAnswer);
  }
  const text = await response.text();
  const read = text === "" ? null : parse(text);
  if (response.ok) return read as T;
  if (response.status === 401 && path !== "/session") signedOut();
  throw new Refused(isProblem(read) ? read : unread(response.status));
}

const noAnswer: Problem = {
  status: 0,
  code: "no_answer",
  title: "The server does not answer",
  detail: "Tandem could not be reached. Nothing was changed by what you just did, as far as is known here.",
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
