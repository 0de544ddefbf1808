//! Histories that broke an earlier engine, each found by a random schedule, told as what happens in it. Each is run
//! under many orders of its tasks, since the order is what broke it.

use crate::world::{Weather, World, table};
use tandem_connectors::memory::{Call, Reaction};
use tandem_core::Value;
use tandem_core::lifecycle::{Action, Phase, QueueFate};
use tandem_engine::{Engine, ErrorVerb};

/// Under so many orders.
const ORDERS: u64 = 200;

fn check(story: impl Fn(&mut World)) {
    check_in(|_| (), story);
}

/// With a destination that may lose its last transactions.
fn check_with_losses(story: impl Fn(&mut World)) {
    check_in(|calm| calm.losses = true, story);
}

/// With queues that are discarded: both sides need not be equal in the end, and what is missing must be what was told.
fn check_with_skips(story: impl Fn(&mut World)) {
    check_in(|calm| calm.skips = true, story);
}

fn check_in(with: impl Fn(&mut Weather), story: impl Fn(&mut World)) {
    let only = crate::number("TANDEM_SEED");
    if only.is_some() {
        crate::tell();
    }
    for seed in only.map_or(0..ORDERS, |seed| seed..seed + 1) {
        let mut calm = Weather::calm();
        with(&mut calm);
        let mut world = World::new(seed, calm, only.is_some());
        world.run_all();
        story(&mut world);
        world.settle();
    }
}

fn customer(world: &World, id: i64) {
    let row = vec![Value::Int(id), Value::Int(id), Value::from("long")];
    world.left.transaction(|t| t.insert(&table("customers"), row)).expect("a new customer");
}

fn item(world: &World, id: i64) {
    let row = vec![Value::Int(id), Value::Int(id), Value::from("long")];
    world.left.transaction(|t| t.insert(&table("items"), row)).expect("a new item");
}

fn order(world: &World, id: i64, customer: i64) {
    let row = vec![Value::Int(id), Value::Int(customer), Value::Int(id)];
    world.left.transaction(|t| t.insert(&table("orders"), row)).expect("a new order");
}

fn delete(world: &World, name: &str, id: i64) {
    world.left.transaction(|t| t.delete(&table(name), vec![Value::Int(id)])).expect("nothing refers to it");
}

/// The outcome of a COMMIT was unknown, the map was paused, and the engine restarted before it had read the
/// watermarks: what the lane's record said was taken for the truth, and the change was applied again at resume.
#[test]
fn a_pause_before_the_watermarks_are_read_does_not_apply_a_change_twice() {
    check(|world| {
        world.right.script(Call::Apply, Reaction::LoseReply);
        let row = vec![Value::Int(1), Value::Int(1), Value::from("long")];
        world.left.transaction(|t| t.insert(&table("items"), row)).expect("a new item");
        world.until("the change took effect", |world| !world.right.rows(&table("items")).is_empty());
        world.right.go_down();
        // The hold is saved, and the lane may not have let go yet.
        world.ask("pause", Action::Pause, vec!["items".into()]);
        world.rest(world.seed % 16);
        world.crash();
        world.pause("items");
        world.until_phase("items", Phase::Paused);
        world.right.come_back();
    });
}

/// The child's queue had an insert that needs the parent, which was deleted at the destination meanwhile: no foreign
/// key had refused that, since the child was not there yet.
#[test]
fn a_parents_delete_waits_for_the_queue_of_its_child() {
    check(|world| {
        customer(world, 1);
        world.pause("orders");
        world.until_phase("orders", Phase::Paused);
        order(world, 1, 1);
        delete(world, "orders", 1);
        // A change of key, so that the queue is applied in exact order and the insert is not netted away.
        customer(world, 2);
        order(world, 5, 2);
        let key = vec![Value::Int(5)];
        world
            .left
            .transaction(|t| t.update(&table("orders"), key, vec![("id", Value::Int(6))]))
            .expect("a free key");
        delete(world, "customers", 1);
        world.rest(200);
    });
}

/// The child caught up past the Seq at which its parent waited for it, and referred to a record that the parent was
/// only about to delete and to make again: the delete was refused for ever.
#[test]
fn a_child_does_not_overtake_the_parent_that_waits_for_it() {
    check(|world| {
        customer(world, 1);
        order(world, 1, 1);
        world.rest(100);
        world.pause("orders");
        world.until_phase("orders", Phase::Paused);
        delete(world, "orders", 1);
        delete(world, "customers", 1);
        customer(world, 1);
        order(world, 2, 1);
        world.rest(300);
        world.resume("orders");
    });
}

/// The child was on its way to the live lane when its parent was given a lane of its own; it went on to follow the
/// live lane, past its parent.
#[test]
fn a_lane_on_its_way_learns_that_its_parent_was_given_another_lane() {
    check(|world| {
        customer(world, 1);
        order(world, 1, 1);
        world.pause("orders");
        world.until_phase("orders", Phase::Paused);
        for round in 0..6 {
            order(world, 10 + round, 1);
        }
        world.resume("orders");
        world.rest(world.seed % 60);
        world
            .left
            .transaction(|t| {
                for id in [1, 10, 11, 12, 13, 14, 15] {
                    t.delete(&table("orders"), vec![Value::Int(id)]);
                }
                t.delete(&table("customers"), vec![Value::Int(1)]);
            })
            .expect("the orders go with it");
        customer(world, 1);
        order(world, 3, 1);
    });
}

/// The source broke off inside of a transaction of which pieces were in the journal; it came again from its start, and
/// the journal had half of it twice.
#[test]
fn a_transaction_that_breaks_off_is_journaled_once() {
    check(|world| {
        world.left.set_batch(2, 1);
        world
            .left
            .transaction(|t| {
                for id in 1..9 {
                    t.insert(&table("items"), vec![Value::Int(id), Value::Int(id), Value::from("long")]);
                }
            })
            .expect("new items");
        world.rest(5 + world.seed % 40);
        world.left.break_connections();
    });
}

/// While a map is paused its source refuses deletes, and when it runs again nothing of ours stands in the way.
#[test]
fn a_guard_stands_as_long_as_a_map_is_paused_whatever_happens_to_the_engine() {
    check_in(
        |calm| calm.guards = true,
        |world| {
            item(world, 0);
            world.until("it is there", |world| !world.right.rows(&table("items")).is_empty());
            world.pause("items");
            world.until_phase("items", Phase::Paused);
            world.until("the guard stands", |world| world.left.guards().len() == 1);
            let delete = |world: &World| {
                world.left.transaction(|t| t.delete(&table("items"), vec![Value::Int(0)])).map(drop)
            };
            assert!(delete(world).is_err(), "a delete is refused");
            world.crash();
            world.rest(world.seed % 50);
            assert!(delete(world).is_err(), "also while nobody is there");
            world.resume("items");
            world.until("the guard is gone", |world| world.left.guards().is_empty());
            delete(world).expect("a delete passes");
        },
    );
}

/// The live lane had nothing to do when the destination failed over to a copy that was behind, so nobody had noticed;
/// a resuming map made a connection of its own, and applied its queue to records that were older than it knew.
#[test]
fn a_new_connection_finds_out_that_the_destination_has_lost_something() {
    check_with_losses(|world| {
        for id in 0..3 {
            customer(world, id);
        }
        world.until("they are there", |world| world.right.rows(&table("customers")).len() == 4);
        world.pause("customers");
        world.until_phase("customers", Phase::Paused);
        customer(world, 3);
        world.rest(10);
        world.lose(2);
        world.resume("customers");
    });
}

/// A map had caught up and joined the live lane. What the destination lost then was from before: the live lane's
/// watermark told where that lane stood, which is further than the map had come in its own.
#[test]
fn a_map_that_joined_after_what_was_lost_goes_back_along_its_own_lane() {
    check_with_losses(|world| {
        world.pause("items");
        world.until_phase("items", Phase::Paused);
        for id in 0..3 {
            item(world, id);
            customer(world, id);
        }
        world.until("the other map goes on", |world| world.right.rows(&table("customers")).len() == 4);
        world.resume("items");
        world.until_phase("items", Phase::Running);
        customer(world, 3);
        world.until("they go on together", |world| world.right.rows(&table("customers")).len() == 5);
        let commits = 1 + usize::try_from(world.seed % 6).unwrap_or_default();
        world.lose(commits);
    });
}

/// A queue was skipped while the lane that applied it was on its way: between the request and the moment when the lane
/// let go, it went on beyond the place where the queue was cut off.
#[test]
fn a_lane_that_is_told_late_that_its_queue_was_skipped_doubles_nothing() {
    check_with_skips(|world| {
        world.pause("items");
        world.until_phase("items", Phase::Paused);
        item(world, 0);
        world.resume("items");
        world.rest(world.seed % 40);
        item(world, 1);
        world.ask("skip", Action::Skip(QueueFate::Discard), vec!["items".into()]);
        item(world, 2);
        world.rest(world.seed % 7);
        item(world, 3);
    });
}

fn account(world: &World, id: i64, mail: i64) {
    let row = vec![Value::Int(id), Value::Int(mail), Value::from("long")];
    world.left.transaction(|t| t.insert(&table("customers"), row)).expect("a new customer");
}

fn phase(world: &World, map: &str) -> Phase {
    let snapshot = world.engine.as_ref().map(Engine::snapshot).unwrap_or_default();
    let view = snapshot.maps.iter().find(|view| view.map.name.as_str() == map);
    view.map_or(Phase::NotRunning, |view| view.state.phase)
}

fn is_there(world: &World, name: &str, id: i64) -> bool {
    world.right.rows(&table(name)).iter().any(|row| row.first() == Some(&Value::Int(id)))
}

/// How many records of a map only wait for another.
fn waiting(world: &World, map: &str) -> u64 {
    let snapshot = world.engine.as_ref().map(Engine::snapshot).unwrap_or_default();
    let view = snapshot.maps.iter().find(|view| view.map.name.as_str() == map);
    view.map_or(0, |view| {
        assert_eq!(view.errors.trouble(), 0, "seed {}: it is no error", world.seed);
        view.errors.for_maps
    })
}

fn until_nothing_waits(world: &mut World) {
    world
        .until("nothing waits any more", |world| waiting(world, "customers") + waiting(world, "orders") == 0);
}

/// A customer gets another number, which nobody has.
fn renumber(world: &World, from: i64, to: i64) {
    let number = vec![("id", Value::Int(to))];
    world
        .left
        .transaction(|t| t.update(&table("customers"), vec![Value::Int(from)], number))
        .expect("the number is free");
}

/// Two customers are there, and the order of the first; orders are paused, then the order and its customer are deleted.
fn delete_a_customer_whose_orders_are_paused(world: &mut World) {
    account(world, 1, 7);
    account(world, 2, 8);
    order(world, 1, 1);
    world.until("they are there", |world| is_there(world, "orders", 1));
    world.pause("orders");
    world.until_phase("orders", Phase::Paused);
    delete(world, "orders", 1);
    delete(world, "customers", 1);
}

/// While the orders were paused for a weekend, one customer was deleted, and the live sync of all customers stood.
#[test]
fn a_parents_delete_holds_up_its_record_and_not_its_map() {
    check(|world| {
        delete_a_customer_whose_orders_are_paused(world);
        account(world, 3, 9);
        world.until("a new customer is there", |world| is_there(world, "customers", 3));
        assert!(is_there(world, "customers", 1), "seed {}: the order still needs it", world.seed);
        world.until("it is told that one waits", |world| waiting(world, "customers") == 1);
        if world.seed.is_multiple_of(3) {
            world.crash();
        }
        if world.seed.is_multiple_of(2) {
            // A person who does not know better: it goes on waiting.
            world.ask_of_errors(ErrorVerb::Retry, "customers".into(), false);
            world.rest(100);
        }
        delete(world, "customers", 2);
        account(world, 1, 11);
        account(world, 4, 8);
        world.until("what came later of the record is there", |world| {
            let rows = world.right.rows(&table("customers"));
            rows.iter().any(|row| row[..2] == [Value::Int(1), Value::Int(11)])
        });
        order(world, 2, 4);
        world.resume("orders");
        world.until("nothing waits any more", |world| {
            is_there(world, "orders", 2) && waiting(world, "customers") + waiting(world, "orders") == 0
        });
        assert!(!is_there(world, "customers", 2), "seed {}", world.seed);
        let told = world.events("customers");
        assert!(told.iter().any(|event| event == "errors.retry"), "seed {}: {told:?}", world.seed);
    });
}

/// So much of the customers waited that their map waited as a whole, for an order that waited itself; and what waited was
/// only tried again of maps that had caught up: neither went on any more.
#[test]
fn what_waits_is_tried_while_its_maps_still_catch_up() {
    check_in(
        |calm| calm.put_off_max = 2,
        |world| {
            (1..8).for_each(|id| account(world, id, id));
            order(world, 1, 2);
            world.until("they are there", |world| is_there(world, "orders", 1));
            world.pause("orders");
            world.until_phase("orders", Phase::Paused);
            renumber(world, 1, 9);
            order(world, 2, 9);
            world.until("one waits", |world| waiting(world, "customers") == 1);
            world.pause("customers");
            world.until_phase("customers", Phase::Paused);
            (3..8).for_each(|id| delete(world, "customers", id));
            world.resume("customers");
            world.until_phase("customers", Phase::Resuming);
            world.rest(world.seed % 200);
            world.resume("orders");
            world.until("nothing waits any more", |world| {
                is_there(world, "orders", 2) && !is_there(world, "customers", 7)
            });
        },
    );
}

/// A person had what waited refreshed while the orders were still paused: the source no longer has the customer, the
/// destination could not let go of it, and that became an error.
#[test]
fn a_refresh_of_what_waits_for_a_map_goes_on_waiting() {
    check_in(
        |calm| calm.refreshes = true,
        |world| {
            delete_a_customer_whose_orders_are_paused(world);
            world.until("one waits", |world| waiting(world, "customers") == 1);
            world.ask_of_errors(ErrorVerb::Retry, "customers".into(), false);
            world.rest(world.seed % 300);
            assert!(is_there(world, "customers", 1), "seed {}: its order is there", world.seed);
            world.resume("orders");
            world.until("it is gone", |world| {
                waiting(world, "customers") == 0 && !is_there(world, "customers", 1)
            });
        },
    );
}

/// What had waited of the customers was tried again, for which their map rests a moment, and the orders went on meanwhile:
/// one came to refer to the customer who was still to be deleted, instead of the one who has that number now.
#[test]
fn a_child_does_not_overtake_its_parent_that_rests_while_its_errors_are_tried_again() {
    check(|world| {
        (1..30).for_each(|id| account(world, id, id));
        order(world, 1, 2);
        world.until("they are there", |world| is_there(world, "orders", 1));
        world.pause("orders");
        world.until_phase("orders", Phase::Paused);
        renumber(world, 1, 100);
        world.until("one waits", |world| waiting(world, "customers") == 1);
        world.resume("orders");
        for id in 3..15 {
            world.rest(world.seed % 11);
            delete(world, "customers", id);
            renumber(world, id + 15, id);
            order(world, id, id);
        }
        world.until("all of it is there", |world| is_there(world, "orders", 14));
        until_nothing_waits(world);
    });
}

/// The customers were paused while their orders were still copied: an order was read that refers to a customer by the
/// number of another, who was still to be deleted at the destination.
#[test]
fn an_initial_sync_waits_while_a_map_is_paused_that_it_depends_on() {
    let mut waited = 0;
    for seed in 0..ORDERS {
        let mut world = World::new(seed, Weather { copies: true, ..Weather::calm() }, false);
        world.copy_all();
        world.until("customers are there", |world| phase(world, "customers") == Phase::Running);
        world.rest(seed % 20);
        world.pause("customers");
        world.until("customers are paused", |world| phase(world, "customers") == Phase::Paused);
        let last =
            world.left.rows(&table("customers")).iter().filter_map(|row| row.first().cloned()).next_back();
        let last = last.expect("there are some");
        world
            .left
            .transaction(|t| {
                t.delete(&table("orders"), vec![last.clone()]);
                t.delete(&table("customers"), vec![last.clone()]);
                t.insert(&table("customers"), vec![Value::Int(100), Value::Int(100), Value::from("long")]);
            })
            .expect("its order goes first");
        world
            .left
            .transaction(|t| {
                t.update(&table("customers"), vec![Value::Int(100)], vec![("id", last.clone())]);
                t.insert(&table("orders"), vec![Value::Int(7), last, Value::Int(100)]);
            })
            .expect("the number is free");
        world.rest(seed % 100);
        if matches!(phase(&world, "orders"), Phase::Initializing(_)) {
            waited += 1;
            let snapshot = world.engine.as_ref().map(Engine::snapshot).unwrap_or_default();
            let orders = snapshot.maps.iter().find(|view| view.map.name.as_str() == "orders");
            let fault = orders.and_then(|view| view.initial_sync.as_ref()?.fault.clone());
            assert!(fault.is_some_and(|fault| fault.message.contains("customers is paused")), "seed {seed}");
        }
        world.resume("customers");
        world.settle();
    }
    assert!(waited > ORDERS / 4, "{waited}");
}

/// A record got another key while its table was copied, and its long text is not told along with that: what the
/// destination had under the old key was out of date, and the copy had passed the place of the new one.
#[test]
fn a_record_whose_key_changes_while_its_table_is_copied_is_read_again() {
    for seed in 0..ORDERS {
        let mut world = World::new(seed, Weather { copies: true, ..Weather::calm() }, false);
        world.copy_all();
        world.rest(seed % 90);
        let last =
            world.left.rows(&table("customers")).iter().filter_map(|row| row.first().cloned()).next_back();
        let last = last.expect("there are some");
        world
            .left
            .transaction(|t| {
                t.delete(&table("orders"), vec![last.clone()]);
                t.update(&table("customers"), vec![last], vec![("id", Value::Int(-1))]);
            })
            .expect("its order goes first");
        world.settle();
    }
}

/// A customer was deleted while the orders were paused, another one got its number, and an order of that one was applied
/// before the delete: the first one could never be deleted any more.
#[test]
fn what_refers_to_a_record_whose_delete_was_put_off_waits_behind_it() {
    check(|world| {
        delete_a_customer_whose_orders_are_paused(world);
        renumber(world, 2, 1);
        world.until("both wait", |world| waiting(world, "customers") == 2);
        order(world, 2, 1);
        if world.seed.is_multiple_of(2) {
            world.resume("orders");
        }
        for id in 3..20 {
            world.rest(world.seed % 7);
            order(world, id, 1);
        }
        if !world.seed.is_multiple_of(2) {
            world.resume("orders");
        }
        world.until("all of it is there", |world| is_there(world, "orders", 19));
        until_nothing_waits(world);
    });
}

/// A new customer had the value of the deleted one, and an order referred to the new one: both were refused while they
/// only had to wait.
#[test]
fn what_is_refused_because_of_a_delete_that_was_put_off_waits_with_it() {
    check_in(
        |calm| calm.unique = true,
        |world| {
            account(world, 1, 7);
            order(world, 1, 1);
            world.until("they are there", |world| is_there(world, "orders", 1));
            world.pause("orders");
            world.until_phase("orders", Phase::Paused);
            delete(world, "orders", 1);
            delete(world, "customers", 1);
            account(world, 3, 7);
            order(world, 3, 3);
            account(world, 4, 8);
            world.until("another customer is there", |world| is_there(world, "customers", 4));
            world.until("two wait", |world| waiting(world, "customers") == 2);
            // It goes, and makes room for one more of that value.
            world
                .left
                .transaction(|t| {
                    t.delete(&table("orders"), vec![Value::Int(3)]);
                    t.delete(&table("customers"), vec![Value::Int(3)]);
                })
                .expect("the order goes with it");
            account(world, 5, 7);
            order(world, 5, 5);
            world.rest(world.seed % 60);
            world.resume("orders");
            world.until("all of it is there", |world| is_there(world, "orders", 5));
            until_nothing_waits(world);
        },
    );
}
