//! The conformance suite on the memory app.

#![allow(clippy::unwrap_used, reason = "tests")]

mod conformance;

use bytes::Bytes;
use conformance::{ColumnType, Fixture, OpenTransaction, Step, TestTable, Traits, promises};
use tandem_connectors::memory::{Alter, MemoryApp, TableSpec, UserTransaction};
use tandem_core::connect::{BoxFuture, Connector};
use tandem_core::{Kind, TableName, Value};

struct Memory(MemoryApp);

async fn memory() -> Memory {
    Memory(MemoryApp::new())
}

promises!(memory());

fn step(transaction: &mut UserTransaction, step: Step) {
    let key = |key: Vec<(&'static str, Value)>| key.into_iter().map(|(_, value)| value).collect();
    match step {
        Step::Insert(table, row) => transaction.insert(&table, row),
        Step::Update(table, of, set) => transaction.update(&table, key(of), set),
        Step::Delete(table, of) => transaction.delete(&table, key(of)),
        Step::Truncate(table) => transaction.truncate(&table),
    }
}

struct Held(UserTransaction);

impl OpenTransaction for Held {
    fn run(&mut self, next: Step) -> BoxFuture<'_, ()> {
        step(&mut self.0, next);
        Box::pin(async {})
    }
    fn commit(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.0.commit().unwrap();
        Box::pin(async {})
    }
    fn rollback(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.0.rollback();
        Box::pin(async {})
    }
}

impl Fixture for Memory {
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
        &self.0
    }
    fn table(&self, name: &str) -> TableName {
        TableName { schema: None, name: name.into() }
    }
    fn create<'a>(&'a self, table: &'a TestTable) -> BoxFuture<'a, ()> {
        let columns: Vec<_> = table.columns.iter().map(|(name, _)| *name).collect();
        let mut spec = TableSpec::new(table.name.clone(), &columns, &table.key);
        for (name, ty) in &table.columns {
            if matches!(ty, ColumnType::Large) {
                spec = spec.large(name);
            }
        }
        for unique in &table.unique {
            spec = spec.unique(unique);
        }
        for column in &table.not_null {
            spec = spec.not_null(column);
        }
        for (columns, target, to) in &table.references {
            spec = spec.references_deferred(columns, target, to);
        }
        self.0.create_table(spec);
        Box::pin(async {})
    }
    fn run(&self, steps: Vec<Step>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.0.transaction(|t| steps.into_iter().for_each(|next| step(t, next))).unwrap();
        })
    }
    fn refused(&self, steps: Vec<Step>) -> BoxFuture<'_, Option<String>> {
        Box::pin(async move {
            let done = self.0.transaction(|t| steps.into_iter().for_each(|next| step(t, next)));
            done.err().map(|fault| fault.message)
        })
    }
    fn rename_column<'a>(&'a self, table: &'a TableName, from: &'a str, to: &'a str) -> BoxFuture<'a, ()> {
        self.0.alter_table(table, Alter::Rename { from: from.into(), to: to.into() }).unwrap();
        Box::pin(async {})
    }
    fn drop_table<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, ()> {
        self.0.drop_table(table);
        Box::pin(async {})
    }
    fn hold(&self, steps: Vec<Step>) -> BoxFuture<'_, Box<dyn OpenTransaction>> {
        Box::pin(async move {
            let mut transaction = self.0.begin();
            steps.into_iter().for_each(|next| step(&mut transaction, next));
            Box::new(Held(transaction)) as Box<dyn OpenTransaction>
        })
    }
    fn rows<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, Vec<Vec<Value>>> {
        Box::pin(async move { self.0.rows(table) })
    }
    fn break_connections(&self) -> BoxFuture<'_, ()> {
        self.0.break_connections();
        Box::pin(async {})
    }
    fn left_behind(&self) -> BoxFuture<'_, Vec<String>> {
        let guards = self.0.guards().into_iter().map(|guard| format!("a guard of {}", guard.map));
        let something = (!self.0.is_clean()).then(|| "something".to_owned());
        let left = guards.chain(something).collect();
        Box::pin(async move { left })
    }
    fn zoo(&self) -> Vec<(&'static str, Vec<Value>)> {
        vec![
            ("int", vec![Value::Int(i64::MIN), Value::Int(i64::MAX)]),
            ("float", vec![Value::Float(-0.0), Value::Float(f64::NAN), Value::Float(f64::INFINITY)]),
            ("text", vec!["".into(), "a\0b".into(), "𝄞".into()]),
            ("bytes", vec![Value::Bytes(Bytes::new()), Value::Bytes(Bytes::from_static(&[0, 255]))]),
            ("decimal", vec![Value::Typed(Kind::Decimal, "1.10".into())]),
            ("bool", vec![Value::Bool(true), Value::Bool(false)]),
        ]
    }
}
