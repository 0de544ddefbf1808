// How fast changes of a map were applied of late, as a line that is as large as a word.
//
// It is made of what the page has heard itself: the server's own past of a queue has no rates. So it begins when the page
// is opened, and until two moments are known there is nothing to see.

import { history } from "../api/live";
import { rate } from "../words/format";

const W = 84;
const H = 22;
/** So much of the past is drawn. */
export const SPARK_MS = 300_000;
/** The rate that is said is of the last seconds: of one it would jump. */
const LATELY_MS = 10_000;

/** `none`: there is nothing to be fast at. */
export function Spark({ map, now, none }: { map: string; now: number; none: boolean }) {
  const rates = history.rates(map, now - SPARK_MS);
  const first = rates[0];
  if (none || first === undefined) return <span className="faint">–</span>;
  const lately = rates.filter((one) => one.at > now - LATELY_MS);
  const seconds = lately.reduce((sum, one) => sum + one.seconds, 0);
  const present = seconds === 0 ? 0 : lately.reduce((sum, one) => sum + one.perSecond * one.seconds, 0) / seconds;
  const most = Math.max(...rates.map((one) => one.perSecond), 1);
  const past = Math.max(now - first.at, 20_000);
  const x = (at: number) => Math.max(0, W - ((now - at) / past) * W);
  const y = (value: number) => H - 2 - (value / most) * (H - 4);
  const line = rates.map((one, place) => `${place === 0 ? "M" : "L"}${x(one.at).toFixed(1)} ${y(one.perSecond).toFixed(1)}`).join("");
  const said = `${rate(present)} applied of late, ${rate(most)} at most since this page was opened`;
  return (
    <span className="spark" title={said}>
      <svg viewBox={`0 0 ${W} ${H}`} width={W} height={H} role="img" aria-label={said}>
        <path d={line} />
      </svg>
      <span className={present === 0 ? "faint" : undefined}>{rate(present)}</span>
    </span>
  );
}
