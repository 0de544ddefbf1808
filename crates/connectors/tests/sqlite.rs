//! The conformance suite on SQLite files, and what only SQLite does.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod conformance;

use bytes::Bytes;
use conformance::{ColumnType, Fixture, OpenTransaction, Step, TestTable, Traits, promises};
use rusqlite::types::{Value as Stored, ValueRef};
use rusqlite::{Connection, params_from_iter};
use std::path::PathBuf;
use std::time::Duration;
use tandem_connectors::sqlite::SqliteApp;
use tandem_core::connect::{BoxFuture, Connector};
use tandem_core::{Kind, TableName, Value};

#[path = "sqlite/guard.rs"]
mod guard;
#[path = "sqlite/only_sqlite.rs"]
mod only_sqlite;

struct Sqlite {
    folder: tempfile::TempDir,
    app: SqliteApp,
}

async fn sqlite() -> Sqlite {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch("PRAGMA journal_mode = WAL").unwrap();
    Sqlite { app: SqliteApp::new(path), folder }
}

promises!(sqlite());

impl Sqlite {
    fn path(&self) -> PathBuf {
        self.folder.path().join("app.db")
    }

    /// A connection of the app's user, who waits for the lock as most apps do.
    fn user(&self) -> Connection {
        let conn = Connection::open(self.path()).unwrap();
        conn.busy_timeout(Duration::from_secs(10)).unwrap();
        conn
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn stored(value: &Value) -> Stored {
    match value {
        Value::Null => Stored::Null,
        Value::Bool(truth) => Stored::Integer(i64::from(*truth)),
        Value::Int(number) => Stored::Integer(*number),
        Value::Float(number) => Stored::Real(*number),
        Value::Text(text) | Value::Typed(_, text) => Stored::Text(text.to_string()),
        Value::Bytes(bytes) => Stored::Blob(bytes.to_vec()),
    }
}

fn run(conn: &Connection, step: Step) {
    try_run(conn, step).unwrap();
}

fn try_run(conn: &Connection, step: Step) -> rusqlite::Result<()> {
    let is = |key: &[(&str, Value)], first: usize, with: &str| -> String {
        let parts = key.iter().enumerate().map(|(n, (name, _))| format!("{} = ?{}", quoted(name), first + n));
        parts.collect::<Vec<_>>().join(with)
    };
    let (sql, values): (String, Vec<Stored>) = match &step {
        Step::Insert(table, row) => {
            let places: Vec<_> = (1..=row.len()).map(|n| format!("?{n}")).collect();
            let sql = format!("INSERT INTO {} VALUES ({})", quoted(&table.name), places.join(", "));
            (sql, row.iter().map(stored).collect())
        }
        Step::Update(table, key, set) => {
            let sql = format!(
                "UPDATE {} SET {} WHERE {}",
                quoted(&table.name),
                is(set, 1, ", "),
                is(key, set.len() + 1, " AND ")
            );
            (sql, set.iter().chain(key).map(|(_, value)| stored(value)).collect())
        }
        Step::Delete(table, key) => {
            let sql = format!("DELETE FROM {} WHERE {}", quoted(&table.name), is(key, 1, " AND "));
            (sql, key.iter().map(|(_, value)| stored(value)).collect())
        }
        Step::Truncate(_) => panic!("SQLite has no TRUNCATE"),
    };
    conn.prepare_cached(&sql)?.execute(params_from_iter(values)).map(drop)
}

struct Held(Connection);

impl OpenTransaction for Held {
    fn run(&mut self, step: Step) -> BoxFuture<'_, ()> {
        run(&self.0, step);
        Box::pin(async {})
    }
    fn commit(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.0.execute_batch("COMMIT").unwrap();
        Box::pin(async {})
    }
    fn rollback(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.0.execute_batch("ROLLBACK").unwrap();
        Box::pin(async {})
    }
}

impl Fixture for Sqlite {
    fn traits(&self) -> Traits {
        Traits {
            transactions: false,
            concurrent_writers: false,
            truncate: false,
            deferred_keys: true,
            exact_shapes: false,
            marks: true,
        }
    }
    fn connector(&self) -> &dyn Connector {
        &self.app
    }
    fn table(&self, name: &str) -> TableName {
        TableName { schema: None, name: name.into() }
    }
    fn create<'a>(&'a self, table: &'a TestTable) -> BoxFuture<'a, ()> {
        let list = |names: &[&str]| names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let mut parts: Vec<String> = Vec::new();
        for (name, ty) in &table.columns {
            let ty = match ty {
                ColumnType::Int => "INTEGER",
                ColumnType::Text | ColumnType::Large => "TEXT",
                ColumnType::Native(ty) => ty,
            };
            let required = if table.not_null.contains(name) { " NOT NULL" } else { "" };
            parts.push(format!("{} {ty}{required}", quoted(name)));
        }
        parts.push(format!("PRIMARY KEY ({})", list(&table.key)));
        parts.extend(table.unique.iter().map(|columns| format!("UNIQUE ({})", list(columns))));
        for (columns, target, to) in &table.references {
            let target = quoted(&target.name);
            parts.push(format!("FOREIGN KEY ({}) REFERENCES {target} ({})", list(columns), list(to)));
        }
        let sql = format!("CREATE TABLE {} ({})", quoted(&table.name.name), parts.join(", "));
        self.user().execute_batch(&sql).unwrap();
        Box::pin(async {})
    }
    fn run(&self, steps: Vec<Step>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let conn = self.user();
            conn.execute_batch("BEGIN IMMEDIATE").unwrap();
            steps.into_iter().for_each(|step| run(&conn, step));
            conn.execute_batch("COMMIT").unwrap();
        })
    }
    fn refused(&self, steps: Vec<Step>) -> BoxFuture<'_, Option<String>> {
        Box::pin(async move {
            let conn = self.user();
            conn.execute_batch("BEGIN IMMEDIATE").unwrap();
            let error = steps.into_iter().try_for_each(|step| try_run(&conn, step)).err();
            conn.execute_batch(if error.is_none() { "COMMIT" } else { "ROLLBACK" }).unwrap();
            error.map(|error| error.to_string())
        })
    }
    fn rename_column<'a>(&'a self, table: &'a TableName, from: &'a str, to: &'a str) -> BoxFuture<'a, ()> {
        let (table, from, to) = (quoted(&table.name), quoted(from), quoted(to));
        self.user().execute_batch(&format!("ALTER TABLE {table} RENAME COLUMN {from} TO {to}")).unwrap();
        Box::pin(async {})
    }
    fn drop_table<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, ()> {
        self.user().execute_batch(&format!("DROP TABLE {}", quoted(&table.name))).unwrap();
        Box::pin(async {})
    }
    fn hold(&self, steps: Vec<Step>) -> BoxFuture<'_, Box<dyn OpenTransaction>> {
        Box::pin(async move {
            let conn = self.user();
            conn.execute_batch("BEGIN IMMEDIATE").unwrap();
            steps.into_iter().for_each(|step| run(&conn, step));
            Box::new(Held(conn)) as Box<dyn OpenTransaction>
        })
    }
    fn rows<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, Vec<Vec<Value>>> {
        Box::pin(async move {
            let conn = self.user();
            let sql = format!("SELECT * FROM {} ORDER BY 1", quoted(&table.name));
            let mut query = conn.prepare(&sql).unwrap();
            let columns = query.column_count();
            let mut rows = query.query([]).unwrap();
            let mut all = Vec::new();
            while let Some(row) = rows.next().unwrap() {
                let value = |at: usize| match row.get_ref(at).unwrap() {
                    ValueRef::Null => Value::Null,
                    ValueRef::Integer(number) => Value::Int(number),
                    ValueRef::Real(number) => Value::Float(number),
                    ValueRef::Text(text) => Value::from(std::str::from_utf8(text).unwrap()),
                    ValueRef::Blob(bytes) => Value::Bytes(Bytes::copy_from_slice(bytes)),
                };
                all.push((0..columns).map(value).collect());
            }
            all
        })
    }
    fn break_connections(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
    fn can_break(&self) -> bool {
        false
    }
    fn left_behind(&self) -> BoxFuture<'_, Vec<String>> {
        Box::pin(async move {
            let conn = self.user();
            let mut query =
                conn.prepare("SELECT name FROM sqlite_master WHERE name LIKE '%tandem%'").unwrap();
            let mut left: Vec<String> =
                query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
            let files = std::fs::read_dir(self.folder.path()).unwrap();
            let names = files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned());
            left.extend(names.filter(|name| name.contains("tandem")));
            left
        })
    }
    fn zoo(&self) -> Vec<(&'static str, Vec<Value>)> {
        let floats = [
            0.1 + 0.2,
            f64::MIN_POSITIVE,
            5e-324,
            f64::MAX,
            f64::INFINITY,
            -1e300,
            1.0,
            123_456_789.123_456_79,
        ];
        let blob = |bytes: &'static [u8]| Value::Bytes(Bytes::from_static(bytes));
        vec![
            ("INTEGER", vec![Value::Int(i64::MIN), Value::Int(i64::MAX), Value::Int(0)]),
            ("REAL", floats.into_iter().map(Value::Float).collect()),
            ("TEXT", vec!["".into(), "a\0b".into(), "𝄞 'quoted' \"".into(), "007".into(), "null".into()]),
            ("BLOB", vec![blob(b""), blob(&[0, 255, 39]), "text in a blob column".into(), Value::Int(7)]),
            ("", vec![Value::Int(1), Value::Float(1.0), "1".into(), blob(b"1")]),
            ("NUMERIC", vec![Value::Int(5), Value::Float(1.5), "not a number".into()]),
            ("DATETIME", vec!["2024-02-29 23:59:60".into()]),
            ("VARCHAR(3)", vec!["longer than three".into()]),
        ]
    }
}

#[test]
fn the_url_names_the_file() {
    assert!(SqliteApp::from_url("sqlite:crm.db").is_ok());
    assert!(SqliteApp::from_url("sqlite:///var/lib/crm.db").is_ok());
    for bad in ["sqlite:", "postgres://x", "sqlite::memory:"] {
        assert!(SqliteApp::from_url(bad).is_err(), "{bad}");
    }
    let _kinds_are_text_here = Kind::Decimal;
}
