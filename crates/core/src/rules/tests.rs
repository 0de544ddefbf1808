//! What rules do, each by an example.

use super::*;
use crate::lifecycle::{Hold, Phase};
use std::collections::BTreeMap;

mod histories;

const START: WallTime = WallTime(1_700_000_000_000_000);
const MINUTE: Duration = Duration::from_secs(60);

fn at(seconds: u64) -> WallTime {
    START.plus(Duration::from_secs(seconds))
}

fn rule(when: When, action: RuleAction) -> Rule {
    Rule {
        name: "watch".into(),
        maps: MapSelection::All,
        when,
        then: Then { notify: vec!["ops".into()], action },
        cooldown: MINUTE * 15,
        enabled: true,
    }
}

fn unreachable_for(seconds: u64) -> When {
    When::DestinationUnreachable(Duration::from_secs(seconds))
}

fn errors(count: u32, seconds: u64) -> When {
    When::Errors { classes: ErrorClasses::Any, count, within: Duration::from_secs(seconds) }
}

const RESUMES: RuleAction = RuleAction::Pause(ResumeBy::Rule { per_hour: 3 });

/// One map under one rule, with a clock that is moved by hand. What the rule asks for is done at once.
struct World {
    rule: Rule,
    state: RuleState,
    facts: BTreeMap<MapName, MapFacts>,
    seconds: u64,
    told: Vec<String>,
}

impl World {
    fn new(rule: Rule) -> Self {
        let well = MapFacts {
            phase: Phase::Running,
            holds: Default::default(),
            limit_blocks: false,
            full: None,
            oldest_unapplied_at: None,
            source: Reach::Up { since: START },
            destination: Reach::Up { since: START },
        };
        let facts = BTreeMap::from([("a".into(), well)]);
        Self { state: RuleState::new(&rule), rule, facts, seconds: 0, told: Vec::new() }
    }

    fn map(&mut self) -> &mut MapFacts {
        self.facts.get_mut(&"a".into()).unwrap()
    }

    fn sees(&mut self, seen: Observed) {
        self.state.observe(&self.rule, &"a".into(), seen, at(self.seconds));
    }

    fn fails(&mut self, times: u32) {
        for _ in 0..times {
            self.sees(Observed::Failed { class: FaultClass::Application });
        }
    }

    fn down(&mut self) {
        self.map().destination = Reach::Down { since: at(self.seconds) };
    }

    fn up(&mut self) {
        self.map().destination = Reach::Up { since: at(self.seconds) };
    }

    /// Goes on second by second, and says what was done and when.
    fn until(&mut self, seconds: u64) -> Vec<String> {
        let mut done = Vec::new();
        while self.seconds <= seconds {
            for effect in self.state.tick(&self.rule, &self.facts, at(self.seconds)) {
                let (name, own) = (self.rule.name.clone(), Hold::Rule(self.rule.name.clone()));
                let what = match effect {
                    RuleEffect::Hold { why, .. } => {
                        self.map().holds.insert(own);
                        self.map().phase = Phase::Paused;
                        format!("hold: {why}")
                    }
                    RuleEffect::Resume { .. } => {
                        self.map().holds.remove(&own);
                        self.map().phase = Phase::Running;
                        "resume".to_owned()
                    }
                    RuleEffect::Withdraw { .. } => {
                        self.map().holds.remove(&own);
                        "withdraw".to_owned()
                    }
                    RuleEffect::Stop { why, .. } => {
                        self.map().phase = Phase::NotRunning;
                        format!("stop: {why}")
                    }
                    RuleEffect::Notify(notice) => {
                        assert_eq!((notice.rule, notice.at), (Some(name), at(self.seconds)));
                        self.told.push(match notice.news {
                            News::Fired(_, maps) => format!("fired for {}", maps.len()),
                            News::Resumed(maps) => format!("resumed {}", maps.len()),
                            other => panic!("no rule tells that: {other:?}"),
                        });
                        continue;
                    }
                };
                done.push(format!("{}: {what}", self.seconds));
            }
            self.seconds += 1;
        }
        done
    }
}

#[test]
fn an_outage_pauses_and_is_resumed_when_it_was_over_for_a_while() {
    let mut world = World::new(rule(unreachable_for(10), RESUMES));
    assert_eq!(world.until(99), [""; 0]);
    world.down();
    assert_eq!(world.until(499), ["110: hold: the destination has not been reached for 10 s"]);
    world.up();
    assert_eq!(world.until(999), ["560: resume"]);
    assert_eq!(world.told, ["fired for 1", "resumed 1"]);
}

#[test]
fn a_flapping_destination_does_not_flap_the_map() {
    let mut world = World::new(Rule { cooldown: MINUTE, ..rule(unreachable_for(10), RESUMES) });
    let mut done = Vec::new();
    while world.seconds < 7_200 {
        world.down();
        done.extend(world.until(world.seconds + 29));
        world.up();
        done.extend(world.until(world.seconds + 49));
    }
    assert_eq!(done.len(), 1, "{done:?}");
    // With pauses long enough to seem well, it is resumed later every time, and no more than three times an hour.
    let mut world = World::new(Rule { cooldown: MINUTE, ..rule(unreachable_for(10), RESUMES) });
    let mut resumed = Vec::new();
    while world.seconds < 3_000 {
        world.down();
        world.until(world.seconds + 19);
        world.up();
        let since = world.seconds;
        let done = world.until(world.seconds + 299);
        resumed.extend(
            done.iter()
                .filter_map(|line| line.strip_suffix(": resume")?.parse::<u64>().ok())
                .map(|at| at - since),
        );
    }
    assert_eq!(resumed, [60, 120, 240]);
}

#[test]
fn a_destination_that_was_away_between_two_looks_was_away() {
    let mut world = World::new(rule(unreachable_for(10), RESUMES));
    world.down();
    world.until(99);
    world.up();
    world.until(149);
    world.up();
    assert_eq!(world.until(300), ["210: resume"], "a minute after it came back the last time");
    let mut world = World::new(rule(unreachable_for(10), RESUMES));
    world.down();
    world.until(99);
    world.map().destination = Reach::Unknown;
    assert_eq!(world.until(999), [""; 0], "nobody knows whether it is well");
}

#[test]
fn errors_count_within_the_window_only_and_once() {
    let mut world = World::new(rule(errors(3, 60), RuleAction::Nothing));
    world.fails(2);
    world.until(59);
    world.fails(1);
    world.until(1_000);
    assert_eq!(world.told, [""; 0], "two of them were too long ago");
    world.fails(3);
    world.until(1_001);
    world.fails(3);
    world.until(1_100);
    assert_eq!(world.told, ["fired for 1"], "the cool-down");
    world.until(3_000);
    assert_eq!(world.told, ["fired for 1"], "what is over is not told later");
    world.fails(3);
    world.until(3_001);
    assert_eq!(world.told, ["fired for 1", "fired for 1"]);
    let mut world = World::new(rule(errors(3, 3_600), RuleAction::Nothing));
    world.fails(3);
    world.until(1_000);
    assert_eq!(world.told, ["fired for 1"], "the same errors do not count again behind the cool-down");
}

#[test]
fn only_errors_of_the_classes_count() {
    let classes = ErrorClasses::Only([FaultClass::Unavailable, FaultClass::Connection].into());
    let when = When::Errors { classes, count: 2, within: MINUTE };
    let mut world = World::new(rule(when, RuleAction::Stop));
    world.fails(10);
    world.sees(Observed::Failed { class: FaultClass::Unavailable });
    assert_eq!(world.until(10), [""; 0]);
    world.sees(Observed::Failed { class: FaultClass::Connection });
    assert_eq!(world.until(20), ["11: stop: 2 errors within 1 min"]);
}

#[test]
fn a_share_needs_as_many_records_as_it_is_of() {
    let when = When::FailedShare { ratio: Share::percent(5), of_last: 100 };
    let mut world = World::new(rule(when, RuleAction::Pause(ResumeBy::Hand)));
    world.fails(50);
    world.sees(Observed::Failed { class: FaultClass::Connection });
    assert_eq!(world.until(10), [""; 0], "51 are no hundred, and an attempt is no record");
    world.sees(Observed::Applied { records: 49 });
    assert_eq!(world.until(11), [""; 0]);
    world.sees(Observed::Applied { records: 1 });
    assert_eq!(world.until(12), ["12: hold: 50 of the last 100 records failed"]);
    world.map().holds.clear();
    world.sees(Observed::Applied { records: 96 });
    world.fails(4);
    assert_eq!(world.until(2_000), [""; 0], "four of a hundred");
    world.fails(1);
    assert_eq!(world.until(2_001).len(), 1);
}

#[test]
fn a_queue_a_lag_and_a_source_are_watched_too() {
    let mut world = World::new(rule(When::QueueFull(Share::percent(90)), RuleAction::Pause(ResumeBy::Hand)));
    world.map().full = Some(Fullness { used: 899, max: 1_000 });
    assert_eq!(world.until(10), [""; 0]);
    world.map().full = Some(Fullness { used: 900, max: 1_000 });
    assert_eq!(world.until(11), ["11: hold: the queue is 90 % full"]);
    let mut world = World::new(rule(When::Lag(MINUTE * 5), RuleAction::Pause(ResumeBy::Hand)));
    world.map().oldest_unapplied_at = Some(at(100));
    assert_eq!(world.until(1_000), ["400: hold: 5 min behind"]);
    let mut world = World::new(rule(When::SourceUnreachable(MINUTE), RuleAction::Stop));
    world.map().source = Reach::Down { since: at(0) };
    assert_eq!(world.until(100), ["60: stop: the source has not been reached for 1 min"]);
}

#[test]
fn a_window_pauses_once_and_a_person_has_the_last_word() {
    // START is a Tuesday, 22:13:20 UTC.
    let schedule = Schedule {
        days: Days::default().with(Weekday::Tuesday),
        start_minute: 22 * 60 + 20,
        lasting: MINUTE * 60,
        zone: Zone::utc(),
    };
    let mut world = World::new(rule(When::Schedule(schedule.clone()), RESUMES));
    assert_eq!(world.until(7_200), ["400: hold: it is the time for it", "4060: resume"]);
    let mut world = World::new(rule(When::Schedule(schedule), RESUMES));
    world.until(1_000);
    world.map().holds.clear();
    world.map().phase = Phase::Running;
    assert_eq!(world.until(7_200), [""; 0], "it was resumed by hand within the window");
}

#[test]
fn a_rule_resumes_only_what_it_holds_alone() {
    let outage = || {
        let mut world = World::new(rule(unreachable_for(10), RESUMES));
        world.down();
        world.until(99);
        world
    };
    let mut world = outage();
    world.map().holds.insert(Hold::User);
    world.up();
    assert_eq!(world.until(500), ["160: withdraw"]);
    assert_eq!(world.map().phase, Phase::Paused);
    let mut world = outage();
    world.map().holds.insert(Hold::Limit);
    world.up();
    assert_eq!(world.until(500), [""; 0], "a limit is for a person to mend");
    let mut world = outage();
    world.map().limit_blocks = true;
    world.up();
    assert_eq!(world.until(500), [""; 0]);
    let mut world = outage();
    world.map().holds = [Hold::User].into();
    world.up();
    assert_eq!(world.until(500), [""; 0], "what it does not hold is not its concern");
    let mut world = World::new(rule(unreachable_for(10), RuleAction::Pause(ResumeBy::Hand)));
    world.down();
    world.until(99);
    world.up();
    assert_eq!(world.until(9_999), [""; 0], "it was not asked to");
}

#[test]
fn a_rule_acts_at_once_when_it_is_switched_on_or_changed() {
    let mut world = World::new(Rule { enabled: false, ..rule(errors(3, 600), RuleAction::Stop) });
    world.fails(3);
    assert_eq!(world.until(10), [""; 0]);
    world.rule.enabled = true;
    assert_eq!(world.until(11), ["11: stop: 3 errors within 10 min"]);
    let mut world = World::new(rule(unreachable_for(600), RuleAction::Nothing));
    world.down();
    world.until(100);
    world.rule.when = unreachable_for(50);
    world.until(101);
    assert_eq!(world.told, ["fired for 1"]);
}

#[test]
fn a_restart_forgets_neither_a_cool_down_nor_the_resumes() {
    let mut world = World::new(Rule { cooldown: MINUTE, ..rule(unreachable_for(10), RESUMES) });
    for _ in 0..4 {
        world.down();
        world.until(world.seconds + 70);
        world.up();
        world.until(world.seconds + 300);
    }
    assert_eq!(world.map().phase, Phase::Paused, "three resumes, and the fourth is not allowed");
    world.state = stored(&world.state);
    let again = world.until(4_500);
    assert_eq!(again.len(), 1, "when the first resume is an hour ago: {again:?}");
    let mut world = World::new(rule(errors(1, 60), RuleAction::Nothing));
    world.fails(1);
    world.until(1);
    world.state = stored(&world.state);
    world.fails(1);
    world.until(100);
    assert_eq!(world.told, ["fired for 1"]);
}

/// Stored and read again, without what is not stored.
fn stored(state: &RuleState) -> RuleState {
    serde_json::from_str(&serde_json::to_string(state).unwrap()).unwrap()
}

#[test]
fn a_clock_that_is_set_back_does_not_silence_a_rule() {
    let mut world = World::new(rule(errors(1, 60), RuleAction::Nothing));
    world.seconds = 1_000_000;
    world.fails(1);
    world.until(1_000_000);
    world.seconds = 0;
    world.until(0);
    world.seconds = 901;
    world.fails(1);
    world.until(901);
    assert_eq!(world.told, ["fired for 1", "fired for 1"]);
}

#[test]
fn maps_are_watched_each_by_itself_and_told_of_together() {
    let mut rule = rule(errors(1, 60), RuleAction::Nothing);
    rule.maps = MapSelection::Only(["a".into(), "b".into()].into());
    let mut world = World::new(rule);
    let well = world.map().clone();
    world.facts.insert("b".into(), well.clone());
    world.facts.insert("c".into(), well);
    for map in ["a", "b", "c"] {
        world.state.observe(&world.rule, &map.into(), Observed::Failed { class: FaultClass::Schema }, START);
    }
    world.until(10);
    assert_eq!(world.told, ["fired for 2"]);
    world.facts.remove(&"a".into());
    world.until(11);
    let kept = serde_json::to_string(&world.state).unwrap();
    assert!(!kept.contains("\"a\"") && kept.contains("\"b\""), "{kept}");
}

#[test]
fn what_cannot_be_is_refused() {
    assert_eq!(rule(When::QueueFull(Share::percent(90)), RESUMES).check(), Err(BadRule::NeverWell));
    assert_eq!(rule(When::Lag(MINUTE), RESUMES).check(), Err(BadRule::NeverWell));
    let mut idle = rule(When::Lag(MINUTE), RuleAction::Nothing);
    assert_eq!(idle.check(), Ok(()));
    idle.then.notify.clear();
    assert_eq!(idle.check(), Err(BadRule::Idle));
}

#[test]
fn a_notice_says_what_happened_and_to_what() {
    let why = Why::DestinationUnreachable(Duration::from_secs(10));
    let fired =
        |action, maps: &[&str]| News::Fired(action, maps.iter().map(|map| ((*map).into(), why)).collect());
    for (news, subject, line, map) in [
        (
            fired(RESUMES, &["a"]),
            "rule r pauses a",
            "a: the destination has not been reached for 10 s",
            Some("a"),
        ),
        (
            fired(RuleAction::Stop, &["a", "b"]),
            "rule r stops 2 maps",
            "a: the destination has not been reached for 10 s",
            None,
        ),
        (
            fired(RuleAction::Nothing, &["a"]),
            "rule r fired for a",
            "a: the destination has not been reached for 10 s",
            Some("a"),
        ),
        (
            News::Resumed(vec!["a".into()]),
            "rule r resumes a",
            "a: both apps have been well for a while",
            Some("a"),
        ),
        (
            News::WindowOver(vec![("a".into(), "is still paused".into())]),
            "the planned pause of a is over",
            "a is still paused",
            Some("a"),
        ),
        (
            News::WindowStuck(vec![("a".into(), "waits".into()), ("b".into(), "waits".into())]),
            "not resumed after the planned pause: 2 maps",
            "a waits",
            None,
        ),
    ] {
        let notice = Notice { rule: Some("r".into()), targets: Vec::new(), at: START, news };
        assert_eq!((notice.subject().as_str(), notice.lines()[0].as_str()), (subject, line));
        assert_eq!(notice.map().map(MapName::as_str), map);
    }
}

#[test]
fn times_are_told_as_people_say_them() {
    for (seconds, shown) in
        [(0, "0 s"), (59, "59 s"), (60, "1 min"), (90, "1 min 30 s"), (3_600, "1 h"), (90_061, "1 d 1 h")]
    {
        assert_eq!(Spell(Duration::from_secs(seconds)).to_string(), shown);
    }
}
