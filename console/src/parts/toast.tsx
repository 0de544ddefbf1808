// A word about what was just done, at the edge of the page; read out, and gone by itself.

import { useSyncExternalStore } from "react";

interface Toast {
  id: number;
  text: string;
}

let toasts: Toast[] = [];
let last = 0;
const listeners = new Set<() => void>();
const SHOWN_MS = 6_000;

function show(next: Toast[]): void {
  toasts = next;
  for (const listener of listeners) listener();
}

export function say(text: string): void {
  const id = ++last;
  show([...toasts.slice(-2), { id, text }]);
  window.setTimeout(() => show(toasts.filter((toast) => toast.id !== id)), SHOWN_MS);
}

export function Toasts() {
  const shown = useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => toasts,
  );
  return (
    <div className="toasts" role="status" aria-live="polite">
      {shown.map((toast) => (
        <div key={toast.id} className="toast">
          {toast.text}
        </div>
      ))}
    </div>
  );
}
