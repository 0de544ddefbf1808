//! Finds out what changed: compares what a client would be shown with what was told last.

use super::{About, Event};
use crate::problem::Refusal;
use crate::wire::{Activity, App, Map, Rule};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tandem_core::MapName;
use tandem_engine::{ActivityEntry, ActivityFrom, ActivityQuery, Engine, Snapshot};

/// The most entries of the activity log that are told at once; of more, clients read the log.
const ENTRIES_MAX: usize = 500;
/// How often the activity log is read while the snapshot stays as it is: what is about no map is in no snapshot.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Changes {
    engine: Engine,
    /// What was told last of each thing, by its kind and name.
    told: BTreeMap<(Kind, String), String>,
    entry: u64,
    read_at: Instant,
    /// A snapshot that was looked at needs no second look.
    seen: Option<std::sync::Arc<Snapshot>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Map,
    Rule,
    App,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Map => "map",
            Kind::Rule => "rule",
            Kind::App => "app",
        }
    }

    fn about(self, name: &str) -> About {
        match self {
            Kind::Map => About::Map(MapName::from(name)),
            Kind::Rule | Kind::App => About::All,
        }
    }
}

/// A map, a rule or an app that there is not any more.
#[derive(Serialize)]
struct Gone<'a> {
    kind: &'a str,
    name: &'a str,
}

impl Changes {
    /// Those from now on.
    pub(super) async fn since_now(engine: Engine) -> Result<Self, Refusal> {
        let newest = newest(&engine).await?;
        let mut changes =
            Self { engine, told: BTreeMap::new(), entry: newest, read_at: Instant::now(), seen: None };
        changes.of_snapshot();
        Ok(changes)
    }

    /// What has changed since the last look.
    pub(super) async fn look(&mut self) -> Vec<Event> {
        let mut events = self.of_snapshot();
        if !events.is_empty() || self.read_at.elapsed() >= LOG_EVERY {
            // A disk that fails is told of by the engine; here the log is read again at the next look.
            events.extend(self.of_log().await.unwrap_or_default());
            self.read_at = Instant::now();
        }
        events
    }

    fn of_snapshot(&mut self) -> Vec<Event> {
        let snapshot = self.engine.snapshot();
        if self.seen.as_ref().is_some_and(|seen| std::sync::Arc::ptr_eq(seen, &snapshot)) {
            return Vec::new();
        }
        let mut events = Vec::new();
        let mut there = BTreeSet::new();
        for view in &snapshot.maps {
            self.one(Kind::Map, view.map.name.as_str(), &Map::from(view), &mut there, &mut events);
        }
        for view in &snapshot.rules {
            self.one(Kind::Rule, &view.rule.name, &Rule::from(view), &mut there, &mut events);
        }
        for view in &snapshot.apps {
            self.one(Kind::App, view.app.as_str(), &App::from(view), &mut there, &mut events);
        }
        self.told.retain(|known, _| {
            let is_there = there.contains(known);
            if !is_there {
                let (kind, name) = (known.0, &known.1);
                events.extend(event("gone", kind.about(name), &Gone { kind: kind.name(), name }));
            }
            is_there
        });
        self.seen = Some(snapshot);
        events
    }

    fn one(
        &mut self,
        kind: Kind,
        name: &str,
        shown: &impl Serialize,
        there: &mut BTreeSet<(Kind, String)>,
        events: &mut Vec<Event>,
    ) {
        let known = (kind, name.to_owned());
        if let Some(event) = event(kind.name(), kind.about(name), shown)
            && self.told.get(&known) != Some(&event.data)
        {
            self.told.insert(known.clone(), event.data.clone());
            events.push(event);
        }
        there.insert(known);
    }

    async fn of_log(&mut self) -> Result<Vec<Event>, Refusal> {
        let query = ActivityQuery { map: None, from: ActivityFrom::Since(self.entry), limit: ENTRIES_MAX };
        let page = self.engine.activity(query).await?;
        if page.next.is_some() {
            self.entry = newest(&self.engine).await?;
            return Ok(vec![Event::reset()]);
        }
        self.entry = page.items.last().map_or(self.entry, |entry| entry.id);
        let told = |entry: ActivityEntry| {
            let about = entry.map.clone().map_or(About::All, About::Map);
            event("activity", about, &Activity::from(entry))
        };
        Ok(page.items.into_iter().filter_map(told).collect())
    }
}

/// The number of the newest entry of the activity log.
async fn newest(engine: &Engine) -> Result<u64, Refusal> {
    let query = ActivityQuery { map: None, from: ActivityFrom::Newest, limit: 1 };
    Ok(engine.activity(query).await?.items.first().map_or(0, |entry| entry.id))
}

/// Shapes of ours have text for names, so they can always be written.
fn event(name: &'static str, about: About, shown: &impl Serialize) -> Option<Event> {
    let data = serde_json::to_string(shown)
        .inspect_err(|why| tracing::error!(error = %why, event = name, "an event could not be written"));
    data.ok().map(|data| Event { name, data, about })
}
