// The rules: when each acts, what it did, and when it would have acted.

import { useState } from "react";
import { get, problemOf, segment } from "../api/client";
import { refresh, useLive } from "../api/live";
import { once } from "../api/once";
import type { Problem } from "../api/wire/problem";
import type { Rule, RuleTest } from "../api/wire/rule";
import { useAsked } from "../parts/asked";
import { ActButton } from "../parts/act-button";
import { Dialog } from "../parts/dialog";
import { Link } from "../parts/link";
import { Ago } from "../parts/moment";
import { Empty, Notice, ProblemCard, Waiting } from "../parts/notice";
import { say } from "../parts/toast";
import { useMayAct } from "../parts/who";
import { mapAddress } from "../route";
import { absolute, counted, span } from "../words/format";

export function RulesPage() {
  const { rules, problem } = useLive();
  if (rules === null) return problem ? <ProblemCard problem={problem} /> : <Waiting what="the rules" />;
  return (
    <>
      <div className="page-head">
        <h1>Rules</h1>
        <p className="lead">What Tandem does by itself when something happens.</p>
      </div>
      {rules.length === 0 && (
        <Empty title="There are no rules" icon="info">
          <p>A rule pauses a map, stops it or tells somebody when something happens. Rules stand in the config:</p>
          <pre>{EXAMPLE}</pre>
        </Empty>
      )}
      <div className="rooms">
        {rules.map((rule) => (
          <RuleCard key={rule.name} rule={rule} />
        ))}
      </div>
    </>
  );
}

const does = { none: "tells, and does nothing else", pause: "pauses the map", stop: "stops the map, its queue preserved" };

function RuleCard({ rule }: { rule: Rule }) {
  const [problem, setProblem] = useState<Problem | null>(null);
  const [testing, setTesting] = useState(false);
  const mayAct = useMayAct();
  const flip = () => {
    setProblem(null);
    once(`/rules/${segment(rule.name)}/${rule.enabled ? "disable" : "enable"}`)
      .then(refresh)
      .then(
        () => say(`${rule.name}: ${rule.enabled ? "disabled" : "enabled"}`),
        (why: unknown) => setProblem(problemOf(why)),
      );
  };
  return (
    <section className="card" aria-label={rule.name}>
      <div className="card-head">
        <div className="map-title">
          <h2>{rule.name}</h2>
          <span className={rule.enabled ? "pill running" : "pill not_running"}>{rule.enabled ? "Enabled" : "Disabled"}</span>
        </div>
        <div className="buttons">
          <ActButton onClick={() => setTesting(true)} label={`Test ${rule.name}`}>
            When would it have fired?
          </ActButton>
          {mayAct && (
            <ActButton onClick={flip} label={`${rule.enabled ? "Disable" : "Enable"} ${rule.name}`}>
              {rule.enabled ? "Disable" : "Enable"}
            </ActButton>
          )}
        </div>
      </div>
      <dl className="facts">
        <dt>When</dt>
        <dd>{rule.when}</dd>
        <dt>What it does</dt>
        <dd>
          {does[rule.action]}
          {rule.resumes_per_hour !== null && `, and resumes it when all is well, at most ${rule.resumes_per_hour} times an hour`}
        </dd>
        <dt>Watches</dt>
        <dd>{rule.watches === null ? "all maps" : rule.watches.join(", ")}</dd>
        <dt>Tells</dt>
        <dd>
          {rule.notify.length === 0 ? <span className="faint">nobody</span> : rule.notify.join(", ")}
          {rule.told + rule.untold > 0 && (
            <span className="faint">
              {" "}
              ({counted(rule.told, "notice")} sent{rule.untold > 0 ? `, ${rule.untold} could not be` : ""})
            </span>
          )}
        </dd>
        <dt>Quiet time after</dt>
        <dd>{span(rule.cooldown_seconds)}</dd>
      </dl>
      {rule.maps.length > 0 && (
        <ul className="plan">
          {rule.maps.map((on) => (
            <li key={on.map}>
              <Link to={mapAddress(on.map)}>{on.map}</Link>
              <span>{on.holds ? <span className="pill paused">Held by it</span> : ""}</span>
              <span className="faint">
                {on.fired_at && (
                  <>
                    fired <Ago at={on.fired_at} />
                  </>
                )}
                {on.resumes_left === 0 && ": a person resumes now, it did so as often as it may this hour"}
              </span>
            </li>
          ))}
        </ul>
      )}
      {problem && <ProblemCard problem={problem} />}
      {testing && <TestDialog rule={rule} onClose={() => setTesting(false)} />}
    </section>
  );
}

function TestDialog({ rule, onClose }: { rule: Rule; onClose: () => void }) {
  const { data: found, problem } = useAsked<RuleTest>(rule.name, (signal) => get(`/rules/${segment(rule.name)}/test`, {}, signal));
  return (
    <Dialog title={`When ${rule.name} would have fired`} onClose={onClose}>
      {problem && <ProblemCard problem={problem} />}
      {!found && !problem && <Waiting what="what is recorded" />}
      {found && (
        <>
          <p className="faint">
            From {absolute(found.since)} on, out of what is recorded.
          </p>
          {found.items.length === 0 ? (
            <Empty title="Not once" />
          ) : (
            <ul className="plan">
              {found.items.map((firing) => (
                <li key={firing.at + firing.map}>
                  <strong>{firing.map}</strong>
                  <Ago at={firing.at} />
                  <span className="faint">{firing.why}</span>
                </li>
              ))}
            </ul>
          )}
          {found.unknown.length > 0 && (
            <Notice kind="info" title="Not recorded">
              <ul>
                {found.unknown.map((text) => (
                  <li key={text}>{text}</li>
                ))}
              </ul>
            </Notice>
          )}
        </>
      )}
    </Dialog>
  );
}

const EXAMPLE = `[[rules]]
name = "crm-down"
when = { destination_unreachable = "10s" }
then = { action = "pause", resume = "when_healthy" }`;
