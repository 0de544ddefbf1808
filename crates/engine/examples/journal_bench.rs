//! Measures the journal against SQLite as a store of queued records: `cargo run --release --example
//! journal_bench [folder]`. Both hold rows of about 200 bytes with an index by integration key, and make each
//! group durable before the next. SQLite: WAL, `synchronous = FULL`, one table, one index, prepared statements.

#![allow(clippy::print_stdout, missing_docs)]

use rusqlite::{Connection, params};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tandem_core::{
    Change, Commit, Entry, Fragment, IntegrationKey, JournalId, Kind, Op, Position, Relation, RelationColumn,
    Row, Seq, TableName, Value, WallTime,
};
use tandem_engine::disk::RealDisk;
use tandem_engine::journal::{FlowId, FlowSpec, Identity, Journal, PieceEnd, ReadLimit, Settings, Span};

const FLOW: FlowId = FlowId(1);
const GROUPS: [(usize, usize); 3] = [(1, 5_000), (100, 200_000), (1_000, 400_000)];
const LOOK_UPS: usize = 20_000;
const ROUNDS: usize = 3;

type Outcome = Result<[f64; 6], Box<dyn std::error::Error>>;
type Store = (&'static str, fn(&Path, usize, usize) -> Outcome);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    println!(
        "| store | group | durable rows/s | bytes/row | scan rows/s | look-ups/s | reclaim 90 %, ms | left, MB |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (group, rows) in GROUPS {
        let stores: [Store; 2] = [("journal", journal), ("SQLite", sqlite)];
        let mut found = [Vec::new(), Vec::new()];
        // In turns, so that what else the machine does meets both.
        for _ in 0..ROUNDS {
            for ((_, run), found) in stores.iter().zip(&mut found) {
                let folder = tempfile::tempdir_in(&root)?;
                found.push(run(folder.path(), group, rows)?);
            }
        }
        for ((name, _), found) in stores.iter().zip(&found) {
            let median = |cell: usize| {
                let mut cells: Vec<f64> = found.iter().map(|cells| cells[cell]).collect();
                cells.sort_by(f64::total_cmp);
                format!("{:.*}", usize::from(cell >= 4), cells[cells.len() / 2])
            };
            let cells: Vec<String> = (0..6).map(median).collect();
            println!("| {name} | {group} | {} |", cells.join(" | "));
        }
    }
    append_alone(tempfile::tempdir_in(&root)?.path())
}

fn relation() -> Arc<Relation> {
    let column = |name: &str| RelationColumn { name: name.into(), type_name: "text".into(), identity: true };
    let columns = ["id", "customer_no", "name", "credit", "updated", "note"].map(column).into();
    Arc::new(Relation { table: table(), columns })
}

fn table() -> TableName {
    TableName { schema: Some("public".into()), name: "customers".into() }
}

fn key(row: usize) -> String {
    format!("C-{row:010}")
}

fn note(row: usize) -> String {
    format!("{row:020} and a note of about a hundred bytes, as people leave them in such fields all day long")
}

fn change(relation: &Arc<Relation>, row: usize) -> Entry {
    let new = Row::of([
        Value::Int(row as i64),
        Value::Text(key(row).into()),
        Value::Text(format!("Customer number {row}").into()),
        Value::Typed(Kind::Decimal, "1250.75".into()),
        Value::Typed(Kind::TimestampTz, "2026-11-22 05:00:00.123456+00".into()),
        Value::Text(note(row).into()),
    ]);
    Entry::Change(Change { relation: Arc::clone(relation), op: Op::Insert { new } })
}

fn json(row: usize) -> String {
    format!(
        r#"{{"id":{row},"customer_no":"{}","name":"Customer number {row}","credit":"1250.75","updated":"2026-11-22 05:00:00.123456+00","note":"{}"}}"#,
        key(row),
        note(row)
    )
}

fn commit(row: usize) -> Option<Commit> {
    Some(Commit {
        position: Position(row.to_be_bytes().to_vec().into()),
        transaction: row.to_string().into(),
        committed_at: WallTime(row as i64),
    })
}

fn folder_bytes(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() { folder_bytes(&entry.path())? } else { meta.len() };
    }
    Ok(bytes)
}

fn per_second(count: usize, since: Instant) -> f64 {
    count as f64 / since.elapsed().as_secs_f64()
}

fn open(folder: &Path) -> Result<Journal, Box<dyn std::error::Error>> {
    let identity = Identity { journal: JournalId(1), stream: "bench".into() };
    let disk = Arc::new(RealDisk::new(folder)?);
    let mut journal = Journal::open(disk, "stream", identity, Settings::default())?;
    let key = vec!["customer_no".into()];
    journal.set_flows(vec![FlowSpec { flow: FLOW, table: table(), key, span: Span::beyond(Seq::ZERO) }])?;
    Ok(journal)
}

fn journal(folder: &Path, group: usize, rows: usize) -> Outcome {
    let mut journal = open(folder)?;
    let relation = relation();
    let single = |row| Fragment { entries: vec![change(&relation, row)], commit: commit(row), mark: None };
    let fragments: Vec<Fragment> = (0..rows).map(single).collect();
    let start = Instant::now();
    for chunk in fragments.chunks(group) {
        journal.append(chunk, WallTime(1))?;
        journal.sync()?;
    }
    let durable = per_second(rows, start);
    let bytes = folder_bytes(folder)? as f64 / rows as f64;
    let start = Instant::now();
    let mut reader = journal.reader(vec![(FLOW, Seq::ZERO)], Seq::ZERO);
    let mut seen = 0;
    loop {
        let piece = reader.next(ReadLimit { records: 1_000, bytes: 1 << 20, through: Seq(u64::MAX) })?;
        seen += piece.records.len();
        if piece.end == PieceEnd::Head {
            break;
        }
    }
    assert_eq!(seen, rows);
    let scan = per_second(rows, start);
    let start = Instant::now();
    for at in 0..LOOK_UPS {
        let row = at * 7_919 % rows;
        let hash = IntegrationKey::from_values(vec![Value::Text(key(row).into())]).hash();
        assert_eq!(journal.find(FLOW, hash, Seq::ZERO, 2)?, [Seq(row as u64 + 1)]);
    }
    let look_ups = per_second(LOOK_UPS, start);
    let start = Instant::now();
    journal.reclaim(&[(FLOW, Seq(rows as u64 * 9 / 10))], 0)?;
    let reclaim = start.elapsed().as_secs_f64() * 1e3;
    Ok([durable, bytes, scan, look_ups, reclaim, folder_bytes(folder)? as f64 / 1e6])
}

fn sqlite(folder: &Path, group: usize, rows: usize) -> Outcome {
    let mut db = Connection::open(folder.join("queue.db"))?;
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE queue (seq INTEGER PRIMARY KEY, flow INTEGER NOT NULL, key TEXT NOT NULL,
                             captured_at INTEGER NOT NULL, tx TEXT NOT NULL, position BLOB NOT NULL,
                             op INTEGER NOT NULL, row TEXT NOT NULL);
         CREATE INDEX queue_key ON queue (flow, key);",
    )?;
    let records: Vec<(String, String)> = (0..rows).map(|row| (key(row), json(row))).collect();
    let start = Instant::now();
    let mut row = 0usize;
    for chunk in records.chunks(group) {
        let tx = db.transaction()?;
        {
            let mut insert = tx.prepare_cached("INSERT INTO queue VALUES (?, 1, ?, 1, ?, ?, 1, ?)")?;
            for (key, json) in chunk {
                insert.execute(params![row as i64 + 1, key, row.to_string(), row.to_be_bytes(), json])?;
                row += 1;
            }
        }
        tx.commit()?;
    }
    let durable = per_second(rows, start);
    db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
    let bytes = folder_bytes(folder)? as f64 / rows as f64;
    let start = Instant::now();
    let (mut after, mut seen) = (0i64, 0usize);
    loop {
        let mut page = db.prepare_cached(
            "SELECT seq, key, captured_at, tx, position, op, row FROM queue
             WHERE seq > ? AND +flow = 1 ORDER BY seq LIMIT 1000",
        )?;
        let mut found = page.query([after])?;
        let before = seen;
        while let Some(row) = found.next()? {
            after = row.get(0)?;
            let (_, _, json): (String, String, String) = (row.get(1)?, row.get(3)?, row.get(6)?);
            let cells: serde_json::Value = serde_json::from_str(&json)?;
            seen += usize::from(cells.is_object());
        }
        if seen == before {
            break;
        }
    }
    assert_eq!(seen, rows);
    let scan = per_second(rows, start);
    let start = Instant::now();
    for at in 0..LOOK_UPS {
        let row = at * 7_919 % rows;
        let mut find = db.prepare_cached("SELECT seq FROM queue WHERE flow = 1 AND key = ? AND seq > 0")?;
        let seq: i64 = find.query_row([key(row)], |found| found.get(0))?;
        assert_eq!(seq, row as i64 + 1);
    }
    let look_ups = per_second(LOOK_UPS, start);
    let start = Instant::now();
    let through = rows as i64 * 9 / 10;
    let mut next = 0;
    while next < through {
        // In steps, as one must, so that appending is not held up.
        next = (next + 10_000).min(through);
        db.execute("DELETE FROM queue WHERE seq <= ?", [next])?;
    }
    db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
    let reclaim = start.elapsed().as_secs_f64() * 1e3;
    Ok([durable, bytes, scan, look_ups, reclaim, folder_bytes(folder)? as f64 / 1e6])
}

/// What appending alone costs: encoding, counting, indexing, writing, without waiting for the disk.
fn append_alone(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut journal = open(folder)?;
    let relation = relation();
    let rows = 400_000;
    let single = |row| Fragment { entries: vec![change(&relation, row)], commit: commit(row), mark: None };
    let fragments: Vec<Fragment> = (0..rows).map(single).collect();
    let start = Instant::now();
    for chunk in fragments.chunks(100) {
        journal.append(chunk, WallTime(1))?;
    }
    println!("\nappend without sync, 100 a call: {:.0} rows/s", per_second(rows, start));
    drop(journal);
    let start = Instant::now();
    let journal = open(folder)?;
    println!("open again, {} rows: {:.0} ms", journal.durable(), start.elapsed().as_secs_f64() * 1e3);
    Ok(())
}
