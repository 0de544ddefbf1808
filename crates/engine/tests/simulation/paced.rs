//! Catch-ups that are capped, or that never end: told as what happens in them, under many orders of the tasks.

use crate::world::{Weather, World, table};
use std::num::NonZeroU32;
use std::time::Duration;
use tandem_core::Value;
use tandem_core::lifecycle::{Action, Phase, ResumeMode};
use tandem_engine::env::Env;
use tandem_engine::{Condition, ConditionKind, MapView, Request};

/// Under so many orders.
const ORDERS: u64 = 40;

fn check(story: impl Fn(&mut World)) {
    let only = crate::number("TANDEM_SEED");
    for seed in only.map_or(0..ORDERS, |seed| seed..seed + 1) {
        let mut world = World::new(seed, Weather::calm(), only.is_some());
        world.run_all();
        story(&mut world);
        world.settle();
    }
}

pub(crate) fn insert(world: &World, name: &str, id: i64) {
    let row = vec![Value::Int(id), Value::Int(id), Value::from("long")];
    world.left.transaction(|t| t.insert(&table(name), row)).expect("a new row");
}

pub(crate) fn shown(world: &World, map: &str) -> MapView {
    let snapshot = world.engine.as_ref().expect("it is at work").snapshot();
    snapshot.maps.iter().find(|view| view.map.name.as_str() == map).expect("it is declared").clone()
}

fn outrun(world: &World, map: &str) -> Option<Condition> {
    shown(world, map).conditions.into_iter().find(|found| found.kind == ConditionKind::NotConverging)
}

pub(crate) fn there(world: &World, name: &str) -> usize {
    world.right.rows(&table(name)).len()
}

fn resume_at(world: &mut World, map: &str, rate: u32) {
    let request = Request::new(Action::Resume(ResumeMode::CatchUp), vec![map.into()], "sim");
    world.send("resume", Request { rate: NonZeroU32::new(rate), ..request });
    world.until_phase(map, Phase::Resuming);
}

fn queue(world: &mut World, map: &str, ids: std::ops::Range<i64>) {
    world.pause(map);
    world.until_phase(map, Phase::Paused);
    let wanted = ids.end.abs_diff(ids.start);
    ids.for_each(|id| insert(world, map, id));
    world.until("it is queued", |world| shown(world, map).flows[0].queue.records == wanted);
}

pub(crate) fn pass(world: &mut World, time: Duration) {
    let until = world.env.now() + time;
    world.until("time has passed", |world| world.env.now() >= until);
}

/// Nobody else feels a cap: what is live stays live, and a pause does not wait for the time that the lane waits.
#[test]
fn a_capped_catch_up_keeps_its_pace_holds_up_nobody_and_is_paused_at_once() {
    check(|world| {
        queue(world, "items", 100..160);
        let begun = world.env.now();
        resume_at(world, "items", 4);
        pass(world, Duration::from_secs(5));
        insert(world, "customers", 7);
        world.until("the other map is live", |world| there(world, "customers") == 1);
        let (applied, took) = (there(world, "items") as f64, (world.env.now() - begun).as_secs_f64());
        assert!((3.0 * took - 4.0..=4.0 * took + 2.0).contains(&applied), "{applied} in {took} s");

        world.crash();
        world.until("it goes on", |world| there(world, "items") as f64 > applied + 5.0);
        let progress = shown(world, "items").catch_up.expect("it is resuming");
        assert_eq!(progress.cap, Some(4), "a restart changes nothing about a cap");

        // What it has applied by now is paid for within the quarter of a second, and then it would go on.
        world.ask("pause", Action::Pause, vec!["items".into()]);
        let asked = world.env.now();
        world.until_phase("items", Phase::Paused);
        assert!(world.env.now() - asked < Duration::from_secs(2), "{:?}", world.env.now() - asked);
        let then = there(world, "items");
        pass(world, Duration::from_secs(5));
        assert_eq!(there(world, "items"), then);

        world.resume("items");
        world.until_phase("items", Phase::Running);
        assert_eq!((there(world, "items"), shown(world, "items").catch_up), (60, None));
    });
}

/// A cap ends with the catch-up: what is live has none.
#[test]
fn a_capped_map_is_live_in_the_end_and_no_longer_capped() {
    check(|world| {
        queue(world, "items", 100..110);
        resume_at(world, "items", 5);
        world.until_phase("items", Phase::Running);
        let begun = world.env.now();
        (200..300).for_each(|id| insert(world, "items", id));
        world.until("all of it is there", |world| there(world, "items") == 110);
        assert!(world.env.now() - begun < Duration::from_secs(5), "{:?}", world.env.now() - begun);
    });
}

/// A child whose parent has another cap stays behind it, in a lane of its own.
#[test]
fn maps_with_different_caps_do_not_pull_each_other_along() {
    check(|world| {
        queue(world, "customers", 100..140);
        world.until_phase("orders", Phase::Paused);
        world.ask("pause", Action::Pause, vec!["orders".into()]);
        world.rest(20);
        resume_at(world, "customers", 2);
        for order in 1..20 {
            let row = vec![Value::Int(order), Value::Int(100), Value::Int(order)];
            world.left.transaction(|t| t.insert(&table("orders"), row)).expect("a new order");
        }
        resume_at(world, "orders", 30);
        let begun = (world.env.now(), there(world, "customers"));
        pass(world, Duration::from_secs(5));
        let applied = there(world, "customers") - begun.1;
        assert!((6..=14).contains(&applied), "the parent's pace is its own: {applied}");
        for map in ["customers", "orders"] {
            world.until_phase(map, Phase::Running);
        }
    });
}

/// The parent's queue begins with a delete that waits for the child, which may not overtake the parent: only together
/// do they get on. They stood before each other for ever while lanes with different caps never joined.
#[test]
fn a_capped_parent_that_waits_for_its_child_goes_on_with_it() {
    check(|world| {
        insert(world, "customers", 1);
        let row = vec![Value::Int(1), Value::Int(1), Value::Int(1)];
        world.left.transaction(|t| t.insert(&table("orders"), row)).expect("a new order");
        world.until("both are there", |world| there(world, "orders") == 1);
        for map in ["orders", "customers"] {
            world.pause(map);
            world.until_phase(map, Phase::Paused);
        }
        let gone = world.left.transaction(|t| {
            t.delete(&table("orders"), vec![Value::Int(1)]);
            t.delete(&table("customers"), vec![Value::Int(1)]);
        });
        gone.expect("nothing refers to it");
        world.until("it is queued", |world| shown(world, "orders").flows[0].queue.records == 1);
        resume_at(world, "customers", 20);
        world.until("the parent stands", |world| shown(world, "customers").catch_up.is_some());
        world.resume("orders");
        for map in ["customers", "orders"] {
            world.until_phase(map, Phase::Running);
        }
        // The parent's delete may have been put off: it is tried again once the child has come as far.
        world.until("both are gone", |world| (there(world, "customers"), there(world, "orders")) == (0, 0));
    });
}

#[test]
fn more_than_is_applied_for_a_minute_is_said_and_what_is_over_is_not() {
    check(|world| {
        queue(world, "items", 100..130);
        resume_at(world, "items", 1);
        let begun = world.env.now();
        let mut next = 1_000;
        while world.env.now() < begun + Duration::from_secs(50) {
            insert(world, "items", next);
            insert(world, "items", next + 1);
            next += 2;
            pass(world, Duration::from_secs(1));
        }
        assert_eq!(outrun(world, "items"), None, "a burst is no trouble");
        while outrun(world, "items").is_none() {
            assert!(world.env.now() < begun + Duration::from_secs(90));
            insert(world, "items", next);
            insert(world, "items", next + 1);
            next += 2;
            pass(world, Duration::from_secs(1));
        }
        let said = outrun(world, "items").unwrap();
        let fix = said.fix.unwrap();
        assert!(fix.contains("tandem map skip items") && fix.contains("--rate"), "{fix}");
        assert!(said.reason.contains("records came"), "{}", said.reason);
        assert_eq!(shown(world, "items").catch_up.unwrap().progress.eta, None);

        pass(world, Duration::from_secs(60));
        world.until("it is over", |world| outrun(world, "items").is_none());
        assert_eq!(shown(world, "items").state.phase, Phase::Resuming);
        // The rest is applied without a cap.
        world.ask("pause", Action::Pause, vec!["items".into()]);
        world.until_phase("items", Phase::Paused);
    });
}
