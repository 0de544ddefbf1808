// Where one is: the address, and nothing beside it. Filters stand in it too, so a link shows what its sender saw.

import { useSyncExternalStore } from "react";

const listeners = new Set<() => void>();

function changed(): void {
  for (const listener of listeners) listener();
}

window.addEventListener("popstate", changed);

export interface Route {
  /** The parts of the path, decoded. */
  path: string[];
  query: URLSearchParams;
}

let known = "";
let route: Route = { path: [], query: new URLSearchParams() };

function current(): Route {
  const address = window.location.pathname + window.location.search;
  if (address !== known) {
    known = address;
    const path = window.location.pathname.split("/").filter((part) => part !== "").map(decoded);
    route = { path, query: new URLSearchParams(window.location.search) };
  }
  return route;
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function useRoute(): Route {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    current,
  );
}

export function go(address: string): void {
  window.history.pushState(null, "", address);
  window.scrollTo(0, 0);
  changed();
}

/** Changes the address without a step back to what it was: while somebody types a filter. */
export function setQuery(change: Record<string, string | null>): void {
  const query = new URLSearchParams(window.location.search);
  for (const [name, value] of Object.entries(change)) {
    if (value === null || value === "") query.delete(name);
    else query.set(name, value);
  }
  const text = query.toString();
  window.history.replaceState(null, "", window.location.pathname + (text === "" ? "" : `?${text}`));
  changed();
}

/** Where a map's page is. */
export function mapAddress(map: string, tab = "overview"): string {
  const page = `/maps/${encodeURIComponent(map)}`;
  return tab === "overview" ? page : `${page}/${tab}`;
}
