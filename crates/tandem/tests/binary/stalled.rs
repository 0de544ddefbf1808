//! One of ten tables of the destination is locked: the other nine go on, and it joins them again by itself.
//!
//! The lock is held for 40 s; `TANDEM_LOCK_SECONDS=300` holds it for five minutes, as `make chaos` does.

use crate::house::{PATIENCE, Server};
use crate::postgres::trouble;
use crate::twins::{Arrival, End, Twins, Watch, asked, p99};
use std::fmt::Write;
use std::time::{Duration, Instant};

const TABLES: [&str; 10] = ["t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8", "t9"];
const LOCKED: usize = 3;
/// A record into some table every so often.
const EVERY: Duration = Duration::from_millis(10);
/// How long the others may be held up until the one that is in their way is put aside: the engine wants 10 s.
const ASIDE: Duration = Duration::from_secs(15);
/// How long a record of the others may take after that. A lane that waits for the lock waits for seconds.
const SOON: Duration = Duration::from_millis(1_500);

fn is_stalled(tandem: &Server, table: usize) -> bool {
    trouble(&tandem.ok(&["map", "show", TABLES[table]]), "Stalled").is_some()
}

/// The p99 of each table's records that were committed between two moments.
fn each(arrivals: &[Arrival], from: Instant, to: Instant) -> Vec<Duration> {
    let within = |arrival: &&Arrival| from <= arrival.committed && arrival.committed < to;
    let of = |table| arrivals.iter().filter(move |arrival| arrival.table == table).filter(within);
    (0..TABLES.len()).map(|table| p99(of(table).map(Arrival::took))).collect()
}

#[test]
fn a_table_that_is_locked_holds_up_none_of_the_others_and_joins_them_again() {
    let held = Duration::from_secs(asked("TANDEM_LOCK_SECONDS", 40));
    let mut schema = String::new();
    TABLES.iter().for_each(|table| write!(schema, "CREATE TABLE {table} (id bigint PRIMARY KEY);").unwrap());
    let twins = Twins::new(&schema, &TABLES.map(|table| (table, "")));
    let tandem = twins.run();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let crm = runtime.block_on(twins.server.connect("crm"));
    let end = End::default();

    let watch = Watch::new(&twins, &TABLES, EVERY);
    let (arrivals, began, locked, aside, unlocked) = std::thread::scope(|scope| {
        let ending = end.when_dropped();
        let watching = scope.spawn(|| watch.until(&end));
        let seconds = |moment: Instant, wanted: Duration| {
            // What is waited for is time itself: a quiet stretch to compare with, and the length of the lock.
            std::thread::sleep(wanted.saturating_sub(moment.elapsed()));
        };
        let began = Instant::now();
        seconds(began, Duration::from_secs(5));

        let locked = Instant::now();
        let lock = format!("BEGIN; LOCK TABLE {} IN EXCLUSIVE MODE", TABLES[LOCKED]);
        runtime.block_on(crm.batch_execute(&lock)).unwrap();
        while !is_stalled(&tandem, LOCKED) {
            assert!(locked.elapsed() < ASIDE, "nothing is stalled");
            std::thread::sleep(Duration::from_millis(50));
        }
        let aside = Instant::now();
        seconds(locked, held);
        let stalled: Vec<usize> = (0..TABLES.len()).filter(|table| is_stalled(&tandem, *table)).collect();
        assert_eq!(stalled, [LOCKED], "one table is locked, and one is named");
        let is_away = |table: &usize| {
            let shown = tandem.ok(&["map", "show", TABLES[*table]]);
            trouble(&shown, "DestinationConnected").is_some()
        };
        assert_eq!((0..TABLES.len()).find(is_away), None, "the destination answers all the while");
        runtime.block_on(crm.batch_execute("COMMIT")).unwrap();
        let unlocked = Instant::now();
        let deadline = unlocked + PATIENCE;
        while is_stalled(&tandem, LOCKED) {
            assert!(Instant::now() < deadline, "it does not join again");
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(ending);
        (watching.join().unwrap(), began, locked, aside, unlocked)
    });

    let before = each(&arrivals, began, locked);
    let until_aside = each(&arrivals, locked, aside);
    let meanwhile = each(&arrivals, aside, unlocked);
    eprintln!("p99 before {before:?}\nuntil it is put aside {until_aside:?}\nmeanwhile {meanwhile:?}");
    for table in (0..TABLES.len()).filter(|table| *table != LOCKED) {
        assert!(until_aside[table] < ASIDE, "{}: {:?}", TABLES[table], until_aside[table]);
        assert!(meanwhile[table] < SOON, "{}: {:?}", TABLES[table], meanwhile[table]);
    }
    assert!(meanwhile[LOCKED] > SOON, "the lock was felt: {:?}", meanwhile[LOCKED]);
    twins.until_equal(&tandem, PATIENCE);
    twins.no_error(&tandem);
}
