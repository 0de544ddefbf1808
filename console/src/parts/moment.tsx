import { useEffect, useState } from "react";
import { absolute, ago, secondsSince, span } from "../words/format";

/** The time, once a second, for what says how long ago something was. */
export function useNow(): number {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = window.setInterval(() => setNow(Date.now()), 1_000);
    return () => window.clearInterval(timer);
  }, []);
  return now;
}

/** How long ago, with the moment itself in the title. */
export function Ago({ at }: { at: string }) {
  const now = useNow();
  return (
    <time dateTime={at} title={absolute(at)}>
      {ago(at, now)}
    </time>
  );
}

/** For how long, with the beginning in the title. */
export function Since({ at }: { at: string }) {
  const now = useNow();
  return (
    <time dateTime={at} title={absolute(at)}>
      {span(secondsSince(at, now))}
    </time>
  );
}
