//! What the tests share: one server for all of them, a database for each, and the shortest way to capture and
//! apply.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tandem_connectors::postgres::Postgres;
use tandem_core::connect::{
    Advance, Applied, Apply, ApplyFault, Begin, Capture, Connector, Owner, Part, Plan, Source,
};
use tandem_core::{
    AppName, BarrierId, Cell, Change, Entry, Epoch, Fragment, IntegrationKey, JournalId, LaneId, Position,
    Seq, TableName, Target, Value, Write, WriteOp,
};
use tandem_proof_servers::{PostgresOptions, PostgresServer};
use tokio_postgres::Client;

/// A real server may be slow; nothing here takes this long unless it never happens.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const OURS: Owner = Owner { journal: JournalId(0xabc), epoch: Epoch(1) };

/// The server that most tests share.
pub(crate) fn server() -> &'static PostgresServer {
    static SERVER: OnceLock<PostgresServer> = OnceLock::new();
    SERVER.get_or_init(|| {
        let options = PostgresOptions { fsync: false, max_wal_senders: 60, ..PostgresOptions::default() };
        PostgresServer::start_new(options)
    })
}

/// A database of a test's own, as an app.
pub(crate) struct App {
    pub(crate) name: String,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) sql: Client,
}

pub(crate) async fn app(ddl: &str) -> App {
    app_on(server(), ddl).await
}

pub(crate) async fn app_on(server: &PostgresServer, ddl: &str) -> App {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("app{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let url = server.create_database(&name).await;
    let sql = server.connect(&name).await;
    sql.batch_execute(ddl).await.unwrap();
    let connector = Postgres::connector(&AppName::from(name.as_str()), &url).unwrap();
    App { name, connector, sql }
}

pub(crate) fn table(name: &str) -> TableName {
    TableName::parse(name).unwrap()
}

impl App {
    pub(crate) async fn run(&self, sql: &str) {
        self.sql.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The rows of a query as `a|b`, nulls as `~`.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<String> {
        let messages = self.sql.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let row = |message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => {
                let cells: Vec<_> =
                    (0..row.len()).map(|column| row.get(column).unwrap_or("~").to_owned()).collect();
                Some(cells.join("|"))
            }
            _ => None,
        };
        messages.into_iter().filter_map(row).collect()
    }

    /// Asks until there are rows, or none.
    pub(crate) async fn until(&self, sql: &str, some: bool) {
        let asking = async {
            while self.rows(sql).await.is_empty() == some {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("never: {sql}"));
    }

    pub(crate) async fn source(&self) -> Box<dyn Source> {
        self.connector.open_source(OURS).await.unwrap()
    }

    /// Puts tables into capture and opens one behind the barrier.
    pub(crate) async fn captured(&self, tables: &[&str]) -> Tape {
        let tables: Vec<_> = tables.iter().map(|name| table(name)).collect();
        let mut source = self.source().await;
        let start = source.enter(&tables, BarrierId(1)).await.unwrap();
        let capture = self.connector.open_capture(OURS, &start).await.unwrap();
        let mut tape = Tape { capture, position: start, entries: Vec::new(), fragments: 0 };
        tape.until_barrier(1).await;
        tape
    }

    pub(crate) async fn writer(&self) -> Writer {
        let mut apply = self.connector.open_apply(OURS, "left→right").await.unwrap();
        apply.fence().await.unwrap();
        Writer { apply, at: Seq(0), first: true }
    }
}

/// A capture that is being read.
pub(crate) struct Tape {
    pub(crate) capture: Box<dyn Capture>,
    /// Behind the last whole transaction, or the last idle position.
    pub(crate) position: Position,
    /// What was read since it was last taken.
    pub(crate) entries: Vec<Entry>,
    pub(crate) fragments: usize,
}

impl Tape {
    pub(crate) async fn step(&mut self) -> Vec<Fragment> {
        let captured =
            tokio::time::timeout(PATIENCE, self.capture.next()).await.expect("the log goes on").unwrap();
        for fragment in &captured.fragments {
            self.fragments += 1;
            self.entries.extend(fragment.entries.iter().cloned());
            if let Some(commit) = &fragment.commit {
                self.position = commit.position.clone();
            }
        }
        if let Some(idle) = captured.idle {
            self.position = idle;
        }
        captured.fragments
    }

    /// Reads up to a barrier; returns the entries before it.
    pub(crate) async fn until_barrier(&mut self, barrier: u64) -> Vec<Entry> {
        let ours = Entry::Barrier(BarrierId(barrier));
        loop {
            if let Some(place) = self.entries.iter().position(|entry| *entry == ours) {
                let behind = self.entries.split_off(place + 1);
                let mut before = std::mem::replace(&mut self.entries, behind);
                before.pop();
                return before;
            }
            self.step().await;
        }
    }

    /// Reads until there are so many changes, and returns them.
    pub(crate) async fn changes(&mut self, count: usize) -> Vec<Change> {
        while self.entries.len() < count {
            self.step().await;
        }
        changes(self.entries.drain(..count).collect())
    }
}

pub(crate) fn changes(entries: Vec<Entry>) -> Vec<Change> {
    let change = |entry| match entry {
        Entry::Change(change) => Some(change),
        Entry::Barrier(_) => None,
    };
    entries.into_iter().filter_map(change).collect()
}

/// A change in one line: kind, old row, new row; `?` for what the log did not name, `~` for null.
pub(crate) fn show(change: &Change) -> String {
    let row = |row: Option<&tandem_core::Row>| match row {
        None => "-".to_owned(),
        Some(row) => {
            let cell = |cell: &Cell| match cell {
                Cell::Unchanged => "?".to_owned(),
                Cell::Set(Value::Null) => "~".to_owned(),
                Cell::Set(value) => value.to_string(),
            };
            row.0.iter().map(cell).collect::<Vec<_>>().join("|")
        }
    };
    format!("{:?} {} {}", change.op.kind(), row(change.op.old_row()), row(change.op.new_row()))
}

pub(crate) fn shown(changes: &[Change]) -> Vec<String> {
    changes.iter().map(show).collect()
}

/// A lane that writes.
pub(crate) struct Writer {
    pub(crate) apply: Box<dyn Apply>,
    pub(crate) at: Seq,
    pub(crate) first: bool,
}

impl Writer {
    /// Does writes as one destination transaction.
    pub(crate) async fn write(&mut self, plan: Plan, writes: &[Write]) -> Result<Applied, ApplyFault> {
        let to = Seq(self.at.0 + writes.len().max(1) as u64);
        let begin = Begin { lane: LaneId(1), from: self.at, first: self.first };
        let commit = Advance { to, position: Position::default() };
        let part = Part { begin: Some(begin), writes, plan, commit: Some(commit) };
        let applied =
            tokio::time::timeout(PATIENCE, self.apply.apply(part)).await.expect("the server answers")?;
        self.at = to;
        self.first = false;
        Ok(applied)
    }
}

pub(crate) fn target(name: &str, columns: &[&str], key: &[usize]) -> Arc<Target> {
    target_ranked(name, columns, key, 0)
}

pub(crate) fn target_ranked(name: &str, columns: &[&str], key: &[usize], rank: u32) -> Arc<Target> {
    Arc::new(Target {
        map: "map".into(),
        table: table(name),
        columns: columns.iter().map(|column| Arc::from(*column)).collect(),
        key: key.to_vec(),
        rank,
        lookups: vec![],
    })
}

/// A write in the source transaction `transaction`.
pub(crate) fn write(target: &Arc<Target>, transaction: u64, op: WriteOp) -> Write {
    Write { seq: Seq(transaction), transaction: Seq(transaction), target: target.clone(), op }
}

pub(crate) fn upsert(values: &[Value]) -> WriteOp {
    WriteOp::Upsert(values.to_vec())
}

pub(crate) fn key(values: &[Value]) -> IntegrationKey {
    IntegrationKey::from_values(values.to_vec())
}

pub(crate) fn text(text: &str) -> Value {
    Value::from(text)
}

pub(crate) fn int(number: i64) -> Value {
    Value::Int(number)
}
