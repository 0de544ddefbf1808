// Who is signed in. A session is made out of a token, or out of a code that opens one once; either is sent once and kept
// nowhere here.

import { get, keepCsrf, post, remove } from "./client";
import type { Session } from "./wire/session";

const rank = { viewer: 0, operator: 1, admin: 2 };

export async function whoAmI(): Promise<Session> {
  return kept(await get<Session>("/session"));
}

export async function signIn(token: string): Promise<Session> {
  await post("/session", { token });
  return whoAmI();
}

export async function signOut(): Promise<void> {
  await remove("/session");
}

/**
 * Signs in with the code of a link (`/#enter=…`), if the address has one, and takes it out of the address; then goes on.
 * What stands behind # is sent to no server by following the link.
 */
export async function enter(then: () => Promise<Session>): Promise<Session> {
  const code = new URLSearchParams(window.location.hash.slice(1)).get("enter");
  if (code !== null) {
    window.history.replaceState(null, "", window.location.pathname + window.location.search);
    try {
      return await signIn(code);
    } catch {
      // It was used already, or is too old: the session that it made may be there.
    }
  }
  return then();
}

/** Whether a session's role is at least this one. */
export function may(session: Session, role: Session["role"]): boolean {
  return rank[session.role] >= rank[role];
}

function kept(session: Session): Session {
  keepCsrf(session.csrf_token ?? "");
  return session;
}
