//! Histories that the source accepts and that batching, netting and grouping by table could break: what was valid there
//! is no error here, whether it comes one transaction at a time or as a queue of all of them.
//!
//! Some are written down, since they are what is known to break such systems. The rest is drawn at random: what the
//! source commits is valid by definition, what it refuses is rolled back and nobody's business. `TANDEM_SEED` draws others.

use crate::house::{House, PATIENCE, Server};
use crate::twins::{Twins, asked, config, no_error};
use std::fmt::Write;
use std::time::Instant;

/// The rules of the destination, and of a source that makes no exceptions. PostgreSQL and SQLite take the same words.
const SCHEMA: &str = "
CREATE TABLE coded (id int PRIMARY KEY, code text NOT NULL UNIQUE);
CREATE TABLE node (id int PRIMARY KEY, parent int REFERENCES node (id) DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE head (id int PRIMARY KEY, note text);
CREATE TABLE line (id int PRIMARY KEY, head int NOT NULL REFERENCES head (id) DEFERRABLE INITIALLY DEFERRED, note text);
";

const MAPS: [(&str, &str); 4] =
    [("coded", ""), ("node", ""), ("head", ""), ("line", "depends_on = [\"head\"]")];

/// Each is a transaction, in this order.
const HISTORY: [&str; 22] = [
    "INSERT INTO coded VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')",
    // Two values swapped, three rotated, with a value between that no transaction shows.
    "UPDATE coded SET code = '?' WHERE id = 1; UPDATE coded SET code = 'a' WHERE id = 2; UPDATE coded SET code = 'b' WHERE id = 1",
    "UPDATE coded SET code = '?' WHERE id = 1; UPDATE coded SET code = 'b' WHERE id = 3; UPDATE coded SET code = 'c' WHERE id = 2;
     UPDATE coded SET code = 'a' WHERE id = 1",
    // A value goes from record to record, over transactions that lie in one batch.
    "UPDATE coded SET code = 'e' WHERE id = 4",
    "INSERT INTO coded VALUES (5, 'd')",
    "DELETE FROM coded WHERE id = 5; INSERT INTO coded VALUES (6, 'd')",
    "UPDATE coded SET code = 'f' WHERE id = 6; INSERT INTO coded VALUES (5, 'd')",
    // Gone and there again, under the same key and under another one.
    "DELETE FROM coded WHERE id = 4; INSERT INTO coded VALUES (4, 'e')",
    "DELETE FROM coded WHERE id = 4; INSERT INTO coded VALUES (7, 'e'); INSERT INTO coded VALUES (4, 'g')",
    // Keys that change places, and one that wanders and comes home.
    "UPDATE coded SET id = 100 WHERE id = 1; UPDATE coded SET id = 1 WHERE id = 2; UPDATE coded SET id = 2 WHERE id = 100",
    "UPDATE coded SET id = 200 WHERE id = 7; UPDATE coded SET id = 201 WHERE id = 200; UPDATE coded SET id = 7 WHERE id = 201",
    // The child first; a ring; the ring turned round; the parent first gone.
    "INSERT INTO node VALUES (2, 1); INSERT INTO node VALUES (1, NULL)",
    "INSERT INTO node VALUES (3, 5), (4, 3), (5, 4); UPDATE node SET parent = 3 WHERE id = 1",
    "UPDATE node SET parent = 4 WHERE id = 3; UPDATE node SET parent = 5 WHERE id = 4; UPDATE node SET parent = 3 WHERE id = 5",
    "DELETE FROM node WHERE id = 1; UPDATE node SET parent = NULL WHERE id = 2; INSERT INTO node VALUES (1, 2)",
    "DELETE FROM node WHERE id IN (3, 4, 5); INSERT INTO node VALUES (6, 6)",
    // The same over two maps.
    "INSERT INTO line VALUES (1, 1, 'early'), (2, 1, 'early'); INSERT INTO head VALUES (1, 'late')",
    "INSERT INTO head VALUES (2, 'x'); UPDATE line SET head = 2 WHERE id = 2; INSERT INTO line VALUES (3, 2, 'y')",
    "DELETE FROM head WHERE id = 1; UPDATE line SET head = 2 WHERE id = 1",
    "DELETE FROM head WHERE id = 2; DELETE FROM line; INSERT INTO line VALUES (4, 2, 'z'); INSERT INTO head VALUES (2, 'again')",
    "DELETE FROM line WHERE id = 4; DELETE FROM head WHERE id = 2",
    "INSERT INTO head VALUES (2, 'once more'); INSERT INTO line VALUES (4, 2, 'once more')",
];

/// What only a source can say that checks uniqueness at the end of a transaction; its destination does not.
const LATE_CHECKS: &str = "
ALTER TABLE coded DROP CONSTRAINT coded_code_key;
ALTER TABLE coded ADD UNIQUE (code) DEFERRABLE INITIALLY DEFERRED;
";
const LATE_HISTORY: [&str; 3] = [
    "UPDATE coded SET code = CASE code WHEN 'a' THEN 'b' WHEN 'b' THEN 'c' WHEN 'c' THEN 'a' ELSE code END",
    "UPDATE coded SET code = 'h' WHERE id = 4; INSERT INTO coded VALUES (8, 'h'); UPDATE coded SET code = 'g' WHERE id = 4",
    "INSERT INTO coded SELECT 20 + n, 'n' || n FROM generate_series(0, 19) AS n;
     UPDATE coded SET code = 'n' || ((id - 20 + 7) % 20) WHERE id BETWEEN 20 AND 39",
];

/// A hundred times the same record in one batch: the last word counts, and it is a delete now and then.
fn many_times(round: usize) -> Vec<String> {
    let mut history = Vec::new();
    for n in 0..100 {
        history.push(match n % 4 {
            0 => format!("INSERT INTO coded VALUES (50, 'many {round} {n}')"),
            3 => "DELETE FROM coded WHERE id = 50".to_owned(),
            _ => format!("UPDATE coded SET code = 'many {round} {n}' WHERE id = 50"),
        });
    }
    history.push(format!("INSERT INTO coded VALUES (50, 'the end of {round}')"));
    history
}

/// Transactions over few keys and fewer values, so that they meet.
fn drawn(random: &mut Random, count: usize) -> Vec<String> {
    let mut history = Vec::new();
    for _ in 0..count {
        let mut sql = String::new();
        for _ in 0..=random.below(6) {
            let (id, other) = (60 + random.below(8), 60 + random.below(8));
            let code = random.below(9);
            let _ = match random.below(12) {
                0 | 1 => write!(sql, "INSERT INTO coded VALUES ({id}, 'r{code}');"),
                2 | 3 => write!(sql, "UPDATE coded SET code = 'r{code}' WHERE id = {id};"),
                4 => write!(sql, "UPDATE coded SET id = {other} WHERE id = {id};"),
                5 => write!(sql, "DELETE FROM coded WHERE id = {id};"),
                6 => write!(sql, "INSERT INTO node VALUES ({id}, {other});"),
                7 => write!(sql, "UPDATE node SET parent = {other} WHERE id = {id};"),
                8 => write!(sql, "DELETE FROM node WHERE id = {id};"),
                9 => write!(sql, "INSERT INTO head VALUES ({id}, 'r{code}');"),
                10 => write!(sql, "INSERT INTO line VALUES ({id}, {other}, 'r{code}');"),
                _ => write!(sql, "DELETE FROM head WHERE id = {id}; DELETE FROM line WHERE id = {other};"),
            };
        }
        history.push(sql);
    }
    history
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// Puts the maps into the states in which a history can come to them, one after the other, and lets it come.
fn in_every_way(tandem: &Server, write: impl Fn(usize), equal: impl Fn()) {
    let ways: [&[&str]; 3] = [&[], &["coded", "node", "head"], &["line"]];
    for (round, paused) in ways.into_iter().enumerate() {
        if !paused.is_empty() {
            tandem.ok(&[&["map", "pause", "--wait"], paused].concat());
        }
        write(round);
        if !paused.is_empty() {
            // What depends on a paused map was paused with it, and is resumed with it.
            tandem.ok(&[&["map", "resume", "--wait"], paused].concat());
        }
        equal();
    }
}

const CLEAN: &str = "DELETE FROM line; DELETE FROM head; DELETE FROM node; DELETE FROM coded";

#[test]
fn what_postgresql_accepted_is_accepted_by_postgresql_in_batches_and_alone() {
    let seed = asked("TANDEM_SEED", 307);
    let twins = Twins::new(SCHEMA, &MAPS);
    twins.erp(LATE_CHECKS);
    let tandem = twins.run();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let erp = runtime.block_on(twins.server.connect("erp"));
    let commit = |sql: &str| runtime.block_on(erp.batch_execute(&format!("BEGIN; {sql}; COMMIT")));
    in_every_way(
        &tandem,
        |round| {
            commit(CLEAN).unwrap();
            let written = HISTORY.iter().chain(&LATE_HISTORY).map(|sql| (*sql).to_owned());
            for sql in written.chain(many_times(round)) {
                commit(&sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            }
            let mut accepted = 0;
            for sql in drawn(&mut Random(seed + round as u64), 400) {
                match commit(&sql) {
                    Ok(()) => accepted += 1,
                    Err(_) => runtime.block_on(erp.batch_execute("ROLLBACK")).unwrap(),
                }
            }
            assert!(accepted > 50, "only {accepted} of the drawn transactions are valid");
        },
        || {
            twins.until_equal(&tandem, PATIENCE);
            twins.no_error(&tandem);
        },
    );
}

#[test]
fn what_sqlite_accepted_is_accepted_by_sqlite_in_batches_and_alone() {
    let seed = asked("TANDEM_SEED", 815);
    let house = House::new();
    for app in ["erp", "crm"] {
        house.app(app).execute_batch(SCHEMA).unwrap();
    }
    house.write("tandem.toml", &config(|app| format!("sqlite:{app}.db"), "", &MAPS));
    let tandem = house.serve();
    tandem.ok(&["map", "run", "coded", "node", "head", "line", "--no-initial-sync", "--wait"]);
    let erp = house.app("erp");
    let commit = |sql: &str| erp.execute_batch(&format!("BEGIN IMMEDIATE; {sql}; COMMIT"));
    in_every_way(
        &tandem,
        |round| {
            commit(CLEAN).unwrap();
            for sql in HISTORY.iter().map(|sql| (*sql).to_owned()).chain(many_times(round)) {
                commit(&sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            }
            let mut accepted = 0;
            for sql in drawn(&mut Random(seed + round as u64), 150) {
                match commit(&sql) {
                    Ok(()) => accepted += 1,
                    Err(_) => erp.execute_batch("ROLLBACK").unwrap(),
                }
            }
            assert!(accepted > 20, "only {accepted} of the drawn transactions are valid");
        },
        || {
            let deadline = Instant::now() + PATIENCE;
            for (table, _) in MAPS {
                let rows = |app: &str| {
                    let database = house.app(app);
                    let mut statement =
                        database.prepare(&format!("SELECT * FROM {table} ORDER BY id")).unwrap();
                    let width = statement.column_count();
                    let row = |row: &rusqlite::Row<'_>| {
                        (0..width)
                            .map(|column| row.get(column))
                            .collect::<Result<Vec<rusqlite::types::Value>, _>>()
                    };
                    statement.query_map([], row).unwrap().collect::<Result<Vec<_>, _>>().unwrap()
                };
                while rows("erp") != rows("crm") {
                    let errors = tandem.ok(&["error", "list", table]);
                    assert!(
                        Instant::now() < deadline,
                        "{table}: {:?} {:?} {errors}",
                        rows("erp"),
                        rows("crm")
                    );
                    std::thread::sleep(std::time::Duration::from_millis(50));
                }
                no_error(&tandem, table);
            }
        },
    );
}
