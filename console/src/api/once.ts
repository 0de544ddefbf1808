// Doing something once, whatever happens on the way.
//
// Each press of a button has a key of its own, and the server keeps its answer under that key: who sends the same request
// with the same key gets the same answer, and nothing is done again. So a request whose answer is lost is sent again by
// itself. If none comes for long, the key is kept, and whoever presses again sends the same request as before. A request that is
// under way is not sent a second time: a double click is one click.

import { post, problemOf, Refused } from "./client";
import type { Problem } from "./wire/problem";

const TRIALS = 4;
const AGAIN_MS = 1_000;

/** Requests whose answer is awaited, by what they ask for. */
const underway = new Map<string, Promise<unknown>>();
/** The keys of requests of which it is not known whether they were done, by what they ask for. */
const unsettled = new Map<string, string>();

export function once<T>(path: string, body: unknown = {}): Promise<T> {
  const request = `${path} ${JSON.stringify(body)}`;
  const already = underway.get(request);
  if (already) return already as Promise<T>;
  const answer = settled<T>(path, body, request).finally(() => underway.delete(request));
  underway.set(request, answer);
  return answer;
}

async function settled<T>(path: string, body: unknown, request: string): Promise<T> {
  const key = unsettled.get(request) ?? freshKey();
  unsettled.set(request, key);
  for (let trial = 1; ; trial += 1) {
    try {
      const answer = await post<T>(path, body, key);
      unsettled.delete(request);
      return answer;
    } catch (why) {
      if (!isOpen(problemOf(why))) {
        unsettled.delete(request);
        throw why;
      }
      if (trial === TRIALS) throw new Refused(notKnown);
    }
    await new Promise((next) => window.setTimeout(next, AGAIN_MS));
  }
}

/** Whether it is not known after this what came of a request: not answered, still being done, or not answered behind a proxy. */
function isOpen({ code, status }: Problem): boolean {
  return code === "no_answer" || code === "request_underway" || (code === "unreadable" && status >= 502 && status <= 504);
}

const notKnown: Problem = {
  status: 0,
  code: "no_answer",
  title: "The server does not answer",
  detail: "It is not known whether this was done.",
  fix: "Try again when the server answers: it is done once, however often it is sent.",
};

/** `crypto.randomUUID` is there only for pages from this machine or by HTTPS. */
function freshKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
