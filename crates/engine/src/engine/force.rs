//! A forced stop: for an app that is gone for good.

use super::Engine;
use crate::env::within;
use crate::request::{Accepted, LeftBehind, Rejected, Request};
use crate::supervisor::{Command, Prepared};
use crate::view::{MapView, Snapshot};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tandem_core::lifecycle::Phase;
use tandem_core::{AppName, Fault, FaultClass, MapName};

/// How long apps that answer are given to be rid of us; longer than a lane takes to end and its watermarks to go.
const LEAVE_WITHIN: Duration = Duration::from_secs(12);
/// How long an app may take to say how it is freed by hand.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

impl Engine {
    /// Stops maps, and gives up the apps that are not rid of them within some seconds. A map that was stopped before,
    /// and whose apps still have something of it, is only given up.
    pub(super) async fn stop_by_force(&self, request: Request) -> Result<Accepted, Rejected> {
        let leaving = |view: &&MapView| view.state.phase == Phase::NotRunning && view.is_leaving();
        let snapshot = self.snapshot();
        let named = snapshot.maps.iter().filter(|view| request.maps.contains(&view.map.name));
        let stopped: Vec<MapName> = named.filter(leaving).map(|view| view.map.name.clone()).collect();
        let mut stop = request.clone();
        stop.maps.retain(|map| !stopped.contains(map));
        let mut accepted = match stop.maps.is_empty() && !stopped.is_empty() {
            true => Accepted { id: 0, maps: Vec::new(), warnings: Vec::new(), left_behind: Vec::new() },
            false => {
                let prepared = Prepared::default();
                self.ask(|reply| Command::Act { request: stop, prepared, reply }).await??
            }
        };
        accepted.maps.extend(stopped.into_iter().map(|map| (map, Phase::NotRunning)));
        let (noted, left_behind) = self.give_up(request).await?;
        accepted.left_behind = left_behind;
        if accepted.id == 0 {
            accepted.id = noted;
        }
        Ok(accepted)
    }

    /// What frees an app of everything of ours, run there by hand. Asks the app, and changes nothing.
    pub async fn release_sql(&self, app: &AppName) -> Result<String, Rejected> {
        let Some(connector) = self.apps.get(app) else {
            return Err(Rejected::Senseless(format!("there is no app {app}")));
        };
        match within(&*self.env, ANSWER_WITHIN, connector.release_sql()).await {
            Some(told) => told.map_err(Rejected::App),
            None => {
                let seconds = ANSWER_WITHIN.as_secs();
                Err(Rejected::TimedOut(format!("app {app} did not answer within {seconds} s")))
            }
        }
    }

    /// Waits for the apps of maps that were stopped, for some seconds, and gives those up that do not answer.
    async fn give_up(&self, request: Request) -> Result<(u64, Vec<LeftBehind>), Rejected> {
        let rid = |snapshot: &std::sync::Arc<Snapshot>| {
            let named = snapshot.maps.iter().filter(|view| request.maps.contains(&view.map.name));
            named.into_iter().all(|view| view.flows.is_empty() && !view.is_leaving())
        };
        let mut snapshots = self.snapshots.clone();
        if let Some(Err(_)) = within(&*self.env, LEAVE_WITHIN, snapshots.wait_for(rid)).await {
            return Err(Rejected::ShuttingDown);
        }
        let snapshot = self.snapshot();
        let named = snapshot.maps.iter().filter(|view| request.maps.contains(&view.map.name));
        let apps: BTreeSet<&AppName> =
            named.flat_map(|view| [&view.map.left.app, &view.map.right.app]).collect();
        let mut sql: BTreeMap<AppName, Result<String, Fault>> = BTreeMap::new();
        for app in apps {
            let Some(connector) = self.apps.get(app) else { continue };
            let told = within(&*self.env, ANSWER_WITHIN, connector.release_sql()).await;
            let silent = || Fault::new(FaultClass::Unavailable, "ask what frees it", "it did not answer");
            sql.insert(app.clone(), told.unwrap_or_else(|| Err(silent())));
        }
        self.ask(|reply| Command::GiveUp { request, sql, reply }).await?
    }
}
