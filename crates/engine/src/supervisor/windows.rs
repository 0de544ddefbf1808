//! Planned pauses: told of when they are over, and resumed then if that was wanted.
//!
//! That a window is over is noted in one transaction with the entry that tells of it, so it is told once whatever
//! happens to the engine. Who resumes looks at the apps first, as for a person, and that must not hold up the
//! states of others: it is a task of its own (`engine/windows.rs`), which asks again and again with growing waits.
//! Here is decided whether it may, at the moment at which it would take effect. Why it could not is shown as a
//! condition, and people are told of it once for each window.

use super::act::Prepared;
use super::limiting::span;
use super::snapshot::Fact;
use super::{Changes, Supervisor};
use crate::request::{Accepted, Blocker, Rejected, Request};
use crate::store::{MapRecord, Record, StoreError};
use crate::view::{ConditionKind, WindowView};
use tandem_core::MapName;
use tandem_core::lifecycle::Due;
use tandem_core::limits::Level;
use tandem_core::rules::{News, Notice};

/// Why a map was not resumed when its window was over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stuck {
    pub(crate) why: String,
    pub(crate) fix: Option<String>,
}

impl Supervisor {
    /// Tells of windows that are over, each once.
    pub(super) fn end_windows(&mut self) -> Result<(), StoreError> {
        let now = self.now();
        let over =
            |record: &&MapRecord| record.window.is_some_and(|window| window.is_over(now) && !window.told);
        let ended: Vec<MapRecord> = self.maps.values().filter(over).cloned().collect();
        if ended.is_empty() {
            return Ok(());
        }
        let (mut changes, mut told) = (Changes::default(), Vec::new());
        for mut record in ended {
            let name = record.map.name.clone();
            let what = match self.window_due(&record) {
                Due::Resume => "is being resumed".to_owned(),
                Due::Waits(why) => format!("was to be resumed, but it {why}"),
                Due::Reminder | Due::Nothing => format!("is still paused (tandem map resume {name})"),
            };
            if let Some(window) = &mut record.window {
                window.told = true;
                let entry = self.note("map.window_over", &name, "tandem", "the pause was planned until now");
                changes.along(Record::Activity(crate::view::ActivityEntry { detail: what.clone(), ..entry }));
                tracing::info!(map = %name, "the planned pause is over: the map {what}");
            }
            changes.alter(record);
            told.push((name, what));
        }
        self.carry_out(changes)?;
        self.tell_all(News::WindowOver(told));
        Ok(())
    }

    fn window_due(&self, record: &MapRecord) -> Due {
        let Some(window) = record.window else { return Due::Nothing };
        let judged = self.watched.get(&record.map.name).and_then(|watched| watched.judged);
        let full = judged.is_some_and(|judged| matches!(judged.level, Level::Hard { .. }));
        window.due(&record.state, full || record.blocked.is_some(), self.now())
    }

    /// A window as it is shown.
    pub(super) fn window_view(&self, record: &MapRecord) -> Option<WindowView> {
        let window = record.window?;
        Some(WindowView {
            until: window.until,
            then_resume: window.then_resume,
            over: window.is_over(self.now()),
            due: self.window_due(record) == Due::Resume,
        })
    }

    /// That a window is over, as long as the map is still paused.
    pub(super) fn window_fact(&self, record: &MapRecord) -> Option<Fact> {
        let name = &record.map.name;
        let late = span(self.now().since(record.window?.until));
        let over = format!("the pause was planned until {late} ago");
        let by_hand = format!("tandem map resume {name}, or move the end: tandem map pause {name} --for 1h");
        let (reason, fix) = match self.window_due(record) {
            Due::Nothing => return None,
            Due::Reminder => (over, by_hand),
            Due::Waits(why) => (format!("{over}; it is not resumed, because it {why}"), by_hand),
            Due::Resume => match self.stuck.get(name) {
                None => (format!("{over}; it is being resumed"), by_hand),
                Some(Stuck { why, fix }) => {
                    let fix = fix.clone().unwrap_or(by_hand);
                    (format!("{over}; it is tried again and again to resume it: {why}"), fix)
                }
            },
        };
        Some(Fact { kind: ConditionKind::WindowOver, status: true, reason, fix: Some(fix) })
    }

    /// Resumes maps whose windows are over, if that is still to be done; false if it is not.
    pub(super) fn resume_after_window(
        &mut self,
        request: Request,
        prepared: Prepared,
    ) -> Result<bool, Rejected> {
        let due = |name: &MapName| self.maps.get(name).map(|record| self.window_due(record));
        let mut blockers = Vec::new();
        for name in &request.maps {
            match due(name) {
                None | Some(Due::Nothing | Due::Reminder) => return Ok(false),
                Some(Due::Resume) => {}
                Some(Due::Waits(needs)) => {
                    blockers.push(Blocker { map: name.clone(), state: "paused".to_owned(), needs });
                }
            }
        }
        if !blockers.is_empty() {
            return Err(Rejected::State(blockers));
        }
        self.act(request, prepared).map(|Accepted { .. }| true)
    }

    /// Notes why maps could not be resumed; people are told of the first time.
    pub(super) fn window_stuck(&mut self, maps: Vec<MapName>, stuck: &Stuck) {
        let is_new = |map: &MapName| !self.stuck.contains_key(map);
        let told: Vec<_> = maps
            .iter()
            .filter(|map| is_new(map))
            .map(|map| (map.clone(), format!("stays paused: {}", stuck.why)))
            .collect();
        for map in maps {
            tracing::warn!(%map, "a map could not be resumed after its planned pause: {}", stuck.why);
            self.stuck.insert(map, stuck.clone());
        }
        if !told.is_empty() {
            self.tell_all(News::WindowStuck(told));
        }
    }

    /// Tells everybody that there is.
    fn tell_all(&mut self, news: News) {
        let targets = self.world.tell.targets();
        let notice = Notice { rule: None, targets, at: self.now(), news };
        self.telling.send(&notice);
    }
}
