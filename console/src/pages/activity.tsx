// What was done, by whom and why, and what came of it: of all maps, or of one.

import { useState } from "react";
import { get } from "../api/client";
import { useLive } from "../api/live";
import type { Activity, Page } from "../api/types";
import { usePages, useSlowly } from "../parts/asked";
import { Button } from "../parts/button";
import { Link } from "../parts/link";
import { Ago } from "../parts/moment";
import { Empty, ProblemCard, Waiting } from "../parts/notice";
import { mapAddress } from "../route";
import { count } from "../words/format";
import { eventName, stateWord } from "../words/names";

export function ActivityPage() {
  return (
    <>
      <div className="page-head">
        <h1>Activity</h1>
      </div>
      <ActivityList />
    </>
  );
}

export function ActivityList({ map }: { map?: string }) {
  const { activityTick } = useLive();
  const tick = useSlowly(String(activityTick));
  const [text, setText] = useState("");
  const pages = usePages<Activity>(map ?? "", tick, (after, limit, signal) => get<Page<Activity>>("/activity", { map, after, limit }, signal));
  const words = text.toLowerCase();
  const shown = (pages.items ?? []).filter((entry) =>
    [entry.event, eventName(entry.event), entry.map, entry.actor, entry.reason, entry.detail].some((said) => said?.toLowerCase().includes(words)),
  );
  return (
    <section aria-label="Activity">
      <div className="list-head">
        <input type="search" className="search" aria-label="Filter what is shown" placeholder="Filter what is shown" value={text} onChange={(event) => setText(event.target.value)} />
      </div>
      {pages.problem && <ProblemCard problem={pages.problem} />}
      {pages.items === null && !pages.problem && <Waiting what="the activity" />}
      {pages.items !== null && shown.length === 0 && (
        <Empty title={words === "" ? "Nothing has happened yet" : "Nothing that is shown fits"} icon="info" />
      )}
      {shown.length > 0 && (
        <ol className="activity">
          {shown.map((entry) => (
            <li key={entry.id}>
              <span className="activity-when">
                <Ago at={entry.at} />
              </span>
              <div className="activity-what">
                <p>
                  <strong title={entry.event}>{eventName(entry.event)}</strong>
                  {entry.map !== null && map === undefined && (
                    <>
                      {" "}
                      <Link to={mapAddress(entry.map)}>{entry.map}</Link>
                    </>
                  )}{" "}
                  {entry.from !== null && entry.to !== null && entry.from !== entry.to && (
                    <span className="faint">
                      {stateWord(entry.from)} → {stateWord(entry.to)}
                    </span>
                  )}
                </p>
                {entry.reason !== "" && <p>{entry.event === "map.paused" ? `held by: ${entry.reason}` : entry.reason}</p>}
                {entry.detail !== "" && <p className="faint">{entry.detail}</p>}
              </div>
              <span className="activity-who">{entry.actor}</span>
            </li>
          ))}
        </ol>
      )}
      {pages.items !== null && pages.items.length > 0 && (
        <div className="more">
          <span className="faint">Showing {count(shown.length)}</span>
          {pages.more && (
            <Button onClick={pages.load} disabled={pages.busy}>
              {pages.busy ? "Loading …" : "Load more"}
            </Button>
          )}
        </div>
      )}
    </section>
  );
}
