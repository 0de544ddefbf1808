//! When a rule would have fired, over what is recorded: the activity log and the records that were set aside.
//!
//! That is not everything that a rule knows while it is at work. What is missing is said, rule by rule, so that
//! *it would not have fired* is never read into *nothing is known*.

use crate::store::{ActivityFrom, ErrorQuery, ErrorStatus, SetAside, Store, StoreError};
use crate::view::{ActivityEntry, RuleTest};
use std::collections::BTreeMap;
use tandem_core::lifecycle::Phase;
use tandem_core::rules::{
    MapFacts, Moment, Observed, Reach, ResumeBy, Rule, RuleAction, Told, When, would_have_fired,
};
use tandem_core::{MapName, WallTime};

/// How many entries and errors a test looks through at the most: the newest.
const MOMENTS_MAX: usize = 20_000;
/// How many entries are read at once.
const PAGE: usize = 1_000;

/// What is recorded of the time that a test is about.
pub(crate) struct Recorded {
    /// What every map is in now.
    pub(crate) now: BTreeMap<MapName, Phase>,
    /// The activity, oldest first.
    pub(crate) activity: Vec<ActivityEntry>,
    /// What was set aside and is still known.
    pub(crate) errors: Vec<SetAside>,
    /// Whether more is recorded than was looked through.
    pub(crate) cut: bool,
}

impl Recorded {
    /// Reads what is recorded since a time about maps.
    pub(crate) fn read(
        store: &dyn Store,
        now: BTreeMap<MapName, Phase>,
        since: WallTime,
    ) -> Result<Self, StoreError> {
        let mut activity: Vec<ActivityEntry> = Vec::new();
        let mut from = ActivityFrom::Newest;
        let mut cut = false;
        loop {
            let page = store.activity(None, from, PAGE)?;
            let more = page.len() == PAGE && page.iter().all(|entry| entry.at >= since);
            if let Some(last) = page.last() {
                from = ActivityFrom::Before(last.id);
            }
            activity.extend(page.into_iter().filter(|entry| entry.at >= since));
            cut |= more && activity.len() >= MOMENTS_MAX;
            if !more || cut {
                break;
            }
        }
        activity.reverse();
        let mut errors = Vec::new();
        for map in now.keys() {
            let mut query = ErrorQuery {
                map: Some(map.clone()),
                statuses: ErrorStatus::ALL.to_vec(),
                limit: PAGE,
                ..ErrorQuery::default()
            };
            loop {
                let page = store.errors(&query)?;
                let was_refused = |error: &SetAside| error.attempts > 0 && error.first_at >= since;
                errors.extend(page.items.into_iter().filter(was_refused));
                match page.next {
                    Some(next) => query.after = next,
                    None => break,
                }
            }
        }
        errors.sort_by_key(|error| error.first_at);
        if let Some(more @ 1..) = errors.len().checked_sub(MOMENTS_MAX) {
            errors.drain(..more);
            cut = true;
        }
        Ok(Self { now, activity, errors, cut })
    }
}

/// Tests a rule over what is recorded.
pub(crate) fn test(rule: &Rule, recorded: &Recorded, since: WallTime, until: WallTime) -> RuleTest {
    let mut moments = beginnings(recorded, since);
    let mut facts: BTreeMap<MapName, MapFacts> = BTreeMap::new();
    for moment in &moments {
        if let Told::Became(known) = &moment.told {
            facts.insert(moment.map.clone(), known.clone());
        }
    }
    for entry in &recorded.activity {
        let Some((map, known)) = entry.map.as_ref().and_then(|map| Some((map, facts.get_mut(map)?))) else {
            continue;
        };
        let before = known.clone();
        if let Some(phase) = entry.to.as_deref().and_then(Phase::named) {
            known.phase = phase;
        }
        match entry.event.as_str() {
            "map.source_lost" => known.source = Reach::Down { since: entry.at },
            "map.source_back" => known.source = Reach::Up { since: entry.at },
            "map.destination_lost" => known.destination = Reach::Down { since: entry.at },
            "map.destination_back" => known.destination = Reach::Up { since: entry.at },
            _ => {}
        }
        if *known != before {
            moments.push(Moment { at: entry.at, map: map.clone(), told: Told::Became(known.clone()) });
        }
    }
    let errors = recorded.errors.iter().filter(|error| error.first_at >= since);
    moments.extend(errors.map(|error| Moment {
        at: error.first_at,
        map: error.map.clone(),
        told: Told::Happened(Observed::Failed { class: error.fault.class }),
    }));
    // Equal times stay as they are: what a map was in at the beginning comes first.
    moments.sort_by_key(|moment| moment.at);
    RuleTest {
        since,
        until,
        firings: would_have_fired(rule, &moments, until),
        unknown: unknown(rule, recorded),
    }
}

/// What each map was in at the beginning: before its first entry, or as now if there is none. Its apps count as
/// answering: that they did not is recorded.
fn beginnings(recorded: &Recorded, since: WallTime) -> Vec<Moment> {
    let began = |map: &MapName, now: Phase| {
        let about = recorded.activity.iter().filter(|entry| entry.map.as_ref() == Some(map));
        about.filter_map(|entry| entry.from.as_deref()).find_map(Phase::named).unwrap_or(now)
    };
    let moments = recorded.now.iter().map(|(map, now)| {
        let facts = MapFacts {
            phase: began(map, *now),
            holds: Default::default(),
            limit_blocks: false,
            full: None,
            oldest_unapplied_at: None,
            source: Reach::Up { since },
            destination: Reach::Up { since },
        };
        Moment { at: since, map: map.clone(), told: Told::Became(facts) }
    });
    moments.collect()
}

fn unknown(rule: &Rule, recorded: &Recorded) -> Vec<String> {
    let missing = match &rule.when {
        When::Errors { .. } => Some(
            "errors are known as far as records were set aside by maps that were not stopped since; attempts that failed otherwise are not recorded",
        ),
        When::FailedShare { .. } => {
            Some("how many records were applied is not recorded, so a share of them is not known")
        }
        When::QueueFull(_) => Some("how full queues were is not recorded"),
        When::Lag(_) => Some("how far behind maps were is not recorded"),
        When::DestinationUnreachable(_) | When::SourceUnreachable(_) => {
            Some("that an app did not answer is recorded only while an enabled rule asks about it")
        }
        When::Schedule(_) => None,
    };
    let heals = matches!(rule.then.action, RuleAction::Pause(ResumeBy::Rule { .. }));
    let guessed =
        heals.then_some("when the rule would have resumed a map is a guess, and so is what came after");
    let cut =
        recorded.cut.then(|| format!("more is recorded than was looked through: the newest {MOMENTS_MAX}"));
    missing.into_iter().chain(guessed).map(str::to_owned).chain(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tandem_core::rules::{ErrorClasses, MapSelection, Then};
    use tandem_core::{Fault, FaultClass, Seq};

    fn at(seconds: i64) -> WallTime {
        WallTime(seconds * 1_000_000)
    }

    fn rule(when: When) -> Rule {
        Rule {
            name: "watch".into(),
            maps: MapSelection::All,
            when,
            then: Then { notify: vec!["ops".into()], action: RuleAction::Pause(ResumeBy::Hand) },
            cooldown: Duration::from_secs(900),
            enabled: false,
        }
    }

    fn entry(seconds: i64, event: &str, from: Option<&str>, to: Option<&str>) -> ActivityEntry {
        ActivityEntry {
            id: 0,
            at: at(seconds),
            event: event.to_owned(),
            map: Some("a".into()),
            actor: String::new(),
            reason: String::new(),
            from: from.map(str::to_owned),
            to: to.map(str::to_owned),
            detail: String::new(),
        }
    }

    fn fired(rule: &Rule, activity: Vec<ActivityEntry>, errors: Vec<SetAside>) -> Vec<i64> {
        let now = BTreeMap::from([("a".into(), Phase::Running)]);
        let recorded = Recorded { now, activity, errors, cut: false };
        let test = test(rule, &recorded, at(0), at(3_600));
        test.firings.iter().map(|firing| firing.at.0 / 1_000_000).collect()
    }

    #[test]
    fn an_outage_that_was_recorded_would_have_fired() {
        let down = rule(When::DestinationUnreachable(Duration::from_secs(60)));
        let outage = |seconds: i64| {
            let lost = entry(100, "map.destination_lost", None, None);
            vec![lost, entry(100 + seconds, "map.destination_back", None, None)]
        };
        assert_eq!(fired(&down, outage(30), Vec::new()), [0_i64; 0]);
        assert_eq!(fired(&down, outage(300), Vec::new()), [160]);
        // A map that did not run then was not concerned.
        let mut stopped = outage(300);
        stopped.push(entry(500, "map.run", Some("not_running"), Some("initializing")));
        assert_eq!(fired(&down, stopped, Vec::new()), [0_i64; 0]);
    }

    #[test]
    fn errors_that_were_set_aside_would_have_fired() {
        let error = |seconds: i64| SetAside {
            flow: crate::store::FlowId(1),
            map: "a".into(),
            seq: Seq(1),
            id: 0,
            transaction_name: "1".to_owned(),
            kept: None,
            attempts: 1,
            fault: Fault::new(FaultClass::Application, "apply", "refused"),
            first_at: at(seconds),
            last_at: at(seconds),
            status: ErrorStatus::Open,
            by: None,
        };
        let when = When::Errors { classes: ErrorClasses::Any, count: 2, within: Duration::from_secs(60) };
        assert_eq!(fired(&rule(when.clone()), Vec::new(), vec![error(10), error(200)]), [0_i64; 0]);
        assert_eq!(fired(&rule(when), Vec::new(), vec![error(10), error(20)]), [20]);
    }
}
