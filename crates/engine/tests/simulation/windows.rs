//! Pauses that are planned to end, under many orders of the tasks and with crashes between.

use crate::paced::{insert, pass, shown, there};
use crate::world::{Weather, World};
use std::time::Duration;
use tandem_core::lifecycle::{Action, Phase, ResumeMode};
use tandem_engine::env::Env;
use tandem_engine::{Condition, ConditionKind, Request, WindowAsked, WindowEnd};

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

fn pause(world: &mut World, map: &str, seconds: u64, then_resume: bool) {
    let end = WindowEnd::In(Duration::from_secs(seconds));
    let request = Request::new(Action::Pause, vec![map.into()], "sim");
    world.send("pause", Request { window: Some(WindowAsked { end, then_resume }), ..request });
    world.until_phase(map, Phase::Paused);
    world.until("the end is shown", |world| shown(world, map).window.is_some());
}

fn reminder(world: &World, map: &str) -> Option<Condition> {
    shown(world, map).conditions.into_iter().find(|found| found.kind == ConditionKind::WindowOver)
}

fn times(world: &World, map: &str, event: &str) -> usize {
    world.events(map).iter().filter(|found| *found == event).count()
}

#[test]
fn a_planned_pause_reminds_of_its_end_once_and_ends_by_hand() {
    check(|world| {
        pause(world, "items", 60, false);
        pass(world, Duration::from_secs(30));
        if world.seed % 2 == 0 {
            world.crash();
        }
        world.until("it is shown", |world| shown(world, "items").window.is_some());
        assert_eq!((reminder(world, "items"), times(world, "items", "map.window_over")), (None, 0));
        pass(world, Duration::from_secs(40));
        world.until("it reminds", |world| reminder(world, "items").is_some());
        world.until("it is told", |world| !world.told.all().is_empty());
        world.crash();
        pass(world, Duration::from_secs(30));
        world.until("it reminds still", |world| reminder(world, "items").is_some());
        assert_eq!(times(world, "items", "map.window_over"), 1);
        let told = world.told.all();
        assert!(told.len() == 1 && told[0].starts_with("the planned pause of items is over"), "{told:?}");
        assert_eq!(shown(world, "items").state.phase, Phase::Paused, "nobody wanted more");

        // The end is moved, and it is quiet until then.
        pause(world, "items", 300, false);
        world.until("it is quiet", |world| reminder(world, "items").is_none());
        world.resume("items");
        world.until_phase("items", Phase::Running);
        assert_eq!(shown(world, "items").window, None);
    });
}

#[test]
fn a_map_is_resumed_at_the_planned_end_whatever_happens_to_the_engine_before() {
    check(|world| {
        pause(world, "customers", 60, true);
        let begun = world.env.now();
        insert(world, "customers", 7);
        let crashes = world.seed % 3;
        for _ in 0..crashes {
            pass(world, Duration::from_secs(25));
            world.crash();
        }
        world.until("it is there", |world| there(world, "customers") == 1);
        assert!(world.env.now() - begun >= Duration::from_secs(55), "{:?}", world.env.now() - begun);
        world.until_phase("customers", Phase::Running);
        // What was paused for its sake goes on with it.
        world.until_phase("orders", Phase::Running);
        assert_eq!(
            (times(world, "customers", "map.window_over"), times(world, "customers", "map.resume")),
            (1, 1)
        );
        assert_eq!((shown(world, "customers").window, reminder(world, "customers")), (None, None));
    });
}

/// A parent that a person paused after it stands in the way, and no longer than it is paused.
#[test]
fn what_else_holds_a_map_is_waited_for() {
    check(|world| {
        pause(world, "orders", 30, true);
        world.pause("customers");
        world.until_phase("customers", Phase::Paused);
        pass(world, Duration::from_secs(60));
        let said = reminder(world, "orders").expect("it is over");
        assert!(said.reason.contains("depends on customers, which is paused, too"), "{}", said.reason);
        assert_eq!(shown(world, "orders").state.phase, Phase::Paused);
        world.resume("customers");
        world.until_phase("orders", Phase::Running);
    });
}

/// A destination that does not answer is asked again with growing waits; people hear of it once.
#[test]
fn a_resume_that_cannot_be_is_tried_again_and_told_of_once() {
    check(|world| {
        pause(world, "items", 30, true);
        world.right.go_down();
        pass(world, Duration::from_secs(120));
        let said = reminder(world, "items").expect("it is over");
        assert!(said.reason.contains("tried again and again"), "{}", said.reason);
        assert_eq!(shown(world, "items").state.phase, Phase::Paused);
        let told = world.told.all();
        let stuck = |told: &&String| told.starts_with("not resumed after the planned pause: items");
        assert_eq!((told.len(), told.iter().filter(stuck).count()), (2, 1), "{told:?}");
        world.right.come_back();
        world.until_phase("items", Phase::Running);
        assert_eq!(world.told.all().len(), 2);
    });
}

#[test]
fn a_resume_by_hand_before_the_end_is_the_end() {
    check(|world| {
        pause(world, "items", 60, true);
        world.ask("resume", Action::Resume(ResumeMode::CatchUp), vec!["items".into()]);
        world.until_phase("items", Phase::Running);
        world.pause("items");
        world.until_phase("items", Phase::Paused);
        pass(world, Duration::from_secs(120));
        assert_eq!(shown(world, "items").state.phase, Phase::Paused, "this pause has no end");
        assert_eq!(world.told.all(), [""; 0]);
    });
}
