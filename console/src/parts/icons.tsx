// Drawn here, so that nothing is fetched from elsewhere. Decoration: what they mean stands beside them in words.

import type { Verb } from "../api/wire/action";

const paths = {
  check: "M4 10.5l4 4 8-9",
  pause: "M7 5v10M13 5v10",
  warning: "M10 3.5l7 12.5H3zM10 8v4M10 14.2v.3",
  error: "M10 3a7 7 0 100 14 7 7 0 000-14zM7.5 7.5l5 5M12.5 7.5l-5 5",
  info: "M10 3a7 7 0 100 14 7 7 0 000-14zM10 9v5M10 6.2v.3",
  next: "M8 5l5 5-5 5",
  back: "M12 5l-5 5 5 5",
  close: "M5 5l10 10M15 5L5 15",
  copy: "M8 8h8v8H8zM12 8V4H4v8h4",
  lock: "M5 9h10v7H5zM7 9V6.5a3 3 0 016 0V9",
  play: "M7 4.5l8 5.5-8 5.5z",
  stop: "M6 6h8v8H6z",
  skip: "M5 5l6 5-6 5zM14 5v10",
  retry: "M15.5 10a5.5 5.5 0 11-1.6-3.9M14.5 3v3.5H11",
  trash: "M5 6h10M8 6V4h4v2M6.5 6l.7 10h5.6l.7-10",
} as const;

export type IconName = keyof typeof paths;

/** Of what can be asked of a map. */
export const verbIcons: Record<Verb, IconName> = { pause: "pause", resume: "play", skip: "skip", run: "play", stop: "stop" };

export function Icon({ name }: { name: IconName }) {
  return (
    <svg className="icon" viewBox="0 0 20 20" aria-hidden="true" focusable="false">
      <path d={paths[name]} />
    </svg>
  );
}
