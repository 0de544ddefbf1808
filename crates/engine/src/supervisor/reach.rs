//! Whether apps answer, as rules want to know it.
//!
//! A source's log is read all the time, paused or not, so its capture knows. A destination is written to only when
//! there is something to write, and not at all while its maps are paused: whether it is well again would never be
//! found out. So the destinations that a rule asks about are probed, every few seconds, over a connection of their
//! own. A destination answers if the probe says so and no stream that is to write to it says otherwise.

use crate::env::{Env, within};
use crate::store::MapRecord;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tandem_core::connect::Connector;
use tandem_core::lifecycle::duties;
use tandem_core::rules::Reach;
use tandem_core::{AppName, Fault, FaultClass, MapName, StreamName, WallTime};
use tokio::sync::watch;

/// How long a probe waits before the next one.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// How long an app may take to answer a probe.
const PROBE_WITHIN: Duration = Duration::from_secs(5);

/// What is known of the apps.
#[derive(Default)]
pub(super) struct Reaches {
    /// The probes that go on. One ends when nobody holds its answers any more.
    probes: BTreeMap<AppName, watch::Receiver<Option<bool>>>,
    sources: BTreeMap<AppName, Reach>,
    destinations: BTreeMap<StreamName, Reach>,
}

impl Reaches {
    /// Probes these apps from now on and no others.
    pub(super) fn probe(
        &mut self,
        wanted: &BTreeSet<AppName>,
        apps: &BTreeMap<AppName, Arc<dyn Connector>>,
        env: &Arc<dyn Env>,
    ) {
        self.probes.retain(|app, _| wanted.contains(app));
        for (app, connector) in apps.iter().filter(|(app, _)| wanted.contains(*app)) {
            self.probes.entry(app.clone()).or_insert_with(|| {
                let (answers, answer) = watch::channel(None);
                env.spawn("probe", Box::pin(probe(env.clone(), connector.clone(), answers)));
                answer
            });
        }
    }

    /// Takes in what a capture says of its source.
    pub(super) fn source(&mut self, app: &AppName, capturing: bool, fault: Option<&Fault>, now: WallTime) {
        let answers = match capturing {
            true => Some(true),
            false => fault.is_some_and(away).then_some(false),
        };
        turn(self.sources.entry(app.clone()).or_insert(Reach::Unknown), answers, now);
    }

    /// Takes in what a stream says of its destination, beside what the probe says. A stream that is not to write
    /// does not try either: its fault is an old one.
    pub(super) fn destination(
        &mut self,
        stream: &StreamName,
        writes: bool,
        fault: Option<&Fault>,
        now: WallTime,
    ) {
        let probed = self.probes.get(&stream.destination).and_then(|answer| *answer.borrow());
        let lost = writes && fault.is_some_and(away);
        let reach = self.destinations.entry(stream.clone()).or_insert(Reach::Unknown);
        turn(reach, if lost { Some(false) } else { probed }, now);
    }

    /// Forgets streams that are no more.
    pub(super) fn keep(&mut self, exists: impl Fn(&StreamName) -> bool) {
        self.destinations.retain(|stream, _| exists(stream));
    }

    /// What is known of a map's sources and of its destinations; of several, the worst.
    pub(super) fn of(&self, record: &MapRecord) -> (Reach, Reach) {
        let sources = record.flows.iter().map(|flow| self.sources.get(&flow.stream.source));
        let destinations = record.flows.iter().map(|flow| self.destinations.get(&flow.stream));
        let worst = |reaches: &mut dyn Iterator<Item = Option<&Reach>>| {
            reaches.map(|reach| *reach.unwrap_or(&Reach::Unknown)).reduce(worse).unwrap_or(Reach::Unknown)
        };
        (worst(&mut sources.into_iter()), worst(&mut destinations.into_iter()))
    }
}

/// Streams that are to write now.
pub(super) fn writing(maps: &BTreeMap<MapName, MapRecord>) -> BTreeSet<StreamName> {
    let applied = maps.values().filter(|record| duties(&record.state).apply);
    applied.flat_map(|record| &record.flows).map(|flow| flow.stream.clone()).collect()
}

/// Asks an app for nothing, again and again, until nobody wants to know.
async fn probe(env: Arc<dyn Env>, connector: Arc<dyn Connector>, answers: watch::Sender<Option<bool>>) {
    while !answers.is_closed() {
        let answered = within(&*env, PROBE_WITHIN, connector.describe(&[])).await;
        answers.send_replace(Some(matches!(answered, Some(Ok(_)))));
        env.sleep(PROBE_EVERY).await;
    }
}

/// Whether a fault says that the app is not there for us.
fn away(fault: &Fault) -> bool {
    matches!(fault.class, FaultClass::Connection | FaultClass::Unavailable | FaultClass::Auth)
}

/// A reach keeps its time as long as it is the same; nothing heard changes nothing.
fn turn(reach: &mut Reach, answers: Option<bool>, now: WallTime) {
    match (answers, *reach) {
        (None, _) | (Some(true), Reach::Up { .. }) | (Some(false), Reach::Down { .. }) => {}
        (Some(true), Reach::Unknown | Reach::Down { .. }) => *reach = Reach::Up { since: now },
        (Some(false), Reach::Unknown | Reach::Up { .. }) => *reach = Reach::Down { since: now },
    }
}

fn worse(a: Reach, b: Reach) -> Reach {
    match (a, b) {
        (Reach::Down { since: a }, Reach::Down { since: b }) => Reach::Down { since: a.min(b) },
        (down @ Reach::Down { .. }, _) | (_, down @ Reach::Down { .. }) => down,
        (Reach::Unknown, _) | (_, Reach::Unknown) => Reach::Unknown,
        (Reach::Up { since: a }, Reach::Up { since: b }) => Reach::Up { since: a.max(b) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reach_keeps_its_time_until_it_turns() {
        let mut reach = Reach::Unknown;
        let heard = [None, Some(false), Some(false), None, Some(true), Some(true)];
        let seen = heard.into_iter().enumerate().map(|(at, answers)| {
            turn(&mut reach, answers, WallTime(at as i64));
            reach
        });
        let (down, up) = (Reach::Down { since: WallTime(1) }, Reach::Up { since: WallTime(4) });
        assert_eq!(seen.collect::<Vec<_>>(), [Reach::Unknown, down, down, down, up, up]);
    }

    #[test]
    fn what_a_stream_says_that_does_not_write_is_old() {
        let stream = StreamName { source: "a".into(), destination: "b".into() };
        let lost = Fault::new(FaultClass::Connection, "write", "gone");
        let mut reaches = Reaches::default();
        let (answers, answer) = watch::channel(Some(true));
        reaches.probes.insert("b".into(), answer);
        reaches.destination(&stream, true, Some(&lost), WallTime(1));
        assert_eq!(reaches.destinations[&stream], Reach::Down { since: WallTime(1) });
        reaches.destination(&stream, false, Some(&lost), WallTime(2));
        assert_eq!(reaches.destinations[&stream], Reach::Up { since: WallTime(2) });
        answers.send_replace(Some(false));
        reaches.destination(&stream, false, None, WallTime(3));
        assert_eq!(reaches.destinations[&stream], Reach::Down { since: WallTime(3) });
    }
}
