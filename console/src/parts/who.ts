// What who is signed in may do and see, so that nothing is offered that the server would refuse. It decides all the same:
// what is offered here by mistake is refused there.

import { createContext, useContext } from "react";
import { may } from "../api/session";
import type { TableMap } from "../api/wire/map";
import type { Session } from "../api/wire/session";

export const SessionContext = createContext<Session | null>(null);

export function useSession(): Session | null {
  return useContext(SessionContext);
}

/** Whether who is signed in may act, and not only look. */
export function useMayAct(): boolean {
  const session = useSession();
  return session !== null && may(session, "operator");
}

/**
 * Whether they may pause, resume, run or stop this map. What is done to a map is done to its dependents as well, so who is bound to some
 * maps may only if all of those are among them.
 */
export function useMayActOn(): (map: TableMap) => boolean {
  const session = useSession();
  const mayAct = useMayAct();
  return (map) => mayAct && foreign(session, map).length === 0;
}

/** The dependents of a map that who is signed in is not for. */
export function foreign(session: Session | null, map: TableMap): string[] {
  const bound = session?.maps;
  return bound ? map.dependents.filter((name) => !bound.includes(name)) : [];
}

/** Whether they see the integration keys of this map, and so may search by them. */
export function useSeesKeys(map: TableMap): boolean {
  const session = useSession();
  if (session === null || !may(session, "operator")) return false;
  if (may(session, "admin")) return true;
  const isKey = (column: string | null) => column !== null && (map.left.key.includes(column) || map.right.key.includes(column));
  return !(map.columns ?? []).some((column) => column.sensitive && (isKey(column.left) || isKey(column.right)));
}
