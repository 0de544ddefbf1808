//! Tables that are compared while users write and the engine crashes: what differs is found, nothing else is, and a
//! repair makes both sides equal.

use crate::paced::insert;
use crate::world::{Weather, World, table};
use tandem_core::Value;
use tandem_core::lifecycle::Phase;
use tandem_engine::{Difference, DifferenceKind, Verification};

/// Under so many orders.
const ORDERS: u64 = 60;

fn check(story: impl Fn(&mut World)) {
    let only = crate::number("TANDEM_SEED");
    for seed in only.map_or(0..ORDERS, |seed| seed..seed + 1) {
        let weather = Weather { users: 150, keeps: true, ..Weather::calm() };
        let mut world = World::new(seed, weather, only.is_some());
        world.run_all();
        story(&mut world);
    }
}

/// Compares until it comes to its end, with users at work and a crash now and then.
fn verified(world: &mut World, repairs: bool, crashes: u64) -> Verification {
    let mut left = crashes;
    for turn in 0..100_000_u64 {
        if let Some(seen) = world.verified("items") {
            return seen;
        }
        // After a crash there is none, and it is begun anew.
        if turn % 200 == 0 {
            world.verify("items", repairs);
        }
        if left > 0 && world.random.chance(20) {
            left -= 1;
            world.crash();
        }
        // Time passes only when nobody has anything to do.
        match turn % 400 < 150 {
            true => world.step(),
            false => world.rest(1),
        }
    }
    let seen = world.engine.as_ref().map(|engine| engine.verification(&"items".into()));
    panic!("seed {}: it never came to its end: {seen:#?}", world.seed);
}

fn ids(seen: &Verification) -> Vec<(i64, DifferenceKind)> {
    let id = |one: &Difference| match one.key.values() {
        [Value::Int(id)] => (*id, one.kind),
        other => panic!("no key of items: {other:?}"),
    };
    let mut ids: Vec<_> = seen.differences.iter().map(id).collect();
    ids.sort_by_key(|(id, _)| *id);
    ids
}

#[test]
fn seeded_differences_are_found_and_repaired_while_users_write_and_the_engine_crashes() {
    check(|world| {
        (100..110).for_each(|id| insert(world, "items", id));
        world.until("they are there", |world| world.right.rows(&table("items")).len() >= 10);
        let key = |id: i64| vec![Value::Int(id)];
        let seeded = world.right.transaction(|t| {
            t.delete(&table("items"), key(100));
            t.update(&table("items"), key(105), vec![("v", Value::Int(-1))]);
            t.insert(&table("items"), vec![Value::Int(200), Value::Int(0), Value::from("extra")]);
        });
        seeded.expect("nobody else uses these keys");
        let expected = [
            (100, DifferenceKind::MissingRight),
            (105, DifferenceKind::Changed),
            (200, DifferenceKind::MissingLeft),
        ];
        let crashes = world.seed % 3;
        let seen = verified(world, false, crashes);
        assert_eq!(ids(&seen), expected, "seed {}: {seen:#?}", world.seed);
        // A new start forgets the last one, so that the next one is seen.
        world.crash();
        world.until_phase("items", Phase::Running);
        let seen = verified(world, true, crashes);
        let found = ids(&seen);
        // What a crash has interrupted may be repaired by then.
        let is_expected = found.iter().all(|one| expected.contains(one));
        assert!(is_expected && (crashes > 0 || found.len() == 3), "seed {}: {seen:#?}", world.seed);
        assert_eq!(seen.counts.left_differing(), 0, "seed {}: {seen:#?}", world.seed);
        world.crash();
        world.until_phase("items", Phase::Running);
        let seen = verified(world, false, 0);
        assert_eq!(seen.counts.differing(), 0, "seed {}: {seen:#?}", world.seed);
        world.until("both sides are equal", |world| {
            world.left.rows(&table("items")) == world.right.rows(&table("items"))
        });
    });
}
