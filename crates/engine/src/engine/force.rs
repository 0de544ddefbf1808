//! A forced stop: for an app that is gone for good.

use super::Engine;
use crate::env::within;
use crate::request::{LeftBehind, Rejected, Request};
use crate::supervisor::Command;
use crate::view::{Condition, ConditionKind, Snapshot};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tandem_core::{AppName, Fault, FaultClass};

/// How long apps that answer are given to be rid of us; longer than a lane takes to end and its watermarks to go.
const LEAVE_WITHIN: Duration = Duration::from_secs(12);
/// How long an app may take to say how it is freed by hand.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

impl Engine {
    /// Waits for the apps of maps that were stopped, for some seconds, and gives those up that do not answer.
    pub(super) async fn give_up(&self, request: Request) -> Result<Vec<LeftBehind>, Rejected> {
        let leaving = |condition: &Condition| condition.kind == ConditionKind::Leaving && condition.status;
        let rid = |snapshot: &std::sync::Arc<Snapshot>| {
            let named = snapshot.maps.iter().filter(|view| request.maps.contains(&view.map.name));
            named.into_iter().all(|view| view.flows.is_empty() && !view.conditions.iter().any(leaving))
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
