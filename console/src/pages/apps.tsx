// The apps: whether each is well, what it refuses on behalf of maps, and taking it down for maintenance as a whole.

import { useState } from "react";
import { ActDialog } from "../acts/act";
import { get } from "../api/client";
import { useLive } from "../api/live";
import type { Verb } from "../api/wire/action";
import type { App } from "../api/wire/app";
import type { TableMap } from "../api/wire/map";
import type { Server } from "../api/wire/server";
import { ActButton } from "../parts/act-button";
import { useAsked, useSlowly } from "../parts/asked";
import { Icon } from "../parts/icons";
import { Link } from "../parts/link";
import { Since, useNow } from "../parts/moment";
import { Empty, Fix, Notice, ProblemCard, Waiting } from "../parts/notice";
import { StatePill } from "../parts/pill";
import { useMayAct } from "../parts/who";
import { mapAddress } from "../route";
import { faultName } from "../words/faults";
import { counted } from "../words/format";

export function AppsPage() {
  const { apps, maps, problem } = useLive();
  if (apps === null || maps === null) return problem ? <ProblemCard problem={problem} /> : <Waiting what="the apps" />;
  return (
    <>
      <div className="page-head">
        <h1>Apps</h1>
        <p className="lead">Before an app goes down for maintenance, pause it: what changes meanwhile is queued, and written when you resume it.</p>
      </div>
      {apps.length === 0 && (
        <Empty title="There are no apps" icon="info">
          <p>An app is a database that maps keep in step with another one. Apps stand in the config, as maps do.</p>
        </Empty>
      )}
      <div className="rooms">
        <OwnServer />
        {apps.map((app) => (
          <AppCard key={app.name} app={app} maps={maps.filter((map) => map.left.app === app.name || map.right.app === app.name)} />
        ))}
      </div>
    </>
  );
}

/** Read anew so often: nothing of it moves by itself but the end of the certificate. */
const SERVER_MS = 600_000;

/** What is to be done about the server itself. Where there is nothing, it takes no room above the apps. */
function OwnServer() {
  const tick = Math.floor(useNow() / SERVER_MS);
  const { activityTick } = useLive();
  const slowly = useSlowly(String(activityTick));
  const asked = useAsked<Server>(`${tick} ${slowly}`, (signal) => get("/server", {}, signal));
  const found = asked.data?.findings ?? [];
  return found.map((finding) => (
    <Notice key={finding.code} kind="warn" title="Tandem’s own server">
      <p>{finding.message}</p>
      {finding.fix && <Fix text={finding.fix} />}
    </Notice>
  ));
}

function AppCard({ app, maps }: { app: App; maps: TableMap[] }) {
  const [verb, setVerb] = useState<Verb | null>(null);
  const mayAct = useMayAct();
  const can = (verb: Verb) => maps.some((map) => map.allowed.includes(verb));
  const connected = (map: TableMap) =>
    map.conditions.every((condition) => {
      const side = condition.type === "DestinationConnected" ? "destination" : condition.type === "SourceConnected" ? "source" : null;
      return side === null || condition.status || !map.flows.some((flow) => flow[side] === app.name);
    });
  const isSource = maps.some((map) => map.flows.some((flow) => flow.source === app.name));
  const flowing = maps.some((map) => (map.state === "running" && !map.pausing) || map.state === "resuming");
  const well = app.fault === null && maps.every(connected);
  return (
    <section className="card app" aria-label={app.name}>
      <div className="card-head">
        <div className="map-title">
          <h2>{app.name}</h2>
          <span className={well ? "pill running" : "pill bad"}>
            <Icon name={well ? "check" : "warning"} />
            {well ? "Well" : "In trouble"}
          </span>
          <span className="faint">{app.capturing ? "its log is being read" : isSource ? "its log is not read" : "only written to"}</span>
        </div>
        {mayAct && (
          <div className="buttons">
            {can("pause") && (
              <ActButton icon="pause" kind={flowing ? "main" : "plain"} onClick={() => setVerb("pause")} label={`Pause ${app.name}`}>
                Pause the app
              </ActButton>
            )}
            {can("resume") && (
              <ActButton icon="play" kind={flowing ? "plain" : "main"} onClick={() => setVerb("resume")} label={`Resume ${app.name}`}>
                Resume the app
              </ActButton>
            )}
          </div>
        )}
      </div>
      {app.fault && (
        <Notice kind="bad" title={faultName(app.fault.class)}>
          <p>{app.fault.message}</p>
          {app.fault.fix && <Fix text={app.fault.fix} />}
        </Notice>
      )}
      <h3>{counted(maps.length, "map")}</h3>
      <ul className="plan">
        {maps.map((map) => (
          <li key={map.name}>
            <Link to={mapAddress(map.name)}>{map.name}</Link>
            <StatePill map={map} />
            <span className="faint">{map.queue.records > 0 ? `${counted(map.queue.records, "record")} queued` : ""}</span>
          </li>
        ))}
      </ul>
      {app.guards.length > 0 && (
        <>
          <h3>What it refuses now</h3>
          <ul className="plan">
            {app.guards.map((guard) => (
              <li key={guard.table + guard.map + guard.refuses}>
                <Icon name="lock" />
                <span>
                  {guard.refuses} on <strong>{guard.table}</strong> for <Link to={mapAddress(guard.map)}>{guard.map}</Link>
                </span>
                <span className="faint">
                  for <Since at={guard.since} />
                </span>
              </li>
            ))}
          </ul>
        </>
      )}
      {verb && <ActDialog verb={verb} target={{ maps: [], app: app.name }} onClose={() => setVerb(null)} />}
    </section>
  );
}
