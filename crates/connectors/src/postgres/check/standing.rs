//! What stands of ours in the database and no longer fits together, and what the server allows us for how long.
//!
//! A check changes nothing and asks no engine, so it does not know which maps run. What it finds here is about the app
//! as a whole; what a single map lacks is found where that is put into capture.

use super::Check;
use crate::postgres::error::fault;
use crate::postgres::names::quoted;
use crate::postgres::names::{quoted_table, shown};
use tandem_core::connect::{CaptureNeed, WriteNeed};
use tandem_core::{Fault, Finding, TableSchema};

/// A server that keeps less of its log for us than this lets go of what we have not read within a short absence.
const KEPT_LOG_MIN_MB: i64 = 1024;

impl Check<'_> {
    /// Slot and publication of an app that is captured.
    pub(super) async fn standing(&mut self) -> Result<(), Fault> {
        let sql =
            "SELECT coalesce(s.plugin = 'pgoutput', false), s.wal_status::text, s.database::text, s.slot_name IS NOT NULL,
                p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate,
                (SELECT string_agg(r.prrelid::regclass::text, ', ') FROM pg_catalog.pg_publication_rel r
                 WHERE r.prpubid = p.oid AND (r.prattrs IS NOT NULL OR r.prqual IS NOT NULL)),
                (SELECT string_agg('ONLY ' || r.prrelid::regclass::text, ', ') FROM pg_catalog.pg_publication_rel r
                 WHERE r.prpubid = p.oid),
                (SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'max_slot_wal_keep_size')
            FROM (SELECT) AS one
                LEFT JOIN pg_catalog.pg_replication_slots s ON s.slot_name = $1
                LEFT JOIN pg_catalog.pg_publication p ON p.pubname = $1";
        let row = self.client.query_one(sql, &[&self.slot]).await.map_err(|error| fault("check", &error))?;
        let (name, place) = (quoted(self.slot), self.place.clone());
        let (decodes, status, of): (bool, Option<String>, Option<String>) =
            (row.get(0), row.get(1), row.get(2));
        let publishes: Option<bool> = row.get(4);
        let drop = format!("SELECT pg_drop_replication_slot('{}');", self.slot.replace('\'', "''"));
        let exists: bool = row.get(3);
        let slot = exists && decodes && of.as_deref() == Some(self.database());
        if exists && !slot {
            let whose = of.unwrap_or_else(|| "no database".to_owned());
            let message = format!("there is a replication slot {name}, and it is not ours: it is of {whose}");
            let fix = format!("give the app another name in the config; or, if nobody reads it: {drop}");
            self.add(Finding::error("slot_foreign", &place, message).fix(fix));
        } else if status.as_deref() == Some("lost") {
            let message = "the server has thrown away log that we had not read (max_slot_wal_keep_size)";
            let fix = format!("stop the app's maps, {drop} and run the maps again with an initial sync");
            self.add(Finding::error("slot_lost", &place, message).fix(fix));
        }
        let again = "tandem app stop APP, then tandem map run with an initial sync";
        if slot && publishes.is_none() {
            let message =
                format!("our slot {name} is there, and its publication is not: nothing is captured");
            self.add(Finding::warning("publication_missing", &place, message).fix(again));
        }
        // A publication alone may have been made for us by who may, before anything is captured.
        if !exists && self.had_slot().await? {
            let message = format!("our slot {name} is gone: what was changed since is unknown");
            self.add(Finding::warning("slot_missing", &place, message).fix(again));
        }
        let narrowed: Option<String> = row.get(5);
        if publishes == Some(false) || narrowed.is_some() {
            let of = narrowed.map(|tables| format!(" of {tables}")).unwrap_or_default();
            let message =
                format!("the publication {name} leaves out a part{of}: it would be lost in silence");
            let all: Option<String> = row.get(6);
            let tables =
                all.map(|all| format!(" ALTER PUBLICATION {name} SET TABLE {all};")).unwrap_or_default();
            let fix = format!(
                "ALTER PUBLICATION {name} SET (publish = 'insert, update, delete, truncate');{tables}"
            );
            self.add(Finding::error("publication_narrow", &place, message).fix(fix));
        }
        let kept: i64 = row.get(7);
        if (0..KEPT_LOG_MIN_MB).contains(&kept) {
            let message = format!(
                "max_slot_wal_keep_size is {kept} MB: after an absence in which the server writes more than that, \
                 every map of this app has to be copied again"
            );
            let fix = "ALTER SYSTEM SET max_slot_wal_keep_size = '10GB'; SELECT pg_reload_conf();";
            self.add(Finding::warning("slot_wal_limit", &place, message).fix(fix));
        }
        Ok(())
    }

    /// Whether it is noted that we have made a slot.
    async fn had_slot(&self) -> Result<bool, Fault> {
        let failed = |error: tokio_postgres::Error| fault("check", &error);
        let sql =
            "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = 'tandem' AND c.relname = 'owner'
                AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')";
        if self.client.query_opt(sql, &[]).await.map_err(failed)?.is_none() {
            return Ok(false);
        }
        let sql = "SELECT 1 FROM tandem.owner WHERE slot = $1 AND slot_birth IS NOT NULL";
        Ok(self.client.query_opt(sql, &[&self.slot]).await.map_err(failed)?.is_some())
    }

    /// Whether records of a table are hidden from our role.
    pub(super) async fn row_security(&mut self, oid: u32, place: &str) -> Result<(), Fault> {
        let sql = "SELECT row_security_active($1::oid)";
        let row = self.client.query_one(sql, &[&oid]).await.map_err(|error| fault("check", &error))?;
        if row.get(0) {
            let message = format!(
                "row-level security of {place} is in force for our role: records that it hides would be missing, and be \
                 taken for deleted or new"
            );
            let fix = format!("ALTER ROLE {} BYPASSRLS;", self.user);
            self.add(Finding::error("row_security", place, message).fix(fix));
        }
        Ok(())
    }

    /// Records without a key: no chunk of a copy has them, and no comparison. Looked for where an index answers at once.
    pub(super) async fn keyless(
        &mut self,
        oid: u32,
        need: &CaptureNeed,
        schema: &TableSchema,
    ) -> Result<(), Fault> {
        let failed = |error: tokio_postgres::Error| fault("check", &error);
        let optional =
            need.key.iter().filter(|name| schema.column(name).is_some_and(|column| column.nullable));
        for column in optional {
            let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_index x
                JOIN pg_catalog.pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[0]
                WHERE x.indrelid = $1 AND x.indisvalid AND x.indpred IS NULL AND a.attname::text = $2)";
            if !self.client.query_one(sql, &[&oid, &&**column]).await.map_err(failed)?.get::<_, bool>(0) {
                continue;
            }
            let (table, name) = (quoted_table(&need.table), quoted(column));
            let sql = format!("SELECT EXISTS (SELECT FROM {table} WHERE {name} IS NULL)");
            if self.client.query_one(&sql, &[]).await.map_err(failed)?.get(0) {
                let place = format!("{}.{column}", shown(&need.table));
                let message = format!(
                    "{} has records whose {column} is null: they have no key, so an initial sync passes them over, and a \
                     change of one is set aside",
                    shown(&need.table)
                );
                let fix = format!(
                    "give them a key: SELECT * FROM {table} WHERE {name} IS NULL; or leave them out by a filter"
                );
                self.add(Finding::warning("key_null", place, message).fix(fix));
            }
        }
        Ok(())
    }

    /// Columns that take a number only with a new record: PostgreSQL refuses every later write to them, whatever the value.
    pub(super) async fn numbered(&mut self, oid: u32, need: &WriteNeed) -> Result<(), Fault> {
        let sql = "SELECT a.attname::text FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attidentity = 'a' ORDER BY a.attnum";
        let rows = self.client.query(sql, &[&oid]).await.map_err(|error| fault("check", &error))?;
        let (table, place) = (quoted_table(&need.table), shown(&need.table));
        for row in &rows {
            let column: String = row.get(0);
            let place = format!("{place}.{column}");
            let fix = format!("ALTER TABLE {table} ALTER {} SET GENERATED BY DEFAULT;", quoted(&column));
            // A key is written with a new record, and then only when it changes.
            if need.key.iter().any(|key| **key == *column) {
                let message = format!(
                    "{column} is GENERATED ALWAYS AS IDENTITY: new records get the source's number, but PostgreSQL refuses to \
                     change one"
                );
                self.add(Finding::warning("identity_always", place, message).fix(fix));
            } else if need.columns.iter().any(|written| **written == *column) {
                let message = format!(
                    "{column} is GENERATED ALWAYS AS IDENTITY: PostgreSQL refuses to write it in a record that is there"
                );
                let fix = format!("{fix} or leave the column out of the map");
                self.add(Finding::error("identity_always", place, message).fix(fix));
            }
        }
        Ok(())
    }

    /// Sequences of columns that we write with their numbers, and may not move on behind them.
    pub(super) async fn sequences(
        &mut self,
        oid: u32,
        place: &str,
        columns: &[std::sync::Arc<str>],
    ) -> Result<(), Fault> {
        let sql = "SELECT a.attname::text, n.nspname::text, c.relname::text
            FROM pg_catalog.pg_depend d
                JOIN pg_catalog.pg_class c ON c.oid = d.objid AND c.relkind = 'S'
                JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
            WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refobjid = $1 AND d.deptype IN ('a', 'i')
                AND NOT (has_sequence_privilege(c.oid, 'UPDATE') AND has_sequence_privilege(c.oid, 'SELECT'))
            ORDER BY a.attnum";
        let rows = self.client.query(sql, &[&oid]).await.map_err(|error| fault("check", &error))?;
        for row in &rows {
            let (column, schema, name): (String, String, String) = (row.get(0), row.get(1), row.get(2));
            if !columns.iter().any(|written| **written == *column) {
                continue;
            }
            let sequence = format!("{}.{}", quoted(&schema), quoted(&name));
            let message = format!(
                "we may not move {sequence} on: behind an initial sync {place} would give numbers to new records that \
                 others have"
            );
            let fix = format!("GRANT SELECT, UPDATE ON SEQUENCE {sequence} TO {};", self.user);
            self.add(Finding::warning("sequence_right", format!("{place}.{column}"), message).fix(fix));
        }
        Ok(())
    }
}
