//! What stands in the way of the needs, and the exact SQL that mends it.
//!
//! A finding's SQL can be pasted as it is: names are quoted, the role is the one of the app's URL. What only a
//! superuser or the table's owner can do is said with the statement that they would run.

mod standing;

use super::connect::Endpoint;
use super::error::fault;
use super::names::{quoted, quoted_table, shown};
use super::{kin, schema};
use std::sync::Arc;
use tandem_core::connect::{CaptureNeed, Needs, WriteNeed};
use tandem_core::{Fault, Finding, TableName, TableSchema};
use tokio_postgres::{Client, Row};

/// The oldest server that is tried.
const VERSION_MIN: i32 = 15;

/// Answers [`tandem_core::connect::Connector::check`].
pub(super) async fn check(endpoint: &Endpoint, slot: &str, needs: &Needs) -> Result<Vec<Finding>, Fault> {
    let client = endpoint.session("check").await?;
    let place = format!("database {}", endpoint.database());
    let user = quoted(endpoint.user());
    let mut check = Check { client: &client, slot, place, user, findings: Vec::new() };
    check.server(needs).await?;
    let captured: Vec<TableName> = needs.captured.iter().map(|need| need.table.clone()).collect();
    for need in &needs.captured {
        check.captured(need, &captured).await?;
    }
    for need in &needs.written {
        check.written(need).await?;
    }
    // What is captured and written is looked at twice.
    let mut findings: Vec<Finding> = Vec::with_capacity(check.findings.len());
    for finding in check.findings {
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    Ok(findings)
}

struct Check<'a> {
    client: &'a Client,
    slot: &'a str,
    /// How the app as a whole is named.
    place: String,
    /// Our role, quoted.
    user: String,
    findings: Vec<Finding>,
}

impl Check<'_> {
    fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    async fn row(&self, sql: &str) -> Result<Row, Fault> {
        self.client.query_one(sql, &[]).await.map_err(|error| fault("check", &error))
    }

    async fn server(&mut self, needs: &Needs) -> Result<(), Fault> {
        let row = self
            .row(
                "SELECT current_setting('server_version_num')::int / 10000, pg_is_in_recovery(),
                    current_setting('server_encoding') = 'SQL_ASCII',
                    has_database_privilege(current_database(), 'CREATE'),
                    EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'tandem'),
                    coalesce((SELECT has_schema_privilege(oid, 'CREATE') AND has_schema_privilege(oid, 'USAGE')
                              FROM pg_catalog.pg_namespace WHERE nspname = 'tandem'), true)",
            )
            .await?;
        let (version, place): (i32, String) = (row.get(0), self.place.clone());
        if version < VERSION_MIN {
            let message = format!("PostgreSQL {version} is older than {VERSION_MIN}, the oldest that works");
            let fix = format!("upgrade the server to PostgreSQL {VERSION_MIN} or later");
            self.add(Finding::error("server_version", &place, message).fix(fix));
        }
        if row.get(1) {
            let message = "this server is a standby: it can neither be written nor captured";
            self.add(
                Finding::error("standby", &place, message).fix("point the app's url to the primary server"),
            );
        }
        if row.get(2) {
            let message =
                "the database has no encoding (SQL_ASCII): text that is not UTF-8 stops the capture";
            let fix = "move the data into a database made with: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0;";
            self.add(Finding::warning("encoding", &place, message).fix(fix));
        }
        let (create, has_schema, may_use): (bool, bool, bool) = (row.get(3), row.get(4), row.get(5));
        let grant = format!("GRANT CREATE ON DATABASE {} TO {};", quoted(self.database()), self.user);
        let publication = !needs.captured.is_empty() && !self.has_publication().await?;
        if !create && (!has_schema || publication) {
            let message = "we may not create the schema tandem or a publication here";
            self.add(Finding::error("create_right", &place, message).fix(&grant));
        }
        if has_schema && !may_use {
            let message = "there is a schema tandem that we may not use";
            let fix = format!("GRANT USAGE, CREATE ON SCHEMA tandem TO {};", self.user);
            self.add(Finding::error("schema_right", &place, message).fix(fix));
        }
        if needs.captured.is_empty() {
            return Ok(());
        }
        self.replication().await?;
        self.standing().await
    }

    fn database(&self) -> &str {
        self.place.strip_prefix("database ").unwrap_or(&self.place)
    }

    async fn has_publication(&self) -> Result<bool, Fault> {
        let sql = "SELECT 1 FROM pg_catalog.pg_publication WHERE pubname = $1";
        let row = self.client.query_opt(sql, &[&self.slot]).await;
        row.map(|row| row.is_some()).map_err(|error| fault("check", &error))
    }

    async fn replication(&mut self) -> Result<(), Fault> {
        let sql = "SELECT current_setting('wal_level'),
                (SELECT rolreplication OR rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
                    OR EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'rds_replication'
                               AND pg_has_role(current_user, oid, 'USAGE')),
                EXISTS (SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = $1),
                (SELECT count(*) FROM pg_catalog.pg_replication_slots),
                current_setting('max_replication_slots')::bigint,
                (SELECT count(*) FROM pg_catalog.pg_stat_replication),
                current_setting('max_wal_senders')::bigint,
                coalesce((SELECT active FROM pg_catalog.pg_replication_slots WHERE slot_name = $1), false)";
        let row = self.client.query_one(sql, &[&self.slot]).await.map_err(|error| fault("check", &error))?;
        let (level, place): (String, _) = (row.get(0), self.place.clone());
        if level != "logical" {
            let message = format!("wal_level is {level}: the log does not say what changed");
            let fix = "ALTER SYSTEM SET wal_level = logical; then restart PostgreSQL";
            self.add(Finding::error("wal_level", &place, message).fix(fix));
        }
        if !row.get::<_, Option<bool>>(1).unwrap_or(false) {
            let fix = format!("ALTER ROLE {} REPLICATION;", self.user);
            self.add(Finding::error("replication_right", &place, "our role may not read the log").fix(fix));
        }
        let (has_slot, slots, slots_max): (bool, i64, i64) = (row.get(2), row.get(3), row.get(4));
        if !has_slot && slots >= slots_max {
            let message = format!("all {slots_max} replication slots are taken");
            let fix = format!(
                "ALTER SYSTEM SET max_replication_slots = {}; then restart PostgreSQL",
                slots_max + 5
            );
            self.add(Finding::error("replication_slots", &place, message).fix(fix));
        }
        let (senders, senders_max, active): (i64, i64, bool) = (row.get(5), row.get(6), row.get(7));
        if !active && senders >= senders_max {
            let message = format!("all {senders_max} walsenders are taken");
            let fix =
                format!("ALTER SYSTEM SET max_wal_senders = {}; then restart PostgreSQL", senders_max + 5);
            self.add(Finding::error("wal_senders", &place, message).fix(fix));
        }
        Ok(())
    }

    /// The table, or a finding that it is missing or of a kind that does not do.
    async fn table(&mut self, table: &TableName) -> Result<Option<(u32, Row, TableSchema)>, Fault> {
        let found = schema::find(self.client, table).await?;
        let described = schema::describe(self.client, table).await?;
        let (Some((oid, class)), Some(schema)) = (found, described) else {
            let message = format!("there is no table {}", shown(table));
            let fix = "correct the name in the config: schema and case count";
            self.add(Finding::error("table_missing", shown(table), message).fix(fix));
            return Ok(None);
        };
        let kind = match class.get::<_, String>(1).as_str() {
            "r" | "p" => return Ok(Some((oid, class, schema))),
            "f" => "a foreign table",
            "m" => "a materialized view",
            _ => "a view",
        };
        let message = format!("{} is {kind}: only tables can be kept in step", shown(table));
        let fix = "name the table in the config that it is made of";
        self.add(Finding::error("table_kind", shown(table), message).fix(fix));
        Ok(None)
    }

    fn missing_columns(&mut self, table: &TableName, schema: &TableSchema, columns: &[Arc<str>]) -> bool {
        let missing: Vec<_> = columns.iter().filter(|column| schema.column(column).is_none()).collect();
        for column in &missing {
            let message = format!("{} has no column {column}", shown(table));
            let known: Vec<&str> = schema.columns.iter().map(|column| &*column.name).take(40).collect();
            let finding = Finding::error("column_missing", format!("{}.{column}", shown(table)), message);
            self.add(finding.fix(format!("its columns are: {}", known.join(", "))));
        }
        !missing.is_empty()
    }

    async fn captured(&mut self, need: &CaptureNeed, captured: &[TableName]) -> Result<(), Fault> {
        let Some((oid, class, schema)) = self.table(&need.table).await? else { return Ok(()) };
        let (name, place) = (quoted_table(&need.table), shown(&need.table));
        if class.get::<_, String>(2) != "p" {
            let message = format!("{place} is unlogged or temporary: it leaves no log");
            let fix = format!("ALTER TABLE {name} SET LOGGED;");
            self.add(Finding::error("unlogged", &place, message).fix(fix));
        }
        if let Some(kin) = kin::published(self.client, &need.table, self.slot, captured).await? {
            self.add(Finding::error("partition_shared", &place, kin.message(&place)).fix(kin.fix()));
        }
        let wanted: Vec<Arc<str>> = need.key.iter().chain(&need.also).cloned().collect();
        if !self.missing_columns(&need.table, &schema, &wanted)
            && let Some(column) = wanted.iter().find(|column| !schema.identity.contains(column))
        {
            let message = if need.key.contains(column) {
                format!(
                    "the replica identity of {place} does not cover the key column {column}: \
                     the log would not say which record was deleted or renamed"
                )
            } else {
                format!(
                    "the replica identity of {place} does not cover {column}, which the map's filter reads, or a map \
                     that goes both ways has to know: the log would not say it of a record that was changed or deleted"
                )
            };
            let fix = self.identity_sql(oid, need, &wanted).await?;
            self.add(Finding::error("replica_identity", &place, message).fix(fix));
        }
        let sql = "SELECT pg_has_role(current_user, c.relowner, 'USAGE'), r.rolname::text,
                EXISTS (SELECT FROM pg_catalog.pg_publication_rel p
                        JOIN pg_catalog.pg_publication b ON b.oid = p.prpubid
                        WHERE b.pubname = $2 AND p.prrelid = c.oid),
                has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(c.relnamespace, 'USAGE'),
                has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE')
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_roles r ON r.oid = c.relowner WHERE c.oid = $1";
        let row = self.client.query_one(sql, &[&oid, &self.slot]).await;
        let row = row.map_err(|error| fault("check", &error))?;
        let (owns, owner, published): (bool, String, bool) = (row.get(0), row.get(1), row.get(2));
        if !owns && !published {
            let message = format!("{place} belongs to {owner}: only its owner can put it into a publication");
            // The second way is a comment, so that all of it can be pasted.
            let fix = format!(
                "GRANT {} TO {};\n-- or, as a superuser, once the publication is there:\n\
                 -- ALTER PUBLICATION {} ADD TABLE ONLY {name};",
                quoted(&owner),
                self.user,
                quoted(self.slot)
            );
            self.add(Finding::error("publication_right", &place, message).fix(fix));
        } else if !owns {
            let message = format!(
                "{place} belongs to {owner}: we may not guard it, so while a map is paused deletes are queued and \
                 not refused, and at its limit its queue grows on"
            );
            let fix =
                format!("GRANT {0} TO {1}; or: ALTER TABLE {name} OWNER TO {1};", quoted(&owner), self.user);
            self.add(Finding::warning("guard_right", &place, message).fix(fix));
        }
        match row.get::<_, bool>(3) {
            true => self.keyless(oid, need, &schema).await?,
            false => self.add(self.lacks(&need.table, "read", "SELECT")),
        }
        if !row.get::<_, bool>(4) {
            let message = format!(
                "we may not lock {place}: to put it into capture waits for every open transaction of the server"
            );
            let fix = format!("GRANT UPDATE ON {name} TO {};", self.user);
            self.add(Finding::warning("lock_right", &place, message).fix(fix));
        }
        self.row_security(oid, &place).await
    }

    /// The statement that makes old rows name the wanted columns.
    async fn identity_sql(&self, oid: u32, need: &CaptureNeed, wanted: &[Arc<str>]) -> Result<String, Fault> {
        // A unique index that has them and whose columns are never null costs less log than FULL.
        let sql = "SELECT i.relname::text FROM pg_catalog.pg_index x
                JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
            WHERE x.indrelid = $1 AND x.indisunique AND x.indisvalid AND x.indimmediate
                AND x.indpred IS NULL AND x.indexprs IS NULL
                AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = x.indrelid
                                AND a.attnum = ANY (x.indkey) AND NOT a.attnotnull)
                AND $2::text[] <@ ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
                                        WHERE a.attrelid = x.indrelid AND a.attnum = ANY (x.indkey))
            ORDER BY x.indnkeyatts, i.relname LIMIT 1";
        let wanted: Vec<&str> = wanted.iter().map(|column| &**column).collect();
        let row =
            self.client.query_opt(sql, &[&oid, &wanted]).await.map_err(|error| fault("check", &error))?;
        let identity = match row {
            Some(row) => format!("USING INDEX {}", quoted(row.get(0))),
            None => "FULL".to_owned(),
        };
        Ok(format!("ALTER TABLE {} REPLICA IDENTITY {identity};", quoted_table(&need.table)))
    }

    async fn written(&mut self, need: &WriteNeed) -> Result<(), Fault> {
        let Some((oid, _, schema)) = self.table(&need.table).await? else { return Ok(()) };
        let (name, place) = (quoted_table(&need.table), shown(&need.table));
        let missing = self.missing_columns(&need.table, &schema, &need.columns);
        for column in need.columns.iter().filter_map(|column| schema.column(column)) {
            if column.generated {
                let message = format!("{place} computes {} itself: it cannot be written", column.name);
                let place = format!("{place}.{}", column.name);
                self.add(
                    Finding::error("column_generated", place, message).fix("leave the column out of the map"),
                );
            }
        }
        for column in &schema.columns {
            let left_out = !need.columns.contains(&column.name);
            if left_out && !column.nullable && !column.has_default && !column.generated {
                let message = format!("{place}.{} must have a value, and the map writes none", column.name);
                let fix = format!(
                    "ALTER TABLE {name} ALTER {} DROP NOT NULL; or map the column",
                    quoted(&column.name)
                );
                let place = format!("{place}.{}", column.name);
                self.add(Finding::error("column_required", place, message).fix(fix));
            }
        }
        if !missing && !schema.is_unique(&need.key) {
            let message =
                format!("nothing makes the integration key of {place} unique, at once and for all rows");
            self.add(Finding::error("key_not_unique", &place, message).fix(schema.unique_sql(&need.key)));
        }
        self.numbered(oid, need).await?;
        self.side_effects(oid, &place).await?;
        let sql =
            "SELECT has_schema_privilege(relnamespace, 'USAGE') FROM pg_catalog.pg_class WHERE oid = $1";
        let row = self.client.query_one(sql, &[&oid]).await.map_err(|error| fault("check", &error))?;
        if !row.get::<_, bool>(0) {
            let schema = quoted(super::names::schema_of(&need.table));
            let message = format!("we may not use the schema {schema}, which {place} is in");
            let fix = format!("GRANT USAGE ON SCHEMA {schema} TO {};", self.user);
            self.add(Finding::error("schema_usage", &place, message).fix(fix));
        }
        let sql = "SELECT has_table_privilege($1::oid, p) FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p";
        let rows = self.client.query(sql, &[&oid]).await.map_err(|error| fault("check", &error))?;
        let lacking: Vec<_> = ["SELECT", "INSERT", "UPDATE", "DELETE"]
            .into_iter()
            .zip(&rows)
            .filter(|(_, row)| !row.get::<_, bool>(0))
            .map(|(privilege, _)| privilege)
            .collect();
        if !lacking.is_empty() {
            self.add(self.lacks(&need.table, "write", &lacking.join(", ")));
        }
        self.sequences(oid, &place, &need.columns).await?;
        self.row_security(oid, &place).await
    }

    /// What else the database does when a table is written: a warning, since only its owner knows whether it is meant.
    async fn side_effects(&mut self, oid: u32, place: &str) -> Result<(), Fault> {
        let sql =
            "SELECT t.tgname::text FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
            JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
            WHERE t.tgrelid = $1 AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND n.nspname <> 'tandem'
            ORDER BY t.tgname";
        let triggers = self.client.query(sql, &[&oid]).await.map_err(|error| fault("check", &error))?;
        for trigger in &triggers {
            let name: String = trigger.get(0);
            let message = format!(
                "the trigger {name} of {place} fires for what we write, too: a value that it changes will differ from \
                 the source's, and what it did at the source may be done twice"
            );
            let fix = format!(
                "let it pass what we write: WHEN (current_setting('tandem.apply', true) IS DISTINCT FROM 'on'); or ALTER \
                 TABLE … DISABLE TRIGGER {};",
                quoted(&name)
            );
            self.add(Finding::warning("trigger", place, message).fix(fix));
        }
        let sql = "SELECT f.conname::text, f.conrelid::regclass::text, f.confdeltype::text
            FROM pg_catalog.pg_constraint f
            WHERE f.confrelid = $1 AND f.contype = 'f' AND f.conparentid = 0 AND f.confdeltype IN ('c', 'n', 'd')
            ORDER BY f.conname";
        let cascades = self.client.query(sql, &[&oid]).await.map_err(|error| fault("check", &error))?;
        for cascade in &cascades {
            let (name, child, kind): (String, String, String) =
                (cascade.get(0), cascade.get(1), cascade.get(2));
            let what = if kind == "c" { "deletes" } else { "changes" };
            let message = format!(
                "a delete in {place} also {what} records of {child} ({name}): by the database, and for a table that a map \
                 writes by us as well"
            );
            let finding = Finding::warning("cascade", place, message);
            self.add(
                finding
                    .fix("leave the cascade to one of both: NO ACTION here if a map keeps the other table"),
            );
        }
        Ok(())
    }

    fn lacks(&self, table: &TableName, verb: &str, privileges: &str) -> Finding {
        let message = format!("we may not {verb} {}: {privileges} is missing", shown(table));
        let schema = quoted(super::names::schema_of(table));
        let (name, user) = (quoted_table(table), &self.user);
        let fix =
            format!("GRANT USAGE ON SCHEMA {schema} TO {user}; GRANT {privileges} ON {name} TO {user};");
        Finding::error("table_right", shown(table), message).fix(fix)
    }
}
