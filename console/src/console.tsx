// The whole: who is signed in, and which page the address names.

import { useEffect, useState } from "react";
import { problemOf, whenSignedOut } from "./api/client";
import { start, stop } from "./api/live";
import { enter, whoAmI } from "./api/session";
import type { Problem } from "./api/wire/problem";
import type { Session } from "./api/wire/session";
import { ActivityPage } from "./pages/activity";
import { AppsPage } from "./pages/apps";
import { ConflictsPage } from "./pages/conflicts";
import { Login } from "./pages/login";
import { MapPage } from "./pages/map/map";
import { MapsPage } from "./pages/maps";
import { RulesPage } from "./pages/rules";
import { Shell } from "./pages/shell";
import { Empty, ProblemCard } from "./parts/notice";
import { Link } from "./parts/link";
import { Toasts } from "./parts/toast";
import { SessionContext, useSession } from "./parts/who";
import { useRoute } from "./route";

type Stand = { is: "asking" } | { is: "out"; ended: boolean } | { is: "in"; session: Session } | { is: "lost"; problem: Problem };

const RETRY_MS = 2_000;

export function Console() {
  const [stand, setStand] = useState<Stand>({ is: "asking" });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    whenSignedOut(() => {
      stop();
      // Several requests may be told so at once.
      setStand((before) => (before.is === "out" ? before : { is: "out", ended: before.is === "in" }));
    });
    let timer: number | undefined;
    enter(whoAmI)
      .then((session) => setStand({ is: "in", session }))
      .catch((why: unknown) => {
        const problem = problemOf(why);
        if (problem.status !== 0) setStand({ is: "out", ended: false });
        else {
          setStand({ is: "lost", problem });
          timer = window.setTimeout(() => setTurn((turn) => turn + 1), RETRY_MS);
        }
      });
    return () => window.clearTimeout(timer);
  }, [turn]);
  const session = stand.is === "in" ? stand.session : null;
  useEffect(() => {
    if (!session) return;
    start(session.maps === null);
    return stop;
  }, [session]);
  if (stand.is === "asking") return null;
  if (stand.is === "lost") {
    return (
      <main className="login">
        <ProblemCard problem={stand.problem} />
      </main>
    );
  }
  if (stand.is === "out") return <Login ended={stand.ended} onSignedIn={(session) => setStand({ is: "in", session })} />;
  return (
    <SessionContext value={stand.session}>
      <Shell
        session={stand.session}
        onSignedOut={() => {
          stop();
          setStand({ is: "out", ended: false });
        }}
      >
        <CurrentPage />
      </Shell>
      <Toasts />
    </SessionContext>
  );
}

function CurrentPage() {
  const { path } = useRoute();
  const seesAll = useSession()?.maps === null;
  const [page, name, tab] = path;
  useEffect(() => {
    const titles: Record<string, string> = { apps: "Apps", rules: "Rules", activity: "Activity", conflicts: "Conflicts" };
    document.title = `${page === "maps" && name ? name : (titles[page ?? ""] ?? "Maps")} · Tandem`;
  }, [page, name]);
  if (page === undefined || (page === "maps" && name === undefined)) return <MapsPage />;
  if (page === "maps" && name !== undefined) return <MapPage key={name} name={name} tab={tab ?? "overview"} />;
  if (page === "apps" || page === "rules") {
    if (seesAll) return page === "apps" ? <AppsPage /> : <RulesPage />;
    return (
      <Empty title={`Your token does not show the ${page}`} icon="lock">
        <p>They are about all maps, and your token is for some of them.</p>
        <Link to="/">To the maps</Link>
      </Empty>
    );
  }
  if (page === "activity") return <ActivityPage />;
  if (page === "conflicts") return <ConflictsPage />;
  return (
    <Empty title="There is no such page" icon="info">
      <Link to="/">To the maps</Link>
    </Empty>
  );
}
