//! Rates of the PostgreSQL connector on a private server: rows per second captured, and applied in batches of
//! 1000, half inserts and half updates. Compare only runs on one machine.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement")]

use std::sync::Arc;
use std::time::Instant;
use tandem_connectors::postgres::Postgres;
use tandem_core::connect::{Advance, Begin, Owner, Part, Plan};
use tandem_core::{
    AppName, BarrierId, Epoch, JournalId, Kind, LaneId, Position, Seq, TableName, Target, Value, Write,
    WriteOp,
};
use tandem_proof_servers::{PostgresOptions, PostgresServer};

const ROWS: u64 = 300_000;
const OWNER: Owner = Owner { journal: JournalId(1), epoch: Epoch(1) };
const TABLE: &str = "CREATE TABLE customers (id bigint PRIMARY KEY, code text UNIQUE, name text,
    credit numeric(12,2), updated timestamptz, note text)";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let server = PostgresServer::start_new(PostgresOptions::default());
    runtime.block_on(async {
        capture(&server).await;
        for (plan, batch) in [(Plan::Fast, 1), (Plan::Fast, 100), (Plan::Fast, 1_000), (Plan::Exact, 1_000)] {
            apply(&server, plan, batch).await;
        }
    });
}

async fn capture(server: &PostgresServer) {
    let url = server.create_database("source").await;
    server.sql("source", TABLE).await;
    let connector = Postgres::connector(&AppName::from("source"), &url).unwrap();
    let mut source = connector.open_source(OWNER).await.unwrap();
    let start = source.enter(&[TableName::parse("customers").unwrap()], BarrierId(1)).await.unwrap();
    for n in 0..ROWS / 1_000 {
        let (from, to) = (n * 1_000, n * 1_000 + 999);
        let sql = format!(
            "INSERT INTO customers SELECT n, 'K-' || n, 'name ' || n, n, now(), repeat('x', 100)
             FROM generate_series({from}, {to}) n"
        );
        server.sql("source", &sql).await;
    }
    let mut capture = connector.open_capture(OWNER, &start).await.unwrap();
    let (begin, mut seen, mut batches) = (Instant::now(), 0, 0u64);
    while seen <= ROWS {
        let captured = capture.next().await.unwrap();
        seen += captured.fragments.iter().map(|fragment| fragment.entries.len() as u64).sum::<u64>();
        batches += 1;
    }
    let rate = seen as f64 / begin.elapsed().as_secs_f64();
    println!("capture: {rate:.0} rows/s in {batches} batches");
}

async fn apply(server: &PostgresServer, plan: Plan, batch: u64) {
    let name = format!("apply_{}_{batch}", if plan == Plan::Fast { "fast" } else { "exact" });
    let url = server.create_database(&name).await;
    server.sql(&name, TABLE).await;
    let connector = Postgres::connector(&AppName::from(name.as_str()), &url).unwrap();
    let mut apply = connector.open_apply(OWNER, "a→b").await.unwrap();
    apply.fence().await.unwrap();
    let columns = ["id", "code", "name", "credit", "updated", "note"];
    let target = Arc::new(Target {
        map: "customers".into(),
        table: TableName::parse("customers").unwrap(),
        columns: columns.iter().map(|column| Arc::from(*column)).collect(),
        key: vec![0],
        rank: 0,
        lookups: vec![],
    });
    let note = Value::from("x".repeat(100).as_str());
    let row = |id: u64, seq: u64| {
        WriteOp::Upsert(vec![
            Value::Int(id as i64),
            Value::from(format!("K-{id}").as_str()),
            Value::from(format!("name {seq}").as_str()),
            Value::Typed(Kind::Decimal, format!("{id}.25").into()),
            Value::Typed(Kind::TimestampTz, "2026-11-22 05:00:00.123456+00".into()),
            note.clone(),
        ])
    };
    let rows = if batch == 1 { 5_000 } else { ROWS };
    let mut batches = Vec::new();
    for from in (0..rows).step_by(batch as usize) {
        let writes: Vec<_> = (from..from + batch)
            .map(|seq| {
                // Every other write is of a record that is there.
                let id = if seq % 2 == 0 { seq } else { seq / 2 * 2 % (from + 1).max(1) };
                Write {
                    seq: Seq(seq + 1),
                    transaction: Seq(from + 1),
                    target: target.clone(),
                    op: row(id, seq),
                }
            })
            .collect();
        batches.push(writes);
    }
    let begin = Instant::now();
    let mut at = Seq::ZERO;
    for writes in &batches {
        let to = writes.last().unwrap().seq;
        let commit = Some(Advance { to, position: Position::default() });
        let begin = Some(Begin { lane: LaneId(1), from: at, first: at == Seq::ZERO });
        apply.apply(Part { begin, writes, plan, commit }).await.unwrap();
        at = to;
    }
    let rate = rows as f64 / begin.elapsed().as_secs_f64();
    println!("apply {plan:?}, {batch} a transaction: {rate:.0} rows/s");
}
