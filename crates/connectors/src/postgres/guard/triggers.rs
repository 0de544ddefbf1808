//! The text of guards: what their triggers are called, when they fire, what they say.
//!
//! A guard is a handful of triggers on its table, all of which call one function, `tandem.refuse()`, with the same
//! arguments. The arguments are the guard: slot, map, what it refuses, since when, and the sentences for the user.
//! So there is no table of ours to read, neither for the triggers, whose answer would hang on the snapshot of the
//! transaction that they fire in, nor for us, who find in the catalog what stands.
//!
//! A trigger's `WHEN` decides, and the function only words the refusal: where nothing is refused, no code of ours
//! runs. Deletes are refused *before*, at the first record. A change of the key is refused *after*, since a
//! `BEFORE UPDATE` trigger makes PostgreSQL lock each record first, a quarter more of log for every update, and
//! since only then it is sure what other triggers have made of the key. The names sort behind those of the app's
//! own triggers, of which one may turn a delete into something else.
//!
//! An update that moves a record to another partition is a delete and an insert to PostgreSQL. It is an update to
//! its user, and passes: a `BEFORE UPDATE` trigger, on partitioned tables only, notes which record is on its way.

use super::super::names::{literal, quoted};
use tandem_core::{Guard, Refusal};

/// Our own transactions say that they are ours, and a person who means it may too: it is set nowhere by accident.
const NOT_OURS: &str = "pg_catalog.current_setting('tandem.apply', true) IS DISTINCT FROM 'on'";

/// Makes the function, or brings it up to date.
///
/// SQLSTATE `TD001`: what takes a record away is refused, since its map is paused. `TD002`: every write is, since
/// the map's queue is full.
pub(super) const FUNCTION: &str = r#"CREATE OR REPLACE FUNCTION tandem.refuse() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $refuse$
-- Made by Tandem for a table map that is paused or full; the HINT below says how to get rid of it.
DECLARE
    place text;
    image jsonb;
    shown text;
    what text;
BEGIN
    IF TG_ARGV[2] = 'deletes' AND TG_LEVEL = 'ROW' AND TG_WHEN = 'BEFORE' THEN
        place := OLD.tableoid::text || OLD.ctid::text;
        IF TG_OP = 'UPDATE' THEN
            PERFORM set_config('tandem.moving', place, true);
            RETURN NEW;
        ELSIF current_setting('tandem.moving', true) = place THEN
            RETURN OLD;
        END IF;
    END IF;
    IF TG_OP = 'TRUNCATE' THEN
        what := format('%s cannot be truncated', TG_ARGV[4]);
    ELSE
        IF TG_OP = 'INSERT' THEN image := to_jsonb(NEW); ELSE image := to_jsonb(OLD); END IF;
        SELECT string_agg(coalesce(image ->> k.name, 'null'), '|' ORDER BY k.nth) INTO shown
            FROM unnest(TG_ARGV[7:]) WITH ORDINALITY AS k(name, nth);
        shown := format('record %s of %s', left(coalesce(shown, '?'), 200), TG_ARGV[4]);
        what := CASE
            WHEN TG_OP = 'INSERT' THEN format('%s cannot be inserted', shown)
            WHEN TG_OP = 'DELETE' THEN format('%s cannot be deleted', shown)
            WHEN TG_ARGV[2] = 'deletes' THEN format('the key of %s cannot be changed', shown)
            ELSE format('%s cannot be updated', shown)
        END;
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = CASE TG_ARGV[2] WHEN 'deletes' THEN 'TD001' ELSE 'TD002' END,
        MESSAGE = format('%s now: %s', what, TG_ARGV[5]), HINT = TG_ARGV[6],
        SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
END $refuse$;
"#;

/// The table that a guard stands on, as the catalog has it under the lock.
#[derive(Debug)]
pub(super) struct Ground {
    /// Its identity, which a rename does not change.
    pub(super) oid: u32,
    /// As SQL text.
    pub(super) sql: String,
    /// As people read it.
    pub(super) shown: String,
    /// It and all its partitions, as SQL text.
    pub(super) tree: Vec<String>,
    /// What decides which partition a record is in. `None`: it has no partitions.
    pub(super) partition_key: Option<PartitionKey>,
}

/// What decides which partition a record is in.
#[derive(Debug)]
pub(super) enum PartitionKey {
    /// These columns.
    Columns(Vec<String>),
    /// An expression: any update may move a record.
    Expression,
}

/// What the names of all triggers of ours begin with.
pub(super) const PREFIX: &str = "zz_tandem_";

/// What those of a table's guards begin with.
pub(super) fn table_prefix(oid: u32) -> String {
    format!("{PREFIX}{oid}_")
}

/// What those of one guard begin with.
pub(super) fn prefix(oid: u32, slot: &str, guard: &Guard) -> String {
    let whose = format!("{slot}\0{}\0{}", guard.map, guard.refuses.name());
    format!("{}{:016x}_", table_prefix(oid), super::super::names::hash(&whose))
}

/// The statements that make the function and arm a guard, within a transaction that has the table's lock.
pub(super) fn arm(guard: &Guard, slot: &str, ground: &Ground) -> String {
    let arguments = arguments(guard, slot, ground);
    let prefix = prefix(ground.oid, slot, guard);
    let mut sql = FUNCTION.to_owned();
    let mut make = |table: &str, name: &str, fires: &str, each: &str, when: &str| {
        let name = quoted(&format!("{prefix}{name}"));
        sql.push_str(&format!(
            "CREATE OR REPLACE TRIGGER {name} {fires} ON {table} FOR EACH {each} WHEN ({when}) \
             EXECUTE FUNCTION tandem.refuse({arguments});\n\
             ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name};\n"
        ));
    };
    for table in &ground.tree {
        make(table, "truncate", "BEFORE TRUNCATE", "STATEMENT", NOT_OURS);
    }
    let root = &ground.sql;
    if guard.refuses == Refusal::Writes {
        make(root, "write", "BEFORE INSERT OR UPDATE OR DELETE", "ROW", NOT_OURS);
        return sql;
    }
    make(root, "delete", "BEFORE DELETE", "ROW", NOT_OURS);
    let rekeyed = differs(guard.key.iter().map(|column| &**column));
    if let Some(rekeyed) = &rekeyed {
        make(root, "key", "AFTER UPDATE", "ROW", &format!("{NOT_OURS} AND ({rekeyed})"));
    }
    let moved = match &ground.partition_key {
        None => return sql,
        Some(PartitionKey::Columns(columns)) => differs(columns.iter().map(String::as_str)),
        Some(PartitionKey::Expression) => None,
    };
    // With a new key it is no mere move, and meets the guard against deletes.
    let stays = rekeyed.map(|rekeyed| format!(" AND NOT ({rekeyed})")).unwrap_or_default();
    let moved = moved.map(|moved| format!(" AND ({moved})")).unwrap_or_default();
    make(root, "move", "BEFORE UPDATE", "ROW", &format!("{NOT_OURS}{moved}{stays}"));
    sql
}

fn differs<'a>(columns: impl Iterator<Item = &'a str>) -> Option<String> {
    let one = |column| format!("OLD.{0} IS DISTINCT FROM NEW.{0}", quoted(column));
    let all: Vec<_> = columns.map(one).collect();
    (!all.is_empty()).then(|| all.join(" OR "))
}

fn arguments(guard: &Guard, slot: &str, ground: &Ground) -> String {
    let fixed = [
        slot,
        guard.map.as_str(),
        guard.refuses.name(),
        &guard.since.0.to_string(),
        &ground.shown,
        &guard.reason(),
        &guard.way_out(),
    ]
    .map(literal);
    let key = guard.key.iter().map(|column| literal(column));
    fixed.into_iter().chain(key).collect::<Vec<_>>().join(", ")
}

/// Drops the function if no trigger calls it any more. Under the lock that arming takes too, so that none comes in
/// between.
pub(super) const DROP_FUNCTION: &str = "DO $$ BEGIN
    IF to_regprocedure('tandem.refuse()') IS NOT NULL AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_trigger WHERE tgfoid = to_regprocedure('tandem.refuse()')) THEN
        DROP FUNCTION tandem.refuse();
    END IF;
END $$;";

/// Frees a database of everything that the app with this slot has left in it.
pub(in super::super) fn release_sql(slot: &str) -> String {
    let (name, publication) = (literal(slot), quoted(slot));
    format!(
        "-- Only with Tandem gone for good: what it has queued from this database stays with it.
-- The guards: users can delete and write again.
DO $$
DECLARE
    guard record;
BEGIN
    FOR guard IN SELECT t.tgname, t.tgrelid::regclass AS on_table FROM pg_catalog.pg_trigger t
        WHERE t.tgfoid = to_regprocedure('tandem.refuse()') AND t.tgparentid = 0
            AND starts_with(encode(t.tgargs, 'escape'), {name} || '\\000')
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', guard.tgname, guard.on_table);
    END LOOP;
END $$;
-- The slot and the publication: the log is let go of.
SELECT pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots WHERE slot_name = {name};
DROP PUBLICATION IF EXISTS {publication};
-- What is left of ours, unless another Tandem captures from this database too.
DO $$
BEGIN
    IF to_regclass('tandem.owner') IS NOT NULL THEN
        DELETE FROM tandem.owner WHERE slot = {name};
        IF EXISTS (SELECT FROM tandem.owner) THEN
            RAISE NOTICE 'the schema tandem stays: another Tandem captures from this database';
            RETURN;
        END IF;
    END IF;
    DROP SCHEMA IF EXISTS tandem CASCADE;
END $$;
"
    )
}
