//! Limits by tables, and what must hold for all of them.

use super::*;
use crate::lifecycle::{Initializing, Phase};
use crate::{Fullness, WallTime};
use proptest::prelude::*;

const HOUR: Duration = Duration::from_secs(3600);
const MB: u64 = 1_000_000;
const NOW: WallTime = WallTime(1_700_000_000_000_000);

fn ago(duration: Duration) -> Option<WallTime> {
    Some(NOW.minus(duration))
}

/// What a judgement says, on one line.
fn shown(judgement: &Judgement) -> String {
    let reached = |reached: &Reached| format!("{} {}", reached.limit, reached.full);
    let level = match &judgement.level {
        Level::Below => "below".to_owned(),
        Level::Soft(soft) => format!("soft {}", reached(soft)),
        Level::Hard { reached: hard, demand, hold } => {
            let demand = match demand {
                Demand::DropOldest { bytes, captured_through } => format!(
                    "drop oldest {bytes} bytes, {} old",
                    captured_through.map_or("none".into(), |at| format!("{:?}", NOW.since(at)))
                ),
                other => format!("{other:?}"),
            };
            format!("hard {}: {demand}{}", reached(hard), if *hold { ", hold" } else { "" })
        }
    };
    match judgement.forecast.first() {
        Some((limit, after)) => format!("{level}; {limit} in {after:?}"),
        None => level,
    }
}

#[track_caller]
fn check(limits: &Limits, usage: Usage, expected: &str) {
    assert_eq!(shown(&judge(limits, &usage, NOW)), expected, "{limits:?}\n{usage:?}");
}

#[test]
fn profiles_are_what_the_design_says() {
    let day = Duration::from_secs(86_400);
    let table = Profile::ALL.map(|profile| {
        let limits = profile.limits();
        let name = limits.when_full.name();
        (profile.name(), limits.max_queue_bytes, limits.max_pause_age, name, limits.queue_retention)
    });
    let gigabyte = Some(1_000_000_000);
    assert_eq!(
        table,
        [
            ("day", gigabyte, Some(day), "block_writes", None),
            ("week", gigabyte, Some(day * 7), "block_writes", None),
            ("training", gigabyte, None, "drop_new_loses_data", Some(day * 7)),
            ("soft", gigabyte, Some(day), "keep", None),
            ("never_lose", None, None, "keep", None),
        ]
    );
    assert_eq!(Limits::default(), Profile::Day.limits());
    let losing: Vec<&str> =
        Profile::ALL.iter().filter(|profile| profile.limits().may_lose_data()).map(|p| p.name()).collect();
    assert_eq!(losing, ["training"], "nothing is lost that was not chosen by name");
}

#[test]
fn a_setting_goes_over_what_is_inherited_and_a_profile_begins_anew() {
    let of_all = LimitSettings {
        profile: Some(Profile::Week),
        max_queue_bytes: Some(Some(5 * MB)),
        ..LimitSettings::default()
    };
    let all = of_all.over(&Limits::default());
    assert_eq!((all.max_queue_bytes, all.max_pause_age), (Some(5 * MB), Some(HOUR * 24 * 7)));
    let of_map = LimitSettings { max_pause_age: Some(None), ..LimitSettings::default() };
    let map = of_map.over(&all);
    assert_eq!((map.max_queue_bytes, map.max_pause_age), (Some(5 * MB), None), "none is a value");
    let of_map = LimitSettings { profile: Some(Profile::Day), ..LimitSettings::default() };
    assert_eq!(of_map.over(&all), Profile::Day.limits());
}

#[test]
fn whichever_limit_comes_first_counts() {
    let day = Profile::Day.limits();
    let paused = |bytes, since| Usage {
        queue_bytes: bytes,
        paused_since: ago(since),
        arrival_rate: MB,
        ..Usage::empty(Phase::Paused)
    };
    check(&day, paused(0, Duration::ZERO), "below; max_queue_bytes in 1000s");
    check(&day, paused(799 * MB, HOUR), "below; max_queue_bytes in 201s");
    check(&day, paused(800 * MB, HOUR), "soft max_queue_bytes 80 %; max_queue_bytes in 200s");
    check(&day, paused(999 * MB, HOUR), "soft max_queue_bytes 99 %; max_queue_bytes in 1s");
    check(
        &day,
        paused(1000 * MB, HOUR),
        "hard max_queue_bytes 100 %: BlockWrites, hold; max_queue_bytes in 0ns",
    );
    check(&day, paused(0, HOUR * 20), "soft max_pause_age 83 %; max_queue_bytes in 1000s");
    check(&day, paused(0, HOUR * 24), "hard max_pause_age 100 %: BlockWrites, hold; max_pause_age in 0ns");
    check(
        &day,
        paused(1500 * MB, HOUR * 30),
        "hard max_queue_bytes 150 %: BlockWrites, hold; max_queue_bytes in 0ns",
    );
    let slow = Usage { arrival_rate: 1, ..paused(0, HOUR) };
    check(&day, slow, "below; max_pause_age in 82800s");
    check(&Profile::NeverLose.limits(), paused(u64::MAX, HOUR * 1_000_000), "below");
}

#[test]
fn what_follows_at_the_limit_is_what_was_chosen() {
    let full = Usage {
        queue_bytes: 1_200 * MB,
        paused_since: ago(HOUR * 25),
        oldest_unapplied_at: ago(HOUR * 25),
        ..Usage::empty(Phase::Paused)
    };
    let with = |when_full| Limits { when_full, ..Limits::default() };
    let end = "; max_queue_bytes in 0ns";
    for (when_full, expected) in [
        (WhenFull::BlockWrites, "BlockWrites, hold"),
        (WhenFull::Keep, "Keep"),
        (WhenFull::DropNewLosesData, "DropNewest { keep_bytes: Some(1000000000) }, hold"),
        (WhenFull::DropOldestLosesData, "drop oldest 200000000 bytes, 86400s old, hold"),
    ] {
        check(&with(when_full), full, &format!("hard max_queue_bytes 120 %: {expected}{end}"));
    }
    let only_bytes = Usage { paused_since: ago(HOUR), ..full };
    check(
        &with(WhenFull::DropOldestLosesData),
        only_bytes,
        &format!("hard max_queue_bytes 120 %: drop oldest 200000000 bytes, none old, hold{end}"),
    );
}

#[test]
fn a_limit_does_not_undo_what_a_person_did() {
    let day = Profile::Day.limits();
    let late = Usage { queue_bytes: 1, oldest_unapplied_at: ago(HOUR * 30), ..Usage::empty(Phase::Resuming) };
    check(&day, late, "soft max_pause_age 125 %");
    let skipped =
        Usage { queue_bytes: MB, error_bytes: 1_000 * MB, arrival_rate: MB, ..Usage::empty(Phase::Running) };
    check(&day, skipped, "soft max_queue_bytes 100 %; max_queue_bytes in 999s");
    let paused_again = Usage { phase: Phase::Paused, ..skipped };
    check(&day, paused_again, "hard max_queue_bytes 100 %: BlockWrites, hold; max_queue_bytes in 0ns");
    let outrun = Usage {
        queue_bytes: 1_000 * MB,
        arrival_rate: 2,
        apply_rate: 1,
        ..Usage::empty(Phase::Initializing(Initializing::Copying))
    };
    check(&day, outrun, "hard max_queue_bytes 100 %: BlockWrites; max_queue_bytes in 0ns");
    let stopped = Usage { error_bytes: u64::MAX, ..Usage::empty(Phase::NotRunning) };
    check(&day, stopped, "below");
}

#[test]
fn a_running_map_that_is_behind_has_an_age_too() {
    let day = Profile::Day.limits();
    let behind = |hours| Usage { oldest_unapplied_at: ago(HOUR * hours), ..Usage::empty(Phase::Running) };
    check(&day, behind(23), "soft max_pause_age 95 %; max_pause_age in 3600s");
    check(&day, Usage { apply_rate: 1, ..behind(23) }, "soft max_pause_age 95 %");
    check(&day, behind(24), "hard max_pause_age 100 %: BlockWrites, hold; max_pause_age in 0ns");
}

#[test]
fn a_queue_that_shrinks_is_never_full() {
    let usage = Usage {
        queue_bytes: 900 * MB,
        arrival_rate: MB,
        apply_rate: 2 * MB,
        ..Usage::empty(Phase::Resuming)
    };
    check(&Profile::Day.limits(), usage, "soft max_queue_bytes 90 %");
    let paused = Usage { phase: Phase::Paused, ..usage };
    check(&Profile::Day.limits(), paused, "soft max_queue_bytes 90 %; max_queue_bytes in 100s");
}

#[test]
fn only_what_is_older_than_the_retention_is_released() {
    let limits = Limits { error_retention: Some(HOUR), ..Profile::Training.limits() };
    let released = |queue: u32, errors| {
        let usage = Usage {
            oldest_unapplied_at: ago(HOUR * queue),
            oldest_error_at: ago(errors),
            ..Usage::empty(Phase::Paused)
        };
        let judgement = judge(&limits, &usage, NOW);
        let back = |at: Option<WallTime>| at.map(|at| NOW.since(at));
        (back(judgement.release_queue_through), back(judgement.release_errors_through))
    };
    assert_eq!(released(167, HOUR / 2), (None, None));
    assert_eq!(released(168, HOUR / 2), (Some(HOUR * 168), None));
    assert_eq!(released(200, HOUR), (Some(HOUR * 168), Some(HOUR)));
    let errors_of_a_stopped_map = Usage { oldest_error_at: ago(HOUR * 2), ..Usage::empty(Phase::NotRunning) };
    assert_eq!(judge(&limits, &errors_of_a_stopped_map, NOW).release_errors_through, ago(HOUR));
}

#[test]
fn a_rate_is_learned_and_follows() {
    let mut rate = ArrivalRate::default();
    let at = |second: u64| WallTime(0).plus(Duration::from_secs(second));
    rate.observe(at(0), 5_000);
    assert_eq!(rate.bytes_per_second(), 0, "one sample tells nothing");
    rate.observe(at(1), 6_000);
    assert_eq!(rate.bytes_per_second(), 1_000);
    for second in 2..200 {
        rate.observe(at(second), 6_000);
    }
    assert!(rate.bytes_per_second() < 10, "{rate:?}");
    rate.observe(at(200), 0);
    rate.observe(at(100), 0);
    assert!(rate.bytes_per_second() < 10, "a counter or a clock that went back is no burst: {rate:?}");
    rate.observe(at(102), 2_000_000);
    assert!(rate.bytes_per_second() > 50_000, "{rate:?}");
}

fn phases() -> impl Strategy<Value = Phase> {
    prop::sample::select(vec![
        Phase::NotRunning,
        Phase::Initializing(Initializing::Copying),
        Phase::Running,
        Phase::Paused,
        Phase::Resuming,
    ])
}

#[test]
fn records_are_dropped_many_at_once_or_each_minute() {
    let second = Duration::from_secs(1);
    let limits = Limits {
        max_queue_bytes: Some(1_600),
        max_pause_age: None,
        when_full: WhenFull::DropOldestLosesData,
        ..Limits::default()
    };
    let due = |limits: &Limits, queue_bytes: u64, since_last: Option<Duration>| {
        let usage = Usage { queue_bytes, ..Usage::empty(Phase::Paused) };
        drop_is_due(limits, &judge(limits, &usage, NOW), since_last)
    };
    assert!(due(&limits, 1_601, None), "the first time at once");
    assert!(!due(&limits, 1_699, Some(second * 59)));
    assert!(due(&limits, 1_699, Some(second * 60)));
    assert!(due(&limits, 1_700, Some(second)), "a sixteenth of the limit");
    let short = Limits { queue_retention: Some(second * 32), ..limits };
    assert!(due(&short, 0, Some(second * 2)) && !due(&short, 0, Some(second)));
}

#[test]
fn what_comes_is_lost_until_there_is_room_for_many() {
    let limits = Limits {
        max_queue_bytes: Some(1_600),
        max_pause_age: Some(HOUR),
        when_full: WhenFull::DropNewLosesData,
        ..Limits::default()
    };
    let goes_on = |limits: &Limits, queue_bytes: u64, paused: Duration| {
        let usage = Usage { queue_bytes, paused_since: ago(paused), ..Usage::empty(Phase::Paused) };
        drops_on(limits, &judge(limits, &usage, NOW))
    };
    let minute = Duration::from_secs(60);
    assert!(goes_on(&limits, 1_600, minute) && goes_on(&limits, 1_500, minute));
    assert!(!goes_on(&limits, 1_499, minute));
    assert!(goes_on(&limits, 0, HOUR), "of an age that is reached there is no room");
    let other = Limits { when_full: WhenFull::DropOldestLosesData, ..limits };
    assert!(!goes_on(&other, 1_600, minute));
}

prop_compose! {
    fn limits()(
        bytes in prop::option::of(1..2_000_u64),
        age in prop::option::of(1..2_000_u64),
        soft in 0..=100_u32,
        when_full in prop::sample::select(WhenFull::ALL.to_vec()),
    ) -> Limits {
        Limits {
            max_queue_bytes: bytes,
            max_pause_age: age.map(Duration::from_secs),
            soft_limit: Share::percent(soft),
            when_full,
            ..Limits::default()
        }
    }
}

prop_compose! {
    fn usage()(
        phase in phases(),
        queue_bytes in 0..2_500_u64,
        error_bytes in 0..500_u64,
        oldest in prop::option::of(0..2_500_u64),
        paused in prop::option::of(0..2_500_u64),
        arrival_rate in 0..50_u64,
        apply_rate in 0..50_u64,
    ) -> Usage {
        let ago = |seconds: Option<u64>| seconds.and_then(|seconds| ago(Duration::from_secs(seconds)));
        Usage {
            queue_bytes,
            error_bytes,
            oldest_unapplied_at: ago(oldest),
            paused_since: ago(paused),
            arrival_rate,
            apply_rate,
            ..Usage::empty(phase)
        }
    }
}

fn rank(level: &Level) -> u8 {
    match level {
        Level::Below => 0,
        Level::Soft(_) => 1,
        Level::Hard { .. } => 2,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn more_bytes_and_more_time_never_make_it_better(
        limits in limits(), usage in usage(), queue in 0..1_000_u64, errors in 0..1_000_u64, later in 0..1_000_u64,
    ) {
        let more = Usage {
            queue_bytes: usage.queue_bytes + queue,
            error_bytes: usage.error_bytes + errors,
            ..usage
        };
        let before = judge(&limits, &usage, NOW);
        let after = judge(&limits, &more, NOW.plus(Duration::from_secs(later)));
        prop_assert!(rank(&after.level) >= rank(&before.level), "{:?} then {:?}", before, after);
    }

    #[test]
    fn what_is_forecast_comes_and_not_before(limits in limits(), usage in usage()) {
        let forecast = judge(&limits, &usage, NOW).forecast;
        let at = |after: Duration| {
            let growth = match usage.phase {
                Phase::Paused => usage.arrival_rate,
                _ => usage.arrival_rate.saturating_sub(usage.apply_rate),
            };
            let grown = u128::from(growth) * after.as_micros() / 1_000_000;
            // Of a map that applies, the oldest change is soon another.
            let moves = usage.phase == Phase::Running && usage.apply_rate > 0;
            let oldest = usage.oldest_unapplied_at.map(|at| if moves { at.plus(after) } else { at });
            let usage = Usage {
                queue_bytes: usage.queue_bytes + u64::try_from(grown).unwrap(),
                oldest_unapplied_at: oldest,
                ..usage
            };
            judge(&limits, &usage, NOW.plus(after))
        };
        match forecast.first() {
            None => prop_assert!(rank(&judge(&limits, &usage, NOW).level) < 2),
            Some((limit, after)) => {
                let then = at(after);
                prop_assert_eq!(rank(&then.level), 2, "{} in {:?}: {:?}", limit, after, then);
                if let Some(before) = after.checked_sub(Duration::from_micros(1)) {
                    prop_assert!(rank(&at(before).level) < 2, "{} before {:?}", limit, after);
                }
            }
        }
    }

    #[test]
    fn nothing_is_dropped_or_held_that_was_not_chosen(limits in limits(), usage in usage()) {
        let judgement = judge(&limits, &usage, NOW);
        if let Level::Hard { demand, hold, reached } = judgement.level {
            let losing = matches!(demand, Demand::DropNewest { .. } | Demand::DropOldest { .. });
            prop_assert_eq!(losing, limits.may_lose_data());
            prop_assert!(!hold || matches!(usage.phase, Phase::Running | Phase::Paused));
            prop_assert!(!hold || limits.when_full != WhenFull::Keep);
            prop_assert!(reached.full.is_full());
        }
        prop_assert_eq!((judgement.release_queue_through, judgement.release_errors_through), (None, None));
    }

    #[test]
    fn a_rate_stays_between_the_slowest_and_the_fastest(steps in prop::collection::vec((1..100_u64, 0..1_000_u64), 1..50)) {
        let mut rate = ArrivalRate::default();
        let (mut now, mut total) = (NOW, 0);
        rate.observe(now, total);
        for (seconds, per_second) in &steps {
            now = now.plus(Duration::from_secs(*seconds));
            total += seconds * per_second;
            rate.observe(now, total);
        }
        let slowest = steps.iter().map(|step| step.1).min().unwrap();
        let fastest = steps.iter().map(|step| step.1).max().unwrap();
        prop_assert!((slowest..=fastest).contains(&rate.bytes_per_second()), "{:?}", rate);
    }

    #[test]
    fn the_gauge_shows_the_fuller(limits in limits(), usage in usage()) {
        let judgement = judge(&limits, &usage, NOW);
        let shown = judgement.fullest().map(|reached| reached.full);
        for full in [judgement.bytes, judgement.age].into_iter().flatten() {
            let shown = shown.unwrap_or(Fullness { used: 0, max: 1 });
            prop_assert!(full.compare(shown).is_le());
        }
    }
}
