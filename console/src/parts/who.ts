import { createContext, useContext } from "react";
import { may } from "../api/session";
import type { Session } from "../api/types";

export const SessionContext = createContext<Session | null>(null);

/** Whether who is signed in may act, and not only look. */
export function useMayAct(): boolean {
  const session = useContext(SessionContext);
  return session !== null && may(session, "operator");
}

export function useSession(): Session | null {
  return useContext(SessionContext);
}
