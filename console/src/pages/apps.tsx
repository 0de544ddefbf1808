// The apps: whether each is well, what it refuses on behalf of maps, and taking it down for maintenance as a whole.

import { useState } from "react";
import { ActDialog } from "../acts/act";
import { GapDialog, type Torn, tornBy } from "../acts/gap";
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
import { conditionName } from "../words/names";

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
  const torn = tornBy(app.name, maps);
  const can = (verb: Verb) => maps.some((map) => map.allowed.includes(verb));
  const connected = (map: TableMap) =>
    map.conditions.every((condition) => {
      const side = condition.type === "DestinationConnected" ? "destination" : condition.type === "SourceConnected" ? "source" : null;
      return side === null || condition.status || !map.flows.some((flow) => flow[side] === app.name);
    });
  const isSource = maps.some((map) => map.flows.some((flow) => flow.source === app.name));
  const flowing = maps.some((map) => (map.state === "running" && !map.pausing) || map.state === "resuming");
  const well = app.fault === null && torn.length === 0 && maps.every(connected);
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
      {torn.length > 0 && <Gap app={app.name} torn={torn} />}
      {app.fault && !(app.fault.class === "gap" && torn.length > 0) && (
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

/** A gap in an app's log, and going on behind it, for the app as a whole. */
function Gap({ app, torn }: { app: string; torn: Torn[] }) {
  const [asked, setAsked] = useState(false);
  const mayAct = useMayAct();
  const each = (said: (string | null)[]) => [...new Set(said)].filter((text) => text !== null);
  return (
    <>
      <Notice kind="bad" title={conditionName("GapDetected", true)}>
        {each(torn.map(({ condition }) => condition.reason)).map((reason) => (
          <p key={reason}>{reason}</p>
        ))}
        {each(torn.map(({ condition }) => condition.fix)).map((fix) => (
          <Fix key={fix} text={fix} />
        ))}
        {mayAct && (
          <p className="notice-act">
            <ActButton onClick={() => setAsked(true)} label={`Go on behind the gap in ${app} …`}>
              Go on behind the gap …
            </ActButton>
          </p>
        )}
      </Notice>
      {asked && <GapDialog app={app} torn={torn} onClose={() => setAsked(false)} />}
    </>
  );
}
