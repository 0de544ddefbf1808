// Numbers, bytes and times as people read them; the same units as on the command line.

const whole = new Intl.NumberFormat("en-GB");

/** 12 480, with thin gaps that do not break. */
export function count(value: number): string {
  return whole.format(value).replaceAll(",", "\u202f");
}

/** "1 record", "2 records". */
export function counted(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

export function bytes(value: number): string {
  const units: [number, string][] = [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]];
  for (const [unit, name] of units) {
    if (value >= unit) {
      const part = value / unit;
      return `${part >= 100 ? Math.round(part) : trimmed(part)} ${name}`;
    }
  }
  return `${Math.round(value)} B`;
}

function trimmed(part: number): string {
  return part.toFixed(1).replace(/\.0$/, "");
}

export function rate(perSecond: number): string {
  return `${perSecond >= 10 ? count(Math.round(perSecond)) : trimmed(perSecond)}/s`;
}

/** A span in its largest two units. */
export function span(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  const [days, hours, minutes] = [Math.floor(s / 86_400), Math.floor(s / 3_600) % 24, Math.floor(s / 60) % 60];
  if (days > 0) return hours > 0 ? `${days} d ${hours} h` : `${days} d`;
  if (hours > 0) return minutes > 0 ? `${hours} h ${minutes} min` : `${hours} h`;
  if (minutes > 0) return minutes < 10 && s % 60 > 0 ? `${minutes} min ${s % 60} s` : `${minutes} min`;
  return `${s} s`;
}

export function secondsSince(moment: string, now: number): number {
  return Math.max(0, (now - Date.parse(moment)) / 1000);
}

export function ago(moment: string, now: number): string {
  const seconds = (now - Date.parse(moment)) / 1000;
  if (seconds < -1) return `in ${span(-seconds)}`;
  if (seconds < 3) return "just now";
  if (seconds >= 60) return `${coarse(seconds)} ago`;
  return `${span(seconds)} ago`;
}

/** One unit is enough to say how long ago. */
function coarse(seconds: number): string {
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

const local = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

/** Here and in UTC. */
export function absolute(moment: string): string {
  const date = new Date(moment);
  return `${local.format(date)} (${date.toISOString().replace("T", " ").replace(/\.\d+Z$/, "")} UTC)`;
}

export function clockTime(at: number): string {
  return clock.format(at);
}

export function percent(part: number): string {
  if (part > 0 && part < 0.01) return "< 1 %";
  return `${Math.floor(part * 100)} %`;
}
