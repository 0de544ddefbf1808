//! Resumes maps whose planned pause is over, as a person would: both schemas are looked at first, the destination has
//! to answer, and what is refused is tried again.
//!
//! Maps are resumed one after the other, those that others depend on first, so that one that cannot be resumed keeps
//! only what depends on it. Maps that depend on each other are resumed together, since neither can be alone.

use super::Engine;
use crate::request::{Rejected, Request};
use crate::supervisor::{Command, Stuck};
use crate::view::Snapshot;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tandem_core::lifecycle::{Action, ResumeMode};
use tandem_core::{Dependents, MapName};

/// The wait after the first try that failed; doubled each time.
const WAIT_MIN: Duration = Duration::from_secs(10);
/// The last wait.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// When it is tried again.
#[derive(Clone, Copy)]
struct Again {
    at: Duration,
    wait: Duration,
}

/// Works until the engine is gone.
pub(super) async fn resume_after_windows(mut engine: Engine) {
    let mut again: BTreeMap<MapName, Again> = BTreeMap::new();
    loop {
        let snapshot = engine.snapshots.borrow_and_update().clone();
        let units = due(&snapshot);
        again.retain(|map, _| units.iter().any(|unit| unit.contains(map)));
        for unit in units {
            let Some(first) = unit.first().cloned() else { continue };
            let before = again.get(&first).copied();
            if before.is_some_and(|again| engine.env.now() < again.at) {
                continue;
            }
            match engine.resume_after_window(unit.clone()).await {
                Ok(_) => drop(again.remove(&first)),
                Err(Rejected::ShuttingDown) => return,
                Err(rejected) => {
                    let wait = before.map_or(WAIT_MIN, |again| (again.wait * 2).min(WAIT_MAX));
                    again.insert(first, Again { at: engine.env.now() + wait, wait });
                    let stuck = Stuck { why: rejected.to_string(), fix: fix(&rejected) };
                    if engine.commands.send(Command::WindowStuck { maps: unit, stuck }).await.is_err() {
                        return;
                    }
                }
            }
        }
        let next = again.values().map(|again| again.at).min();
        let sleep = async {
            match next {
                Some(at) => engine.env.sleep(at.saturating_sub(engine.env.now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = engine.snapshots.changed() => if changed.is_err() { return },
            () = sleep => {}
        }
    }
}

/// The maps that are to be resumed now, in the order in which they depend on each other.
fn due(snapshot: &Snapshot) -> Vec<Vec<MapName>> {
    let is_due = |view: &&crate::view::MapView| view.window.is_some_and(|window| window.due);
    let maps: BTreeSet<MapName> =
        snapshot.maps.iter().filter(is_due).map(|view| view.map.name.clone()).collect();
    if maps.is_empty() {
        return Vec::new();
    }
    let declared = snapshot.maps.iter().map(|view| (&view.map.name, view.map.depends_on.as_slice()));
    let graph = Dependents::new(declared);
    let ranks = graph.ranks();
    let mut units: BTreeMap<(Option<u32>, MapName), Vec<MapName>> = BTreeMap::new();
    for map in &maps {
        let (above, below) = (graph.ancestors(map), graph.dependents(map));
        let each_other = above.intersection(&below).filter(|other| maps.contains(*other));
        let unit: BTreeSet<MapName> = each_other.chain([map]).cloned().collect();
        if let Some(first) = unit.first().cloned() {
            units.insert((ranks.get(map).copied(), first), unit.into_iter().collect());
        }
    }
    units.into_values().collect()
}

fn fix(rejected: &Rejected) -> Option<String> {
    match rejected {
        Rejected::Check(findings) => findings.iter().find_map(|finding| finding.fix.clone()),
        Rejected::App(fault) => fault.fix.clone(),
        _ => None,
    }
}

impl Engine {
    /// Resumes maps whose windows are over, if that is still to be done.
    async fn resume_after_window(&self, maps: Vec<MapName>) -> Result<bool, Rejected> {
        let request = Request {
            reason: "the planned pause is over".to_owned(),
            ..Request::new(Action::Resume(ResumeMode::CatchUp), maps, "tandem")
        };
        let prepared = self.prepare_resume(&request).await?;
        self.ask(|reply| Command::ResumeAfterWindow { request, prepared, reply }).await?
    }
}
