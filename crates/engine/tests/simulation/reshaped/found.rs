//! Histories of tables that changed, each of which broke an earlier engine and was found by a random schedule, told as
//! what happens in it. Each is run under many orders of its tasks.

use super::people::says_why;
use super::tables::{Declared, LEFT};
use super::{Reshaped, Weather};
use crate::world::table;
use tandem_connectors::memory::Alter;
use tandem_core::Value;
use tandem_core::lifecycle::{Action, Phase, QueueFate, ResumeMode};
use tandem_engine::store::{ErrorQuery, Store};

/// Under so many orders.
const ORDERS: u64 = 60;
/// Tables are emptied.
const TRUNCATES: Weather = Weather { truncates: true, ..Weather::CALM };
const CUSTOMERS: usize = 0;
const ORDERED: usize = 1;
const ITEMS: usize = 2;

fn check(weather: Weather, story: impl Fn(&mut Reshaped)) {
    let only = crate::number("TANDEM_SEED");
    if only.is_some() {
        crate::tell();
    }
    for seed in only.map_or(0..ORDERS, |seed| seed..seed + 1) {
        let mut world = Reshaped::new(seed, weather, only.is_some());
        story(&mut world);
        world.settle();
    }
}

fn insert(world: &mut Reshaped, place: usize, id: i64) {
    let row = world.row(place, id, id);
    let name = table(world.tables[place].name);
    world.apps[LEFT].transaction(|t| t.insert(&name, row)).expect("nobody has the key");
    world.truth.refers(id, Value::Int(id));
}

fn there(world: &Reshaped, place: usize) -> usize {
    world.tables[place].records(super::tables::RIGHT, &world.apps[1]).len()
}

fn queued(world: &Reshaped, map: &str) -> u64 {
    let snapshot = world.snapshot();
    let flows =
        snapshot.maps.iter().filter(|view| view.map.name.as_str() == map).flat_map(|view| &view.flows);
    flows.map(|flow| flow.queue.records).sum()
}

fn truncate(world: &mut Reshaped, place: usize) {
    world.tables[place].records_unlogged = true;
    let name = table(world.tables[place].name);
    world.apps[LEFT].transaction(|t| t.truncate(&name)).expect("nothing refers to it");
}

fn pause(world: &mut Reshaped, map: &str) {
    world.ask("pause", Action::Pause, vec![map.into()]);
    until_phase(world, map, Phase::Paused);
}

fn resume(world: &mut Reshaped, map: &str) {
    world.ask("resume", Action::Resume(ResumeMode::CatchUp), vec![map.into()]);
}

fn until_phase(world: &mut Reshaped, map: &str, phase: Phase) {
    world.until(phase.name(), |world| world.phase(map) == Some(phase));
}

/// The orders were held, since their table was emptied; their customers were paused beside that, and resumed. The orders
/// were still held, and no longer said why.
#[test]
fn a_map_that_is_held_for_its_table_says_why_also_when_its_parent_is_resumed() {
    check(TRUNCATES, |world| {
        insert(world, CUSTOMERS, 1);
        insert(world, ORDERED, 1);
        world.until("they are there", |world| there(world, ORDERED) == 1);
        truncate(world, ORDERED);
        until_phase(world, "orders", Phase::Paused);
        pause(world, "customers");
        resume(world, "customers");
        until_phase(world, "customers", Phase::Running);
        world.rest(100);
        let snapshot = world.snapshot();
        let orders =
            snapshot.maps.iter().find(|view| view.map.name.as_str() == "orders").expect("it is declared");
        assert!(orders.state.phase == Phase::Paused && says_why(orders), "seed {}: {orders:#?}", world.seed);
    });
}

/// A table was emptied while its map was paused, then a column was renamed and the map edited. What went was told as a
/// record that lacks a column, which was to be tried again with its current row: it could not be, and never went.
#[test]
fn a_truncate_of_a_table_that_had_another_shape_is_told_as_one() {
    check(TRUNCATES, |world| {
        insert(world, ITEMS, 1);
        world.until("it is there", |world| there(world, ITEMS) == 1);
        pause(world, "items");
        truncate(world, ITEMS);
        world.until("it is queued", |world| queued(world, "items") == 1);
        let name = world.tables[ITEMS].sides[LEFT][0].name.clone();
        world.alter(ITEMS, LEFT, Alter::Rename { from: name, to: "n6_1".into() });
        if world.tables[ITEMS].declared.pairs.is_some() {
            let declared = Declared { pairs: Some(world.tables[ITEMS].common()), lookup: None };
            world.edit(ITEMS, declared);
            world.until("it is edited", |world| world.editing.is_none());
        } else {
            world.mend(ITEMS);
        }
        resume(world, "items");
        world.until("it is noted", |world| {
            let snapshot = world.snapshot();
            snapshot.maps.iter().any(|view| view.errors.total() > 0)
        });
        let errors = world.store.errors(&ErrorQuery { limit: 10, ..ErrorQuery::default() });
        let errors = errors.expect("a store in memory").items;
        let codes: Vec<_> = errors.iter().filter_map(|error| error.fault.code.as_deref()).collect();
        assert_eq!(codes, ["truncated"], "seed {}: {errors:#?}", world.seed);
    });
}

/// A map was stopped in the moment in which the lane of all maps began to run: the journal knew the map no more, which
/// was taken for a broken disk, and nothing went on before a restart.
#[test]
fn a_map_that_is_stopped_while_a_lane_begins_leaves_the_others_running() {
    check(Weather::CALM, |world| {
        insert(world, CUSTOMERS, 1);
        insert(world, ITEMS, 1);
        world.crash();
        world.rest(world.seed % 30);
        world.tables[ITEMS].records_unlogged = true;
        world.ask("stop", Action::Stop(Some(QueueFate::Discard)), vec!["items".into()]);
        insert(world, CUSTOMERS, 2);
        world.until("the others go on", |world| there(world, CUSTOMERS) == 2);
    });
}

/// The customers were paused, and the orders with them; then they were stopped instead, and run again. The orders waited
/// for them to be resumed, for ever: neither of the two could be.
#[test]
fn a_map_that_is_run_again_lets_go_what_was_held_when_it_was_paused() {
    check(Weather::CALM, |world| {
        insert(world, CUSTOMERS, 1);
        pause(world, "customers");
        until_phase(world, "orders", Phase::Paused);
        world.tables[CUSTOMERS].records_unlogged = true;
        world.ask("stop", Action::Stop(Some(QueueFate::Discard)), vec!["customers".into()]);
        until_phase(world, "customers", Phase::NotRunning);
        world.rest(100);
        assert_eq!(world.phase("orders"), Some(Phase::Paused), "its parent is not live");
        world.ask("run", Action::Run { initial_sync: true }, vec!["customers".into()]);
        until_phase(world, "orders", Phase::Running);
    });
}
