// What was done, by whom and why, and what came of it: of all maps, or of one.

import { useState } from "react";
import { get } from "../api/client";
import { useLive } from "../api/live";
import type { Activity } from "../api/wire/activity";
import type { Page } from "../api/wire/page";
import { usePages, useSlowly } from "../parts/asked";
import { Link } from "../parts/link";
import { Listing } from "../parts/listing";
import { Ago } from "../parts/moment";
import { Empty } from "../parts/notice";
import { mapAddress } from "../route";
import { actorName, eventName } from "../words/events";
import { stateWord } from "../words/names";

export function ActivityPage() {
  return (
    <>
      <div className="page-head">
        <h1>Activity</h1>
        <p className="lead">What was done, by whom and why, and what came of it.</p>
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
    [entry.event, eventName(entry.event), entry.map, actorName(entry.actor), entry.reason, entry.detail].some((said) => said?.toLowerCase().includes(words)),
  );
  return (
    <section aria-label="Activity">
      <div className="list-head">
        <input type="search" className="search" aria-label="Filter what is shown" placeholder="Filter what is shown" value={text} onChange={(event) => setText(event.target.value)} />
      </div>
      <Listing pages={pages} what="the activity" shown={shown} empty={<Empty title={words === "" ? "Nothing has happened yet" : "Nothing that is shown fits"} icon="info" />}>
        {(entries) => (
          <ol className="activity">
            {entries.map((entry) => (
              <Entry key={entry.id} entry={entry} namesMap={map === undefined} />
            ))}
          </ol>
        )}
      </Listing>
    </section>
  );
}

/** Why. That a person holds a map stands in the entry before, with their own words; else what holds it is named here. */
function reasonOf({ event, reason }: Activity): string {
  if (event !== "map.paused") return reason;
  return reason === "user" ? "" : `held by ${reason.replace(/\buser\b/, "a person").replaceAll("parent ", "")}`;
}

function Entry({ entry, namesMap }: { entry: Activity; namesMap: boolean }) {
  const reason = reasonOf(entry);
  return (
    <li>
      <span className="activity-when">
        <Ago at={entry.at} />
      </span>
      <div className="activity-what">
        <p>
          <strong title={entry.event}>{eventName(entry.event)}</strong>
          {entry.map !== null && namesMap && (
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
        {reason !== "" && <p>{reason}</p>}
        {entry.detail !== "" && <p className="faint">{entry.detail}</p>}
      </div>
      <span className="activity-who">{actorName(entry.actor)}</span>
    </li>
  );
}
