// What is around every page: where one can go, whether what is seen is live, who is signed in.

import type { ReactNode } from "react";
import { useLive } from "../api/live";
import { signOut } from "../api/session";
import type { Session } from "../api/wire/session";
import { Icon } from "../parts/icons";
import { Link } from "../parts/link";
import { Mark } from "../parts/mark";
import { useNow } from "../parts/moment";
import { Notice } from "../parts/notice";
import { useRoute } from "../route";
import { span } from "../words/format";

/** From so many seconds of silence on, what is seen is called old. */
const STALE_SECONDS = 10;

export function Shell(props: { session: Session; onSignedOut: () => void; children: ReactNode }) {
  const { path } = useRoute();
  const { maps } = useLive();
  const page = path[0] ?? "maps";
  const hasTwoWay = (maps ?? []).some((map) => map.direction === "both");
  const seesAll = props.session.maps === null;
  const places: [string, string, boolean][] = [
    ["maps", "Maps", true],
    ["apps", "Apps", seesAll],
    ["rules", "Rules", seesAll],
    ["conflicts", "Conflicts", hasTwoWay],
    ["activity", "Activity", true],
  ];
  const leave = () => void signOut().finally(props.onSignedOut);
  return (
    <>
      <a className="skip-link" href="#content">
        To the content
      </a>
      <header className="top">
        <Link to="/" className="brand" label="Tandem: to the maps">
          <Mark /> <span>Tandem</span>
        </Link>
        <nav aria-label="Pages">
          {places
            .filter(([, , shown]) => shown)
            .map(([place, name]) => (
              <Link key={place} to={place === "maps" ? "/" : `/${place}`} current={page === place}>
                {name}
              </Link>
            ))}
        </nav>
        <div className="top-end">
          <LiveSign />
          <details className="who">
            <summary>{props.session.name}</summary>
            <div className="who-menu">
              <p>
                <strong>{props.session.name}</strong>
                <br />
                role {props.session.role}
                {props.session.maps && (
                  <>
                    <br />
                    for {props.session.maps.join(", ")}
                  </>
                )}
              </p>
              <p className="faint">Tandem {props.session.server_version}</p>
              <button type="button" className="button" onClick={leave}>
                Sign out
              </button>
            </div>
          </details>
        </div>
      </header>
      <Banner />
      <main id="content" tabIndex={-1}>
        {props.session.role === "viewer" && (
          <Notice kind="info" icon="lock">
            <p>Your role is viewer: you see how everything stands, no values of records, and change nothing.</p>
          </Notice>
        )}
        {props.children}
      </main>
    </>
  );
}

/** Said to everybody who looks, while the server does not answer. */
function Banner() {
  const { heardAt, problem } = useLive();
  const now = useNow();
  if (problem === null) return null;
  return (
    <div className="banner">
      <Icon name="warning" />
      <p role="alert">
        <strong>{problem.title}.</strong> What you see may be old, and nothing can be changed from here until it answers. This page tries again
        by itself.
      </p>
      {heardAt > 0 && <span>as of {span((now - heardAt) / 1000)} ago</span>}
    </div>
  );
}

/** Whether what is seen is what is. */
function LiveSign() {
  const { heardAt, way, problem } = useLive();
  const now = useNow();
  const silent = heardAt === 0 ? 0 : (now - heardAt) / 1000;
  if (problem !== null || (way !== "events" && silent > STALE_SECONDS)) {
    return (
      <span className="live stale" role="status">
        <span className="dot" aria-hidden="true" />
        reconnecting
      </span>
    );
  }
  return (
    <span className="live" title={way === "events" ? "Changes show as they happen" : "Read anew every 2 seconds"}>
      <span className="dot" aria-hidden="true" />
      live
    </span>
  );
}
