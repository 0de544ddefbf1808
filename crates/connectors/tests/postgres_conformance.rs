//! The conformance suite on a real PostgreSQL.

#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod conformance;

use conformance::{ColumnType, Fixture, OpenTransaction, Step, TestTable, Traits, promises};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use tandem_connectors::postgres::Postgres;
use tandem_core::connect::{BoxFuture, Connector};
use tandem_core::{AppName, Kind, TableName, Value};
use tandem_proof_servers::{PostgresOptions, PostgresServer};
use tokio_postgres::{Client, SimpleQueryMessage};

/// One database of the shared server.
struct Database {
    connector: Arc<dyn Connector>,
    name: String,
    users: Client,
}

fn server() -> &'static PostgresServer {
    static SERVER: OnceLock<PostgresServer> = OnceLock::new();
    SERVER.get_or_init(|| {
        let options = PostgresOptions { fsync: false, max_wal_senders: 80, ..PostgresOptions::default() };
        PostgresServer::start_new(options)
    })
}

async fn database() -> Database {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("conformance{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let url = server().create_database(&name).await;
    let connector = Postgres::connector(&AppName::from(name.as_str()), &url).unwrap();
    let users = server().connect(&name).await;
    // As it reads, so that what users see is in the form that the connector promises.
    let settings = "SET TimeZone = UTC; SET IntervalStyle = iso_8601; SET extra_float_digits = 3";
    users.batch_execute(settings).await.unwrap();
    Database { connector, name, users }
}

promises!(database());

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn table_sql(table: &TableName) -> String {
    format!("{}.{}", quoted(table.schema.as_deref().unwrap_or("public")), quoted(&table.name))
}

fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        value => format!("'{}'", value.to_string().replace('\'', "''")),
    }
}

fn pairs(pairs: &[(&str, Value)], between: &str) -> String {
    let pair = |(name, value): &(&str, Value)| format!("{} = {}", quoted(name), literal(value));
    pairs.iter().map(pair).collect::<Vec<_>>().join(between)
}

fn sql(step: &Step) -> String {
    match step {
        Step::Insert(table, row) => {
            let values = row.iter().map(literal).collect::<Vec<_>>().join(", ");
            format!("INSERT INTO {} VALUES ({values})", table_sql(table))
        }
        Step::Update(table, of, set) => {
            format!("UPDATE {} SET {} WHERE {}", table_sql(table), pairs(set, ", "), pairs(of, " AND "))
        }
        Step::Delete(table, of) => format!("DELETE FROM {} WHERE {}", table_sql(table), pairs(of, " AND ")),
        Step::Truncate(table) => format!("TRUNCATE {}", table_sql(table)),
    }
}

async fn must(client: &Client, sql: &str) {
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

async fn texts(client: &Client, sql: &str) -> Vec<Vec<Option<String>>> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
        }
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

fn read(type_name: &str, text: Option<String>) -> Value {
    let Some(text) = text else { return Value::Null };
    let typed = |kind| Value::Typed(kind, text.as_str().into());
    match type_name {
        "bool" => Value::Bool(text == "t"),
        "int2" | "int4" | "int8" => Value::Int(text.parse().unwrap()),
        "float4" | "float8" => Value::Float(text.parse().unwrap()),
        "text" | "varchar" | "bpchar" => Value::Text(text.into()),
        "bytea" => {
            let digits = text.strip_prefix("\\x").unwrap();
            let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2).unwrap(), 16).unwrap();
            Value::Bytes((0..digits.len()).step_by(2).map(byte).collect::<Vec<_>>().into())
        }
        "numeric" => typed(Kind::Decimal),
        "date" => typed(Kind::Date),
        "time" => typed(Kind::Time),
        "timetz" => typed(Kind::TimeTz),
        "timestamp" => typed(Kind::Timestamp),
        "timestamptz" => typed(Kind::TimestampTz),
        "interval" => typed(Kind::Interval),
        "uuid" => typed(Kind::Uuid),
        "json" | "jsonb" => typed(Kind::Json),
        _ => typed(Kind::Other),
    }
}

struct Held(Client);

impl OpenTransaction for Held {
    fn run(&mut self, step: Step) -> BoxFuture<'_, ()> {
        Box::pin(async move { must(&self.0, &sql(&step)).await })
    }
    fn commit(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move { must(&self.0, "COMMIT").await })
    }
    fn rollback(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move { must(&self.0, "ROLLBACK").await })
    }
}

impl Fixture for Database {
    fn traits(&self) -> Traits {
        Traits {
            transactions: true,
            concurrent_writers: true,
            truncate: true,
            deferred_keys: true,
            exact_shapes: true,
            marks: true,
        }
    }
    fn connector(&self) -> &dyn Connector {
        &*self.connector
    }
    fn table(&self, name: &str) -> TableName {
        TableName { schema: Some("public".into()), name: name.into() }
    }
    fn create<'a>(&'a self, table: &'a TestTable) -> BoxFuture<'a, ()> {
        let list = |names: &[&str]| names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let mut parts = Vec::new();
        for (name, ty) in &table.columns {
            let ty = match ty {
                ColumnType::Int => "bigint",
                ColumnType::Text | ColumnType::Large => "text",
                ColumnType::Native(ty) => ty,
            };
            let not_null = if table.not_null.contains(name) { " NOT NULL" } else { "" };
            parts.push(format!("{} {ty}{not_null}", quoted(name)));
        }
        parts.push(format!("PRIMARY KEY ({})", list(&table.key)));
        parts.extend(table.unique.iter().map(|unique| format!("UNIQUE ({})", list(unique))));
        for (columns, target, to) in &table.references {
            let (columns, target, to) = (list(columns), table_sql(target), list(to));
            parts.push(format!(
                "FOREIGN KEY ({columns}) REFERENCES {target} ({to}) DEFERRABLE INITIALLY DEFERRED"
            ));
        }
        let sql = format!("CREATE TABLE {} ({})", table_sql(&table.name), parts.join(", "));
        Box::pin(async move { must(&self.users, &sql).await })
    }
    fn run(&self, steps: Vec<Step>) -> BoxFuture<'_, ()> {
        let sql = steps.iter().map(sql).collect::<Vec<_>>().join("; ");
        Box::pin(async move { must(&self.users, &format!("BEGIN; {sql}; COMMIT")).await })
    }
    fn refused(&self, steps: Vec<Step>) -> BoxFuture<'_, Option<String>> {
        let sql = steps.iter().map(sql).collect::<Vec<_>>().join("; ");
        Box::pin(async move {
            let error = self.users.batch_execute(&format!("BEGIN; {sql}; COMMIT")).await.err()?;
            must(&self.users, "ROLLBACK").await;
            Some(error.as_db_error().unwrap().message().to_owned())
        })
    }
    fn rename_column<'a>(&'a self, table: &'a TableName, from: &'a str, to: &'a str) -> BoxFuture<'a, ()> {
        let (table, from, to) = (table_sql(table), quoted(from), quoted(to));
        let sql = format!("ALTER TABLE {table} RENAME COLUMN {from} TO {to}");
        Box::pin(async move { must(&self.users, &sql).await })
    }
    fn drop_table<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, ()> {
        Box::pin(async move { must(&self.users, &format!("DROP TABLE {}", table_sql(table))).await })
    }
    fn hold(&self, steps: Vec<Step>) -> BoxFuture<'_, Box<dyn OpenTransaction>> {
        Box::pin(async move {
            let client = server().connect(&self.name).await;
            must(&client, "BEGIN").await;
            for step in &steps {
                must(&client, &sql(step)).await;
            }
            Box::new(Held(client)) as Box<dyn OpenTransaction>
        })
    }
    fn rows<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, Vec<Vec<Value>>> {
        Box::pin(async move {
            let sql = format!("SELECT * FROM {}", table_sql(table));
            let types = self.users.prepare(&sql).await.unwrap();
            let types: Vec<_> =
                types.columns().iter().map(|column| column.type_().name().to_owned()).collect();
            let row = |row: Vec<Option<String>>| -> Vec<Value> {
                row.into_iter().zip(&types).map(|(text, ty)| read(ty, text)).collect()
            };
            let mut rows: Vec<_> = texts(&self.users, &sql).await.into_iter().map(row).collect();
            rows.sort_by_key(|row| row.first().map(ToString::to_string));
            rows
        })
    }
    fn break_connections(&self) -> BoxFuture<'_, ()> {
        let ours = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'tandem'";
        Box::pin(async move { must(&self.users, ours).await })
    }
    fn left_behind(&self) -> BoxFuture<'_, Vec<String>> {
        let sql = "SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname = 'tandem'
            UNION ALL SELECT 'publication ' || pubname FROM pg_publication
            UNION ALL SELECT 'slot ' || slot_name FROM pg_replication_slots WHERE database = current_database()
            UNION ALL SELECT 'function ' || proname FROM pg_proc WHERE pronamespace = to_regnamespace('tandem')
            UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE NOT tgisinternal";
        Box::pin(async move { texts(&self.users, sql).await.into_iter().flatten().flatten().collect() })
    }
    fn zoo(&self) -> Vec<(&'static str, Vec<Value>)> {
        let typed =
            |kind, texts: &[&str]| texts.iter().map(|text| Value::Typed(kind, (*text).into())).collect();
        vec![
            ("int2", vec![Value::Int(i16::MIN.into()), Value::Int(i16::MAX.into())]),
            ("int8", vec![Value::Int(i64::MIN), Value::Int(i64::MAX)]),
            ("bool", vec![Value::Bool(true), Value::Bool(false)]),
            ("float8", [-0.0, 5e-324, 1e300, f64::NAN, f64::NEG_INFINITY, 0.1].map(Value::Float).to_vec()),
            ("float4", vec![Value::Float(0.1), Value::Float(f64::INFINITY)]),
            ("text", ["", "null", "\\x00", "𝄞 'q' \"d\"\n", " "].map(Value::from).to_vec()),
            ("varchar(3)", vec!["".into(), "ab ".into()]),
            ("char(3)", vec!["a  ".into()]),
            (
                "bytea",
                vec![
                    Value::Bytes(bytes::Bytes::new()),
                    Value::Bytes(bytes::Bytes::from_static(&[0, 255, 92])),
                ],
            ),
            (
                "numeric",
                typed(
                    Kind::Decimal,
                    &[
                        "NaN",
                        "Infinity",
                        "-Infinity",
                        "1.10",
                        "0.000",
                        "123456789012345678901234567890.0000000001000",
                    ],
                ),
            ),
            ("date", typed(Kind::Date, &["infinity", "-infinity", "4713-01-01 BC", "5874897-12-31"])),
            ("time", typed(Kind::Time, &["24:00:00", "00:00:00.000001"])),
            ("timetz", typed(Kind::TimeTz, &["24:00:00-15:59", "01:02:03.5+00"])),
            (
                "timestamp",
                typed(
                    Kind::Timestamp,
                    &["infinity", "294276-12-31 23:59:59.999999", "0001-01-01 00:00:00 BC"],
                ),
            ),
            ("timestamptz", typed(Kind::TimestampTz, &["-infinity", "2026-03-29 02:30:00+00"])),
            ("interval", typed(Kind::Interval, &["PT0S", "P10M3DT-3H-55M-6.7S", "P178000000Y"])),
            ("uuid", typed(Kind::Uuid, &["00000000-0000-0000-0000-0000000000ff"])),
            ("json", typed(Kind::Json, &["{\"b\": 1.10, \"b\" :2}", "null", "\"\\u0000\""])),
            ("jsonb", typed(Kind::Json, &["{\"a\": null, \"b\": 1.10}"])),
            ("int[]", typed(Kind::Other, &["{}", "{1,NULL,3}", "{{1,2},{3,4}}", "[0:1]={1,2}"])),
            ("text[]", typed(Kind::Other, &["{\"\",NULL,\"NULL\",\"a,b\",\"q\\\"\",\"\\\\\"}"])),
            ("int4range", typed(Kind::Other, &["empty", "[1,5)"])),
            ("inet", typed(Kind::Other, &["10.0.0.1/8", "::1"])),
            ("bit(3)", typed(Kind::Other, &["101"])),
            ("tsvector", typed(Kind::Other, &["'a':1 'b c':2"])),
            ("point", typed(Kind::Other, &["(1.5,-0)"])),
            ("money", typed(Kind::Other, &["$1,234.50"])),
            ("xml", typed(Kind::Other, &["<a>1</a>"])),
        ]
    }
}
