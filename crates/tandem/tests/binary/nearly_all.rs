//! A large transaction of which the destination refuses a few records: those few are errors, and nothing else is.
//!
//! `TANDEM_ROWS=2000000` makes it as large as what people really load; `make chaos` does.

use crate::twins::{Twins, asked};
use std::time::{Duration, Instant};

/// How many records the destination refuses.
const BAD: u64 = 10;

/// The engine may have no more memory than this, however large a transaction is.
const MEMORY: u64 = 512 << 20;

#[test]
fn ten_bad_records_of_a_large_transaction_are_ten_errors_and_all_others_are_there() {
    let rows = asked("TANDEM_ROWS", 200_000);
    let patience = Duration::from_secs(60 + rows / 2_000);
    let twins = Twins::new("CREATE TABLE items (id bigint PRIMARY KEY, note text)", &[("items", "")]);
    let bad = format!("(id % {} = 7)", rows / BAD);
    let check = format!("ALTER TABLE items ADD CONSTRAINT good CHECK (NOT {bad})");
    twins.server.sql_blocking("crm", &check);
    let tandem = twins.run();

    let began = Instant::now();
    twins.erp(&format!("INSERT INTO items SELECT id, md5(id::text) FROM generate_series(1, {rows}) AS id"));
    let loaded = began.elapsed();
    let deadline = Instant::now() + patience;
    while twins.number("crm", "SELECT count(*) FROM items") < rows - BAD {
        assert!(Instant::now() < deadline, "{}", tandem.ok(&["map", "show", "items"]));
        std::thread::sleep(Duration::from_millis(100));
    }
    let took = began.elapsed() - loaded;

    let all = "SELECT count(*), md5(string_agg(i::text, '|' ORDER BY id)) FROM items AS i";
    let good = twins.server.sql_blocking("erp", &format!("{all} WHERE NOT {bad}"));
    assert_eq!(twins.server.sql_blocking("crm", all), good);
    let errors = tandem.ok(&["error", "list", "items", "--status", "all"]);
    let mut keys: Vec<u64> = errors["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| {
            assert_eq!((&error["status"], &error["code"]), (&"open".into(), &"23514".into()), "{error}");
            error["key"][0].as_u64().unwrap_or_else(|| error["key"][0].as_str().unwrap().parse().unwrap())
        })
        .collect();
    keys.sort_unstable();
    let wanted: Vec<u64> = (0..BAD).map(|no| no * (rows / BAD) + 7).collect();
    assert_eq!(keys, wanted);
    let memory = tandem.peak_memory();
    assert!(memory < MEMORY, "{} MB", memory >> 20);

    // Mended at the destination, the ten come too.
    twins.server.sql_blocking("crm", "ALTER TABLE items DROP CONSTRAINT good");
    tandem.ok(&["error", "retry", "items", "--all", "--wait"]);
    twins.until_equal(&tandem, patience);
    eprintln!(
        "{rows} records: {loaded:?} at the source, {took:?} more at the destination, {} MB",
        memory >> 20
    );
}
