// A line over time in SVG: what was, the limits, and where it goes if all goes on as it does.
//
// The limits are drawn only when they are near enough to share a scale with what was; else the line would lie on the
// floor and say nothing. Then the words say how far they are.

import { type RefObject, useEffect, useId, useRef, useState } from "react";
import { clockTime } from "../words/format";

export interface Line {
  at: number;
  kind: "soft" | "hard";
  name: string;
}

interface Props {
  title: string;
  /** What it is now, in words. */
  value: string;
  points: { at: number; value: number }[];
  lines: Line[];
  /** It goes on like this. */
  ahead?: { perSecond: number } | undefined;
  format: (value: number) => string;
  /** Steps of the scale: of ten, or of a clock. */
  scale: "tens" | "clock";
  now: number;
  notes: string[];
}

const H = 180;
const LEFT = 68;
const BOTTOM = 22;
const TOP = 12;
/** The part of the width that is kept for what is to come. */
const AHEAD = 0.25;

export function Chart(props: Props) {
  const heading = useId();
  const box = useRef<HTMLDivElement>(null);
  const W = useWidth(box);
  const { points, format } = props;
  const now = Math.max(props.now, points.at(-1)?.at ?? 0);
  const first = points[0]?.at ?? now;
  const past = Math.max(20_000, now - first);
  const future = props.ahead ? (past * AHEAD) / (1 - AHEAD) : 0;
  const end = now + future;
  const last = points.at(-1)?.value ?? 0;
  // Beyond the hard limit nothing goes on as it does.
  const hard = props.lines.find((line) => line.kind === "hard")?.at ?? Infinity;
  const whole = props.ahead ? (props.ahead.perSecond * future) / 1_000 : 0;
  const growth = Math.max(0, Math.min(whole, hard - last));
  const expected = last + growth;
  const until = whole > 0 ? now + future * (growth / whole) : now;
  const most = Math.max(...points.map((point) => point.value), expected, 0);
  // A limit is drawn when what is there reaches a twelfth of it.
  const near = props.lines.filter((line) => line.at <= most * 12);
  const top = ceilings[props.scale](Math.max(most, ...near.map((line) => line.at)) * 1.08);
  const x = (at: number) => LEFT + ((at - (now - past)) / (end - (now - past))) * (W - LEFT - 8);
  const y = (value: number) => H - BOTTOM - (value / top) * (H - BOTTOM - TOP);
  const drawn = points.length > 0 ? [...points, { at: now, value: last }] : [];
  const path = drawn.map((point, place) => `${place === 0 ? "M" : "L"}${x(point.at).toFixed(1)} ${y(point.value).toFixed(1)}`).join("");
  const area = drawn.length > 1 ? `${path}L${x(now).toFixed(1)} ${y(0)}L${x(drawn[0]?.at ?? now).toFixed(1)} ${y(0)}Z` : "";
  const far = props.lines.filter((line) => !near.includes(line) && line.kind === "hard");
  const summary = `${props.title}: now ${props.value}. ${props.lines.map((line) => `${line.name} ${format(line.at)}`).join(", ")}. ${props.notes.join(". ")}`;
  return (
    <section className="card chart" aria-labelledby={heading}>
      <h2 id={heading}>{props.title}</h2>
      <p className="chart-value">{props.value}</p>
      <div ref={box}>
      <svg viewBox={`0 0 ${W} ${H}`} role="img" aria-label={summary}>
        {[0, top / 2, top].map((value) => (
          <g key={value}>
            <path className="grid" d={`M${LEFT} ${y(value)}H${W - 8}`} />
            <text className="tick" x={LEFT - 8} y={y(value) + 4} textAnchor="end">
              {format(value)}
            </text>
          </g>
        ))}
        <text className="tick" x={LEFT} y={H - 5}>
          {clockTime(now - past)}
        </text>
        <text className="tick" x={x(now)} y={H - 5} textAnchor={props.ahead ? "middle" : "end"}>
          now
        </text>
        <path className="area" d={area} />
        <path className="curve" d={path} />
        {props.ahead && <path className="ahead" d={`M${x(now)} ${y(last)}L${x(until)} ${y(expected)}`} />}
        {points.length > 0 && <circle className="present" cx={x(now)} cy={y(last)} r="3.5" />}
        {near.map((line) => (
          <g key={line.kind}>
            <path className={`limit-line ${line.kind}`} d={`M${LEFT} ${y(line.at)}H${W - 8}`} />
            <text className={`limit-name ${line.kind}`} x={W - 10} y={y(line.at) + (line.kind === "hard" ? -5 : 15)} textAnchor="end">
              {line.name} {format(line.at)}
            </text>
          </g>
        ))}
      </svg>
      </div>
      <p className="chart-notes">
        {[...props.notes, ...far.map((line) => `${line.name}: ${format(line.at)}, far off`)].join(" · ") || "\u00a0"}
      </p>
    </section>
  );
}

/** How wide an element is: drawn to measure, so that words on a phone are as large as elsewhere. */
function useWidth(element: RefObject<HTMLDivElement | null>): number {
  const [width, setWidth] = useState(560);
  useEffect(() => {
    const box = element.current;
    if (!box) return;
    const watch = new ResizeObserver(() => setWidth(Math.max(240, box.clientWidth)));
    watch.observe(box);
    return () => watch.disconnect();
  }, [element]);
  return width;
}

const MINUTE = 60;
const HOUR = 3_600;
const DAY = 86_400;
const clock = [10, 20, 30, MINUTE, 2 * MINUTE, 4 * MINUTE, 10 * MINUTE, 20 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY];

const ceilings = {
  /** Seconds: the next round time, in days from then on. */
  clock: (value: number) => clock.find((step) => value <= step) ?? tens(value / DAY) * DAY,
  /** Bytes: a queue of a few is not drawn as a mountain. */
  tens: (value: number) => tens(Math.max(value, 1_000)),
};

/** The next number of the form 1, 2, 2.5 or 5 times a power of ten. */
function tens(value: number): number {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  for (const step of [1, 2, 2.5, 5, 10]) {
    if (value <= step * power) return step * power;
  }
  return 10 * power;
}
