// One map: how it stands, what may be done with it, and its rooms.

import { useEffect, useRef, useState } from "react";
import { ActDialog } from "../../acts/act";
import { offered } from "../../acts/target";
import { history, useLive } from "../../api/live";
import type { Verb } from "../../api/wire/action";
import type { TableMap } from "../../api/wire/map";
import { ActButton } from "../../parts/act-button";
import { Icon, verbIcons } from "../../parts/icons";
import { Link } from "../../parts/link";
import { Ago, Since, useNow } from "../../parts/moment";
import { Empty, Notice, ProblemCard, Waiting } from "../../parts/notice";
import { StatePill } from "../../parts/pill";
import { SPARK_MS, Spark } from "../../parts/spark";
import { foreign, useMayAct, useSession } from "../../parts/who";
import { mapAddress } from "../../route";
import { absolute, count } from "../../words/format";
import { holder, verbNames } from "../../words/names";
import { ActivityList } from "../activity";
import { ConflictList } from "../conflicts";
import { ErrorsTab } from "./errors";
import { MappingTab } from "./mapping";
import { OverviewTab } from "./overview";
import { QueueTab } from "./queue";
import { SyncTab } from "./sync";
import { VerifyTab } from "./verify";

export function MapPage({ name, tab }: { name: string; tab: string }) {
  const { maps, problem } = useLive();
  if (maps === null) return problem ? <ProblemCard problem={problem} /> : <Waiting what="the map" />;
  const map = maps.find((map) => map.name === name);
  if (!map) {
    return (
      <Empty title={`There is no map ${name}`} icon="info">
        <p>It may have been renamed in the config, or your token is not for it.</p>
        <Link to="/">To the maps</Link>
      </Empty>
    );
  }
  return (
    <>
      <Head map={map} />
      <Tabs map={map} tab={tab} />
      <Room map={map} tab={tab} />
    </>
  );
}

function Head({ map }: { map: TableMap }) {
  const [verb, setVerb] = useState<Verb | null>(null);
  const now = useNow();
  const session = useSession();
  const mayAct = useMayAct();
  const others = foreign(session, map);
  const verbs = offered(map);
  return (
    <>
      <Link to="/" className="back">
        <Icon name="back" /> Maps
      </Link>
      <div className="page-head map-head">
        <div className="map-title">
          <h1>{map.name}</h1>
          <StatePill map={map} />
          <span className="faint">
            for <Since at={map.since} />
          </span>
          {history.rates(map.name, now - SPARK_MS).length > 0 && map.state !== "not_running" && <Spark map={map.name} now={now} none={false} />}
        </div>
        {mayAct && others.length === 0 && (
          <div className="buttons">
            {verbs.map((verb, place) => (
              <ActButton key={verb} kind={place === 0 && !(verb === "pause" && map.state === "paused") ? "main" : "plain"} icon={verbIcons[verb]} onClick={() => setVerb(verb)}>
                {verb === "run" && map.state === "initializing" ? "Initial sync …" : verbNames[verb]}
              </ActButton>
            ))}
          </div>
        )}
      </div>
      {map.holds.length > 0 && (
        <ul className="holds">
          {map.holds.map((hold) => (
            <li key={hold.kind + (hold.name ?? "")}>
              <Icon name="pause" />
              <span>
                {holder(hold)} <Ago at={hold.since} />
                {hold.kind === "parent" ? ". It depends on it, and resumes with it" : hold.reason !== "" && <>: “{hold.reason}”</>}
              </span>
            </li>
          ))}
          {map.window && (
            <li>
              <Icon name="info" />
              <span title={absolute(map.window.until)}>
                {map.window.over ? "Was planned to end " : "Planned to end "}
                <Ago at={map.window.until} />
                {map.window.then_resume ? ", and then to resume by itself" : ""}
              </span>
            </li>
          )}
        </ul>
      )}
      {mayAct && others.length > 0 && (
        <Notice kind="info" icon="lock">
          <p>You see how this map stands and change nothing: {others.join(", ")} would go along, and your token is not for that.</p>
        </Notice>
      )}
      {map.state === "initializing" && map.allowed.includes("rerun") && (
        <Notice kind="warn" title="The initial sync ended with errors">
          <p>
            Look at them under <Link to={mapAddress(map.name, "errors")}>Catch-up errors</Link>, mend what they name, then run it again or
            go on without.
          </p>
        </Notice>
      )}
      {verb && <ActDialog verb={verb} target={{ maps: [map.name] }} onClose={() => setVerb(null)} />}
    </>
  );
}

function Tabs({ map, tab }: { map: TableMap; tab: string }) {
  const errors = map.errors.open + map.errors.waiting + map.errors.retrying;
  const tabs: [string, string, number | null][] = [
    ["overview", "Overview", null],
    ["queue", "Queued records", map.queue.records],
    ["errors", "Catch-up errors", errors],
    ["sync", "Initial sync", null],
    ["mapping", "Mapping", null],
    ["verify", "Verify", null],
    ...(map.direction === "both" ? [["conflicts", "Conflicts", map.conflicts] as [string, string, number]] : []),
    ["activity", "Activity", null],
  ];
  const bar = useRef<HTMLElement>(null);
  // On a phone not all of them fit: the one that is open is brought into sight.
  useEffect(() => {
    void bar.current?.querySelector("[aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
  }, [tab]);
  return (
    <nav className="tabs" aria-label="About this map" ref={bar}>
      {tabs.map(([place, name, number]) => (
        <Link key={place} to={mapAddress(map.name, place)} current={tab === place}>
          {name}
          {number !== null && number > 0 && <span className={place === "errors" ? "number bad" : "number"}>{count(number)}</span>}
        </Link>
      ))}
    </nav>
  );
}

function Room({ map, tab }: { map: TableMap; tab: string }) {
  switch (tab) {
    case "overview":
      return <OverviewTab map={map} />;
    case "queue":
      return <QueueTab map={map} />;
    case "errors":
      return <ErrorsTab map={map} />;
    case "sync":
      return <SyncTab map={map} />;
    case "mapping":
      return <MappingTab map={map} />;
    case "verify":
      return <VerifyTab map={map} />;
    case "conflicts":
      return <ConflictList map={map.name} />;
    case "activity":
      return <ActivityList map={map.name} />;
    default:
      return <Empty title="There is no such page" icon="info" />;
  }
}
