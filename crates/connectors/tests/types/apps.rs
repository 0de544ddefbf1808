//! One database of each kind, as its users and as an engine see it.

use super::zoo::{Engine, POSTGRES_TYPES};
use std::sync::Arc;
use std::time::Duration;
use tandem_connectors::postgres::Postgres;
use tandem_connectors::sqlite::SqliteApp;
use tandem_core::connect::{Advance, Apply, Begin, Capture, Connector, Owner, Part, Plan};
use tandem_core::{
    AppName, BarrierId, Entry, Epoch, JournalId, LaneId, Op, Position, Seq, TableName, Target, Value, Write,
    WriteOp,
};
use tandem_proof_servers::{PostgresOptions, PostgresServer};

const OURS: Owner = Owner { journal: JournalId(0xabc), epoch: Epoch(1) };
const PATIENCE: Duration = Duration::from_secs(30);

/// What became of a write.
pub(crate) enum Written {
    /// It stands there as this.
    As(Value),
    /// It was refused with this code.
    Refused(String),
}

enum Users {
    Postgres(PostgresServer, tokio_postgres::Client),
    Sqlite(tempfile::TempDir, rusqlite::Connection),
}

pub(crate) struct App {
    users: Users,
    connector: Arc<dyn Connector>,
    apply: Box<dyn Apply>,
    at: Seq,
    barrier: u64,
    /// The log, from its beginning; none before the first table.
    capture: Option<Box<dyn Capture>>,
}

impl App {
    pub(crate) async fn new(engine: Engine, stream: &str) -> Self {
        let (users, connector): (Users, Arc<dyn Connector>) = match engine {
            Engine::Postgres => {
                let server =
                    PostgresServer::start_new(PostgresOptions { fsync: false, ..PostgresOptions::default() });
                let url = server.create_database("app").await;
                let client = server.connect("app").await;
                client.batch_execute(POSTGRES_TYPES).await.unwrap();
                let connector = Postgres::connector(&AppName::from("app"), &url).unwrap();
                (Users::Postgres(server, client), connector)
            }
            Engine::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("app.db");
                let conn = rusqlite::Connection::open(&path).unwrap();
                conn.busy_timeout(PATIENCE).unwrap();
                conn.execute_batch("PRAGMA journal_mode = WAL").unwrap();
                (Users::Sqlite(folder, conn), Arc::new(SqliteApp::new(path)))
            }
        };
        let mut apply = connector.open_apply(OURS, stream).await.unwrap();
        apply.fence().await.unwrap();
        Self { users, connector, apply, at: Seq(0), barrier: 0, capture: None }
    }

    async fn sql(&self, sql: &str) {
        match &self.users {
            Users::Postgres(server, client) => {
                let done = client.batch_execute(sql).await;
                done.unwrap_or_else(|error| panic!("{sql} at {}: {error:?}", server.port()));
            }
            Users::Sqlite(folder, conn) => {
                let done = conn.execute_batch(sql);
                done.unwrap_or_else(|error| panic!("{sql} at {}: {error}", folder.path().display()));
            }
        }
    }

    /// A table with a key and one column of a type, in capture.
    ///
    /// Returns what the app says that the type is.
    pub(crate) async fn table(&mut self, name: &str, type_name: &str) -> String {
        self.sql(&format!("CREATE TABLE {name} (id BIGINT PRIMARY KEY, v {type_name})")).await;
        self.barrier += 1;
        let mut source = self.connector.open_source(OURS).await.unwrap();
        let start = source.enter(&[table(name)], BarrierId(self.barrier)).await.unwrap();
        if self.capture.is_none() {
            self.capture = Some(self.connector.open_capture(OURS, &start).await.unwrap());
        }
        let described = self.connector.describe(&[table(name)]).await.unwrap().remove(0).unwrap();
        described.column("v").unwrap().type_name.to_string()
    }

    /// The value of the next record that the log has for a table.
    async fn next(&mut self, name: &str) -> Value {
        let table = table(name);
        let mut found = Vec::new();
        let capture = self.capture.as_mut().unwrap();
        tokio::time::timeout(PATIENCE, async {
            while found.is_empty() {
                let captured = capture.next().await.unwrap();
                for entry in captured.fragments.into_iter().flat_map(|fragment| fragment.entries) {
                    let Entry::Change(change) = entry else { continue };
                    if let Op::Insert { new } = &change.op
                        && change.relation.table.name == table.name
                    {
                        found.push(new.cell(1).value().unwrap().clone());
                    }
                }
            }
        })
        .await
        .unwrap_or_else(|_| panic!("nothing comes of {name}"));
        assert_eq!(found.len(), 1, "one at a time");
        found.remove(0)
    }

    /// What users wrote, as the log has it.
    pub(crate) async fn written_by_users(&mut self, name: &str, values: &[&str]) -> Vec<Value> {
        let mut written = Vec::new();
        for (key, literal) in values.iter().enumerate() {
            self.sql(&format!("INSERT INTO {name} VALUES ({key}, {literal})")).await;
            written.push(self.next(name).await);
        }
        written
    }

    /// Writes a value as an engine does, and reads it as it stands there.
    pub(crate) async fn write(&mut self, name: &str, key: i64, value: &Value) -> Written {
        let table = table(name);
        let target = Target {
            map: "m".into(),
            table,
            columns: vec!["id".into(), "v".into()],
            key: vec![0],
            rank: 0,
            lookups: vec![],
        };
        let op = WriteOp::Upsert(vec![Value::Int(key), value.clone()]);
        let to = Seq(self.at.0 + 1);
        let write = Write { seq: to, transaction: to, target: Arc::new(target), op };
        let part = Part {
            begin: Some(Begin { lane: LaneId(1), from: self.at, first: self.at == Seq(0) }),
            writes: std::slice::from_ref(&write),
            plan: Plan::Single,
            commit: Some(Advance { to, position: Position::default() }),
        };
        let applied = self.apply.apply(part).await.unwrap();
        self.at = to;
        match applied.refused.into_iter().next() {
            Some((_, fault)) => Written::Refused(fault.code.unwrap_or_else(|| fault.message.clone())),
            None => Written::As(self.next(name).await),
        }
    }
}

fn table(name: &str) -> TableName {
    TableName::parse(name).unwrap()
}
