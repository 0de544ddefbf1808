//! The conformance suite: each promise of `tandem_core::connect` is one test, and every connector passes all of
//! them. A connector brings a [`Fixture`] (its app, and the hands of that app's users) and gets one `#[test]`
//! per promise from [`promises!`].
//!
//! Where apps differ for good reasons, [`Traits`] says so; nothing else may be switched off.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a suite for tests, of which each target uses its part"
)]

pub mod apply;
pub mod capture;
pub mod copy;
pub mod guard;
pub mod lookup;
pub mod owner;
pub mod plan;
pub mod reads;
pub mod values;

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tandem_core::connect::{Apply, BoxFuture, Capture, Connector, Owner, Source};
use tandem_core::{
    BarrierId, Change, Commit, Entry, Epoch, JournalId, Mark, Op, Position, Row, TableName, Value,
};

/// How long anything may take before it counts as never.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Where apps differ.
#[derive(Debug, Clone, Copy)]
pub struct Traits {
    /// A fragment sequence with one commit is exactly one transaction of a user.
    pub transactions: bool,
    /// Another user can commit while one holds a transaction open that has written.
    pub concurrent_writers: bool,
    /// TRUNCATE exists and is in the log.
    pub truncate: bool,
    /// Foreign keys can be deferred.
    pub deferred_keys: bool,
    /// The first row that is written to a table of another shape is told with that shape already; without it, the first
    /// that is written once the capture has looked.
    pub exact_shapes: bool,
    /// Transactions of ours carry their mark when the app captures the table that they wrote.
    pub marks: bool,
}

/// The type of a column of a test table.
#[derive(Debug, Clone)]
pub enum ColumnType {
    /// 64-bit whole numbers.
    Int,
    /// Text.
    Text,
    /// Text that the log may leave out of an update that does not change it.
    Large,
    /// A type by the app's own name.
    Native(&'static str),
}

/// A table to be made by the fixture.
#[derive(Debug, Clone)]
pub struct TestTable {
    pub name: TableName,
    pub columns: Vec<(&'static str, ColumnType)>,
    pub key: Vec<&'static str>,
    pub unique: Vec<Vec<&'static str>>,
    pub not_null: Vec<&'static str>,
    /// Columns, target table, target columns; deferred where the app can.
    pub references: Vec<(Vec<&'static str>, TableName, Vec<&'static str>)>,
}

/// One statement of a user.
#[derive(Debug, Clone)]
pub enum Step {
    /// All columns, in order.
    Insert(TableName, Vec<Value>),
    /// Of the row with this key (columns and values): set these.
    Update(TableName, Vec<(&'static str, Value)>, Vec<(&'static str, Value)>),
    Delete(TableName, Vec<(&'static str, Value)>),
    Truncate(TableName),
}

/// A transaction of a user that is open, and has written.
pub trait OpenTransaction: Send {
    fn run(&mut self, step: Step) -> BoxFuture<'_, ()>;
    fn commit(self: Box<Self>) -> BoxFuture<'static, ()>;
    fn rollback(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// An app with nothing of ours in it, made for one test, and what its users can do.
pub trait Fixture: Send + Sync {
    fn traits(&self) -> Traits;
    fn connector(&self) -> &dyn Connector;
    /// The name of a table in the form in which this app names it (with a schema, if it has them).
    fn table(&self, name: &str) -> TableName;
    fn create<'a>(&'a self, table: &'a TestTable) -> BoxFuture<'a, ()>;
    /// One transaction of a user, committed.
    fn run(&self, steps: Vec<Step>) -> BoxFuture<'_, ()>;
    /// One transaction of a user that the app may refuse: then nothing of it stays, and this is what its user is
    /// told.
    fn refused(&self, steps: Vec<Step>) -> BoxFuture<'_, Option<String>>;
    /// Gives a column another name.
    fn rename_column<'a>(&'a self, table: &'a TableName, from: &'a str, to: &'a str) -> BoxFuture<'a, ()>;
    /// Takes a table away.
    fn drop_table<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, ()>;
    /// One transaction of a user that has done these steps, and stays open.
    fn hold(&self, steps: Vec<Step>) -> BoxFuture<'_, Box<dyn OpenTransaction>>;
    /// All rows of a table, sorted by their first column as shown; all columns in the order of their creation.
    fn rows<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, Vec<Vec<Value>>>;
    /// Breaks every connection of ours, as a restart of the app does.
    fn break_connections(&self) -> BoxFuture<'_, ()>;
    /// Whether connections can break at all: those to a file cannot, and are dropped by the tests instead.
    fn can_break(&self) -> bool {
        true
    }
    /// What of ours is in the app: names of objects, empty if there is nothing.
    fn left_behind(&self) -> BoxFuture<'_, Vec<String>>;
    /// Types by the app's own name, each with values that must come through unchanged.
    fn zoo(&self) -> Vec<(&'static str, Vec<Value>)>;
}

/// Expands to one test per promise. `$make` is an async expression that gives a fresh fixture.
macro_rules! promises {
    ($make:expr) => {
        crate::conformance::promises! { @each $make;
            capture::what_commits_behind_the_barrier_is_delivered
            capture::a_transaction_that_was_open_at_enter_comes_whole_or_not_at_all
            capture::a_capture_delivers_only_what_is_after_its_position
            capture::what_was_not_acknowledged_comes_again_after_the_connection_broke
            capture::acknowledging_never_loses_what_is_behind_it
            capture::a_position_that_was_let_go_of_is_a_gap
            capture::a_position_that_is_none_is_a_gap
            capture::transactions_come_whole_and_in_commit_order
            capture::a_large_transaction_ends_with_its_only_commit
            capture::an_update_names_the_whole_new_row_or_says_unchanged
            capture::a_key_change_names_the_old_key
            capture::a_delete_names_the_old_key
            capture::what_was_rolled_back_is_never_seen
            capture::a_barrier_is_seen_once_and_in_its_place
            capture::a_table_that_enters_later_joins_the_same_log
            capture::a_table_that_left_is_heard_no_more
            capture::with_the_last_table_everything_of_ours_leaves
            capture::entering_again_after_a_crash_is_harmless
            capture::a_truncate_is_a_truncate
            capture::a_table_that_has_changed_is_told_with_its_shape
            capture::giving_up_a_wait_loses_nothing
            owner::a_second_source_is_refused_while_the_first_lives
            owner::an_older_start_is_refused_at_the_source
            owner::an_older_start_can_no_longer_write
            owner::an_older_start_can_not_fence
            owner::the_marks_of_another_data_folder_are_returned
            owner::another_data_folder_can_not_move_our_watermark
            apply::an_upsert_makes_the_record_so_and_leaves_other_columns
            apply::a_patch_changes_only_what_it_names
            apply::a_patch_without_its_record_is_refused
            apply::a_rekey_moves_the_record_or_makes_it
            apply::a_delete_of_what_is_gone_is_done
            apply::a_watermark_that_is_elsewhere_refuses_the_transaction
            apply::a_first_transaction_makes_the_watermark_at_its_start
            apply::several_parts_are_one_transaction
            apply::a_rollback_keeps_nothing
            apply::a_broken_connection_keeps_nothing_of_an_open_transaction
            apply::after_a_lost_commit_the_watermark_tells
            apply::a_retired_lane_is_gone_and_the_last_takes_everything
            apply::the_watermark_of_another_data_folder_is_not_retired
            apply::a_transaction_of_ours_carries_its_mark
            plan::unique_values_can_be_swapped
            plan::unique_values_can_rotate_through_three_records
            plan::a_unique_value_can_move_between_transactions_of_a_batch
            plan::the_same_record_can_be_written_many_times
            plan::a_deferred_reference_may_come_before_its_target
            plan::exact_names_the_write_at_which_it_stopped
            plan::single_leaves_out_only_what_is_refused
            plan::fast_keeps_all_or_nothing
            plan::a_null_key_is_refused
            guard::deletes_are_refused_and_inserts_and_updates_pass
            guard::a_change_of_the_key_is_refused_as_a_delete
            guard::a_truncate_is_refused
            guard::a_guard_on_writes_refuses_every_write
            guard::the_barrier_divides_what_was_deleted_from_what_is_refused
            guard::what_was_begun_before_the_arming_is_refused_or_waited_for
            guard::guards_of_several_maps_are_counted
            guard::arming_again_renews_the_guard
            guard::what_stands_is_found_again_after_a_restart
            guard::writes_of_ours_pass
            guard::leaving_capture_takes_the_guards_along
            guard::the_last_guard_leaves_nothing_behind
            guard::a_table_that_is_not_captured_is_not_guarded
            guard::an_older_start_can_neither_arm_nor_disarm
            reads::chunks_bring_every_row_once
            reads::a_chunk_ends_with_the_row_that_is_too_much
            reads::an_empty_table_has_no_chunk
            reads::rows_are_read_by_their_keys
            reads::rows_come_in_the_form_of_the_log
            reads::a_read_shows_what_lies_before_its_barrier
            reads::barriers_have_places_of_their_own
            copy::copying_writes_what_differs_and_counts_it
            copy::what_is_copied_is_equal_value_for_value
            copy::loading_a_record_that_is_there_changes_nothing
            copy::a_transaction_that_is_tried_record_by_record_is_checked_at_its_end
            lookup::a_looked_up_value_is_found_in_the_same_transaction
            lookup::a_looked_up_value_is_found_by_a_copy
            lookup::a_looked_up_record_that_is_not_there_is_a_reference
            values::values_come_through_capture_and_apply_unchanged
            values::odd_names_are_only_names
            values::a_schema_is_described_as_it_is
        }
    };
    (@each $make:expr; $($part:ident :: $name:ident)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                let fixture = $make.await;
                crate::conformance::$part::$name(&fixture).await;
            }
        )*
    };
}
pub(crate) use promises;

/// The first start of our data folder.
pub fn owner() -> Owner {
    Owner { journal: JournalId(7), epoch: Epoch(1) }
}

pub fn later(owner: Owner) -> Owner {
    Owner { epoch: Epoch(owner.epoch.0 + 1), ..owner }
}

pub const STREAM: &str = "erp→crm";

/// `id` (key), `name`, `body` (large).
pub fn items(app: &dyn Fixture) -> TestTable {
    TestTable {
        name: app.table("items"),
        columns: vec![("id", ColumnType::Int), ("name", ColumnType::Text), ("body", ColumnType::Large)],
        key: vec!["id"],
        unique: vec![],
        not_null: vec![],
        references: vec![],
    }
}

pub fn item(id: i64, name: &str) -> Vec<Value> {
    vec![id.into(), name.into(), "body".into()]
}

pub fn insert(table: &TableName, row: Vec<Value>) -> Step {
    Step::Insert(table.clone(), row)
}

pub fn update(table: &TableName, id: i64, set: Vec<(&'static str, Value)>) -> Step {
    Step::Update(table.clone(), vec![("id", id.into())], set)
}

pub fn delete(table: &TableName, id: i64) -> Step {
    Step::Delete(table.clone(), vec![("id", id.into())])
}

/// Waits for something that must happen soon.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(done) => done,
        Err(_) => panic!("never happened: {what}"),
    }
}

/// Does it again as long as the app says that another transaction was in the way.
pub async fn insist<T>(what: &str, mut call: impl AsyncFnMut() -> Result<T, tandem_core::Fault>) -> T {
    soon(what, async {
        loop {
            match call().await {
                Ok(done) => return done,
                Err(fault) if fault.class.is_transient() => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(fault) => panic!("{what}: {fault}"),
            }
        }
    })
    .await
}

pub async fn source(app: &dyn Fixture) -> Box<dyn Source> {
    insist("open source", async || app.connector().open_source(owner()).await).await
}

pub async fn capture(app: &dyn Fixture, from: &Position) -> Box<dyn Capture> {
    insist("open capture", async || app.connector().open_capture(owner(), from).await).await
}

pub async fn apply(app: &dyn Fixture) -> Box<dyn Apply> {
    insist("open apply", async || app.connector().open_apply(owner(), STREAM).await).await
}

pub async fn enter(source: &mut dyn Source, tables: &[TableName], barrier: u64) -> Position {
    insist("enter", async || source.enter(tables, BarrierId(barrier)).await).await
}

/// What a capture said, in a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Change(Change),
    Barrier(BarrierId),
    Commit(Commit, Option<Mark>),
    Idle(Position),
}

/// Reads until what was read is enough.
pub async fn read_until(capture: &mut dyn Capture, enough: impl Fn(&[Event]) -> bool) -> Vec<Event> {
    let mut events = Vec::new();
    let done = tokio::time::timeout(DEADLINE, async {
        while !enough(&events) {
            let captured = capture.next().await.expect("the log can be read");
            for fragment in captured.fragments {
                events.extend(fragment.entries.into_iter().map(|entry| match entry {
                    Entry::Change(change) => Event::Change(change),
                    Entry::Barrier(barrier) => Event::Barrier(barrier),
                }));
                events.extend(fragment.commit.map(|commit| Event::Commit(commit, fragment.mark)));
            }
            events.extend(captured.idle.map(Event::Idle));
        }
    })
    .await;
    if done.is_err() {
        panic!("read in vain: {:?}", say(&events));
    }
    events
}

/// Reads until this barrier's transaction has ended.
pub async fn read_to_barrier(capture: &mut dyn Capture, barrier: u64) -> Vec<Event> {
    read_until(capture, |events| {
        let at = events.iter().position(|event| *event == Event::Barrier(BarrierId(barrier)));
        at.is_some_and(|at| events.iter().skip(at).any(|event| matches!(event, Event::Commit(..))))
    })
    .await
}

/// Reads until as many changes have come, and the commit behind them.
pub async fn read_changes(capture: &mut dyn Capture, count: usize) -> Vec<Event> {
    read_until(capture, |events| {
        let changes = events.iter().filter(|event| matches!(event, Event::Change(_))).count();
        let ended = events.iter().rev().find(|event| !matches!(event, Event::Idle(_)));
        changes >= count && matches!(ended, Some(Event::Commit(..)))
    })
    .await
}

/// The position behind the last commit.
pub fn end(events: &[Event]) -> Position {
    let positions = events.iter().rev().filter_map(|event| match event {
        Event::Commit(commit, _) => Some(commit.position.clone()),
        Event::Change(_) | Event::Barrier(_) | Event::Idle(_) => None,
    });
    positions.into_iter().next().expect("something was committed")
}

/// The events in words, without commits and idle positions: `insert items 1 a`, `update items 1→2 b`.
pub fn say(events: &[Event]) -> Vec<String> {
    let word = |event: &Event| match event {
        Event::Change(change) => Some(say_change(change)),
        Event::Barrier(barrier) => Some(format!("barrier {}", barrier.0)),
        Event::Commit(..) | Event::Idle(_) => None,
    };
    events.iter().filter_map(word).collect()
}

fn say_change(change: &Change) -> String {
    let table = &change.relation.table.name;
    let shown = |row: &Row, column: usize| match row.cell(column).value() {
        Some(value) => value.to_string(),
        None => "?".to_owned(),
    };
    match &change.op {
        Op::Insert { new } => format!("insert {table} {} {}", shown(new, 0), shown(new, 1)),
        Op::Update { old, new } => {
            let key = shown(new, 0);
            let before = old.as_ref().map_or(key.clone(), |old| shown(old, 0));
            let moved = if before == key { key } else { format!("{before}→{key}") };
            format!("update {table} {moved} {}", shown(new, 1))
        }
        Op::Delete { old } => format!("delete {table} {}", shown(old, 0)),
        Op::Truncate => format!("truncate {table}"),
    }
}

/// An app with `items` in capture: its source, the position to start at.
pub async fn with_items(app: &dyn Fixture) -> (TestTable, Box<dyn Source>, Position) {
    let table = items(app);
    app.create(&table).await;
    let mut source = source(app).await;
    let from = enter(&mut *source, std::slice::from_ref(&table.name), 1).await;
    (table, source, from)
}

pub fn position(text: &'static str) -> Position {
    Position(Bytes::from_static(text.as_bytes()))
}

pub fn columns(table: &TestTable) -> Vec<Arc<str>> {
    table.columns.iter().map(|(name, _)| Arc::from(*name)).collect()
}
