//! The hard limit while sixteen people write at once and a large transaction is on its way.

use crate::house::PATIENCE;
use crate::maintenance::{refused, until_allowed};
use crate::postgres::trouble;
use crate::twins::{End, Twins, Watch};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const WRITERS: u64 = 16;
/// Half of `max_queue_bytes` as text alone: the transaction has twice the limit, whatever the journal adds.
const BULK: &str = "INSERT INTO orders SELECT no, repeat('b', 1000) FROM generate_series(1, 1050) AS no";
const BULK_RECORDS: u64 = 1_050;
/// Nobody may wait longer for a record of the other map. Alone it takes some milliseconds; a machine that is busy with
/// other tests is slow, but a map that waited for the full one would wait for the whole of the test.
const SOON: Duration = Duration::from_secs(5);

/// Writes single records until the source refuses one with our message; says how many commits were answered.
fn write(twins: &Twins, writer: u64, acknowledged: &AtomicU64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = twins.server.connect("erp").await;
        let deadline = Instant::now() + PATIENCE;
        for no in 1.. {
            let id = 1_000_000 * writer + no;
            let insert = format!("INSERT INTO orders VALUES ({id}, repeat('w', 100))");
            match client.batch_execute(&insert).await {
                Ok(()) => acknowledged.fetch_add(1, Ordering::Relaxed),
                Err(error) => {
                    let error = error.as_db_error().expect("the server itself refuses it");
                    assert_eq!(error.code().code(), "TD002", "{error}");
                    assert!(error.message().contains("full"), "{error}");
                    return;
                }
            };
            assert!(Instant::now() < deadline, "writer {writer} was never refused");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn a_queue_that_gets_full_under_load_refuses_writes_and_loses_nothing_that_was_accepted() {
    let orders = ("orders", "limits = { max_queue_bytes = \"512kB\" }");
    let twins = Twins::new(
        "CREATE TABLE orders (id bigint PRIMARY KEY, note text); CREATE TABLE visits (id bigint PRIMARY KEY)",
        &[orders, ("visits", "")],
    );
    let tandem = twins.run();
    tandem.ok(&["map", "pause", "orders", "--wait"]);
    let (acknowledged, end) = (AtomicU64::new(0), End::default());

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let bulk = runtime.block_on(twins.server.connect("erp"));
    runtime.block_on(bulk.batch_execute(&format!("BEGIN; {BULK}"))).unwrap();

    let watch = Watch::new(&twins, &["visits"], Duration::from_millis(50));
    std::thread::scope(|scope| {
        let ending = end.when_dropped();
        let visits = scope.spawn(|| watch.until(&end));
        let writers: Vec<_> = (1..=WRITERS)
            .map(|writer| {
                let (twins, acknowledged) = (&twins, &acknowledged);
                scope.spawn(move || write(twins, writer, acknowledged))
            })
            .collect();
        // The limit is reached while the large transaction is open: it holds the table, so nothing is refused yet.
        tandem.until(&["map", "show", "orders"], |map| {
            trouble(map, "GuardArmed").is_some_and(|(reason, _)| reason.contains("queued meanwhile"))
        });
        runtime.block_on(bulk.batch_execute("COMMIT")).unwrap();
        writers.into_iter().for_each(|writer| writer.join().unwrap());

        let accepted = acknowledged.load(Ordering::Relaxed) + BULK_RECORDS;
        assert_eq!(twins.number("erp", "SELECT count(*) FROM orders"), accepted);
        tandem.until(&["queue", "stats", "orders"], |stats| stats["records"] == accepted);
        let stats = tandem.ok(&["queue", "stats", "orders"]);
        assert!(stats["bytes"].as_u64().unwrap() > 3 * (512 << 10), "limit and large transaction: {stats}");
        for statement in
            ["INSERT INTO orders VALUES (-1)", "UPDATE orders SET note = ''", "DELETE FROM orders"]
        {
            assert!(refused(&twins.server, statement).contains("tandem map resume orders"));
        }
        assert_eq!(twins.number("crm", "SELECT count(*) FROM orders"), 0, "it is paused");

        tandem.ok(&["map", "resume", "orders", "--wait"]);
        until_allowed(&twins.server, "INSERT INTO orders VALUES (-1)");
        twins.until_equal_of(&tandem, &["orders"], PATIENCE);
        assert_eq!(twins.number("crm", "SELECT count(*) FROM orders"), accepted + 1);

        drop(ending);
        let visits = visits.join().unwrap();
        let longest = visits.iter().map(|visit| visit.took()).max().unwrap();
        assert!(longest < SOON, "the other map waited {longest:?} of {} records", visits.len());
    });
    twins.until_equal(&tandem, PATIENCE);
    twins.no_error(&tandem);
}
