//! Putting tables into capture and taking them out.
//!
//! The order of making is owner row, publication, slot; the order of removing is the reverse. So whatever crash
//! comes between, what is there is explained by what was made before it, and the next call goes on.
//!
//! A table that enters is locked against writers, published, and followed by a barrier in one transaction. The
//! lock waits for the transactions that have already written to it, and no later one can write before the
//! barrier. Without the right to lock, the barrier waits instead until every transaction that was open at the
//! publishing has ended.
//!
//! Published is `ONLY` the table: without that word the tables that inherit from it would be published too, and PostgreSQL
//! refuses the app's own updates of a published table without an identity. Partitions are published with their table
//! all the same, under its name alone. So a partition is in capture by itself only as long as nothing above it is.

use super::connect::Endpoint;
use super::error::fault;
use super::names::{literal, lock_key, quoted, quoted_table, schema_of, shown};
use super::position::{Place, parse_lsn};
use super::{guard, kin, lock, marker, owner};
use std::sync::Arc;
use std::time::Duration;
use tandem_core::connect::{BoxFuture, Owner, Source};
use tandem_core::{BarrierId, Fault, FaultClass, Position, TableName};
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

/// How long a session or a walsender of ours that just ended may linger before we believe that it is another's.
const LINGER: Duration = Duration::from_secs(3);

/// How long one call waits for the table's writers before it leaves the decision to the caller.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);

/// How long making the slot may wait for the transactions that were open at its start.
const SLOT_PATIENCE: Duration = Duration::from_secs(60);

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// The one session that changes what is captured, under the advisory lock of the slot.
#[derive(Debug)]
pub(super) struct PostgresSource {
    client: Client,
    slot: Arc<str>,
    owner: Owner,
}

impl PostgresSource {
    pub(super) async fn open(endpoint: &Endpoint, slot: Arc<str>, owner: Owner) -> Result<Self, Fault> {
        let client = endpoint.session("open the source").await?;
        let source = Self { client, slot, owner };
        source.take_lock().await?;
        if let Some(row) = owner::read(&source.client, &source.slot).await? {
            row.admit(owner, &source.slot, "open the source")?;
            owner::claim(&source.client, &source.slot, owner).await?;
        }
        Ok(source)
    }

    /// The lock lives as long as the session: a second engine is refused as long as the first lives.
    async fn take_lock(&self) -> Result<(), Fault> {
        const OPERATION: &str = "open the source";
        let failed = |error: tokio_postgres::Error| fault(OPERATION, &error);
        let key = lock_key(&self.slot);
        let deadline = Instant::now() + LINGER;
        let mut pause = FIRST_PAUSE;
        loop {
            let row =
                self.client.query_one("SELECT pg_try_advisory_lock($1)", &[&key]).await.map_err(failed)?;
            if row.get::<_, bool>(0) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                break;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
        let sql = "SELECT l.pid FROM pg_catalog.pg_locks l WHERE l.locktype = 'advisory' AND l.objsubid = 1
            AND l.granted AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
            AND ((l.classid::bigint << 32) | l.objid::bigint) = $1";
        let holder = self.client.query_opt(sql, &[&key]).await.map_err(failed)?;
        let pid = holder.map_or("unknown".to_owned(), |row| row.get::<_, i32>(0).to_string());
        let message = format!("another engine has the slot {} (session with pid {pid})", self.slot);
        Err(Fault::new(FaultClass::Fenced, OPERATION, message)
            .fix(format!("stop the other engine, or: SELECT pg_terminate_backend({pid});")))
    }

    /// Ends a transaction that a dropped call may have left open.
    async fn settle(&self) -> Result<(), Fault> {
        let settled = self.client.batch_execute("ROLLBACK; RESET statement_timeout").await;
        settled.map_err(|error| fault("begin anew", &error))
    }

    async fn do_enter(&self, tables: &[TableName], barrier: BarrierId) -> Result<Position, Fault> {
        self.settle().await?;
        owner::claim(&self.client, &self.slot, self.owner).await?;
        self.ensure_publication().await?;
        let start = self.ensure_slot().await?;
        for table in tables {
            self.refuse_uncapturable(table).await?;
        }
        self.publish(tables, barrier).await?;
        Ok(start.position())
    }

    async fn ensure_publication(&self) -> Result<(), Fault> {
        const OPERATION: &str = "make the publication";
        let failed = |error: tokio_postgres::Error| fault(OPERATION, &error);
        let sql = "SELECT puballtables FROM pg_catalog.pg_publication WHERE pubname = $1";
        if self.client.query_opt(sql, &[&&*self.slot]).await.map_err(failed)?.is_none() {
            let sql = format!(
                "CREATE PUBLICATION {} WITH (publish = 'insert, update, delete, truncate', \
                 publish_via_partition_root = true)",
                quoted(&self.slot)
            );
            self.client.batch_execute(&sql).await.map_err(|error| {
                let fault = failed(error);
                if fault.class != FaultClass::Permission {
                    return fault;
                }
                fault.fix("GRANT CREATE ON DATABASE <database> TO <user>")
            })?;
        }
        Ok(())
    }

    /// Makes the slot if it is not there, and says where a capture without a position begins.
    async fn ensure_slot(&self) -> Result<Place, Fault> {
        const OPERATION: &str = "make the replication slot";
        let failed = |error: tokio_postgres::Error| fault(OPERATION, &error);
        let place = |start: &str, birth: u64, system: &str, timeline: i32| {
            let numbers = (parse_lsn(start), system.parse().ok(), u32::try_from(timeline).ok());
            let (Some(lsn), Some(system), Some(timeline)) = numbers else {
                return Err(Fault::new(
                    FaultClass::Internal,
                    OPERATION,
                    "the server's position is unreadable",
                ));
            };
            Ok(Place { system, timeline, birth, lsn })
        };
        for _ in 0..2 {
            let sql =
                "SELECT s.confirmed_flush_lsn::text, s.plugin::text, s.database::text = current_database(),
                    (SELECT system_identifier::text FROM pg_control_system()),
                    (SELECT timeline_id FROM pg_control_checkpoint())
                FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = $1";
            let slot = self.client.query_opt(sql, &[&&*self.slot]).await.map_err(failed)?;
            let Some(slot) = slot else {
                self.create_slot().await?;
                continue;
            };
            let start: Option<String> = slot.get(0);
            let plugin: Option<String> = slot.get(1);
            if plugin.as_deref() != Some("pgoutput") || slot.get::<_, Option<bool>>(2) != Some(true) {
                let message = format!("the slot {} is there and is not one of ours", self.slot);
                return Err(Fault::new(FaultClass::Setup, OPERATION, message)
                    .fix(format!("SELECT pg_drop_replication_slot({});", literal(&self.slot))));
            }
            let Some(start) = start else {
                return Err(Fault::new(FaultClass::Conflict, OPERATION, "the slot is still being made"));
            };
            let row = owner::read(&self.client, &self.slot).await?;
            let birth = match row.and_then(|row| row.birth) {
                Some(birth) => birth,
                None => {
                    owner::note_birth(&self.client, &self.slot, &start).await?;
                    parse_lsn(&start).unwrap_or_default()
                }
            };
            return place(&start, birth, &slot.get::<_, String>(3), slot.get(4));
        }
        Err(Fault::new(FaultClass::Conflict, OPERATION, "the slot was dropped as soon as it was made"))
    }

    async fn create_slot(&self) -> Result<(), Fault> {
        const OPERATION: &str = "make the replication slot";
        let failed = |error: tokio_postgres::Error| {
            let fault = fault(OPERATION, &error);
            match (fault.code.as_deref(), fault.class) {
                (Some("55000"), _) => {
                    fault.fix("ALTER SYSTEM SET wal_level = logical; then restart PostgreSQL")
                }
                (Some("57014"), _) => {
                    let message = "transactions that were open before it have not ended";
                    Fault::new(FaultClass::Conflict, OPERATION, message).fix(
                        "SELECT pid, xact_start, query FROM pg_stat_activity WHERE backend_xid IS NOT NULL;",
                    )
                }
                (_, FaultClass::Permission) => fault.fix("ALTER ROLE <user> REPLICATION;"),
                _ => fault,
            }
        };
        let set = format!("SET statement_timeout = {}", SLOT_PATIENCE.as_millis());
        self.client.batch_execute(&set).await.map_err(failed)?;
        // A birth that was noted belongs to a slot that is gone.
        let forget = "UPDATE tandem.owner SET slot_birth = NULL WHERE slot = $1";
        self.client.execute(forget, &[&&*self.slot]).await.map_err(failed)?;
        let sql = "SELECT lsn::text FROM pg_create_logical_replication_slot($1, 'pgoutput')";
        let created = self.client.query_one(sql, &[&&*self.slot]).await;
        let reset = self.client.batch_execute("RESET statement_timeout").await;
        let lsn: String = created.map_err(failed)?.get(0);
        reset.map_err(failed)?;
        owner::note_birth(&self.client, &self.slot, &lsn).await
    }

    /// Refuses what the log would not show, or not well enough to find a record again.
    async fn refuse_uncapturable(&self, table: &TableName) -> Result<(), Fault> {
        const OPERATION: &str = "put a table into capture";
        // Of a partitioned table each leaf has an identity of its own, and one without refuses the app's own
        // updates as soon as it is published.
        let sql = "SELECT c.relkind::text, c.relpersistence::text,
                (SELECT min(format('%I.%I', ln.nspname, l.relname)) FROM pg_catalog.pg_class l
                 JOIN pg_catalog.pg_namespace ln ON ln.oid = l.relnamespace
                 WHERE (l.oid = c.oid OR l.oid IN (SELECT relid FROM pg_partition_tree(c.oid)))
                    AND l.relkind = 'r' AND l.relreplident <> 'f'
                    AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i
                        WHERE i.indrelid = l.oid AND (l.relreplident = 'i' AND i.indisreplident
                            OR l.relreplident = 'd' AND i.indisprimary AND i.indimmediate)))
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = $1 AND c.relname = $2";
        let row = self.client.query_opt(sql, &[&schema_of(table), &&*table.name]).await;
        let row = row.map_err(|error| fault(OPERATION, &error).table(shown(table)))?;
        let refuse = |class, message: &str| Fault::new(class, OPERATION, message).table(shown(table));
        let name = quoted_table(table);
        let Some(row) = row else {
            return Err(refuse(FaultClass::Schema, &format!("there is no table {table}")));
        };
        let text = |column| row.get::<_, String>(column);
        if !matches!(text(0).as_str(), "r" | "p") {
            return Err(refuse(
                FaultClass::Setup,
                &format!("{table} is no table that PostgreSQL can publish"),
            ));
        }
        if text(1) != "p" {
            return Err(refuse(
                FaultClass::Setup,
                &format!("{table} is unlogged or temporary: it leaves no log"),
            )
            .fix(format!("ALTER TABLE {name} SET LOGGED;")));
        }
        if let Some(kin) = kin::published(&self.client, table, &self.slot, &[]).await? {
            return Err(refuse(FaultClass::Setup, &kin.message(&shown(table))).fix(kin.fix()));
        }
        if let Some(bare) = row.get::<_, Option<String>>(2) {
            let message = format!("{bare} has no replica identity: the log would not say which row changed");
            return Err(refuse(FaultClass::Setup, &message)
                .fix(format!("ALTER TABLE {bare} REPLICA IDENTITY FULL; (or USING INDEX a unique one)")));
        }
        Ok(())
    }

    /// Publishes the tables and writes the barrier, with the lock if we may.
    async fn publish(&self, tables: &[TableName], barrier: BarrierId) -> Result<(), Fault> {
        const OPERATION: &str = "put tables into capture";
        let lock_timeout = lock::patience_ms(&self.client).await?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        let mut pause = FIRST_PAUSE;
        loop {
            let tried = self.publish_locked(tables, barrier, lock_timeout).await;
            let Err(error) = tried else { return Ok(()) };
            let rolled_back = self.client.batch_execute("ROLLBACK").await;
            rolled_back.map_err(|error| fault(OPERATION, &error))?;
            match error.class {
                FaultClass::Conflict if Instant::now() < deadline => {
                    sleep(pause).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                }
                FaultClass::Conflict => return Err(self.name_blockers(error, tables).await),
                FaultClass::Permission => return self.publish_unlocked(tables, barrier).await,
                _ => return Err(error),
            }
        }
    }

    async fn publish_locked(
        &self,
        tables: &[TableName],
        barrier: BarrierId,
        lock_timeout: i64,
    ) -> Result<(), Fault> {
        const OPERATION: &str = "put tables into capture";
        let run = async |sql: &str| self.client.batch_execute(sql).await.map_err(|e| fault(OPERATION, &e));
        run(&format!("BEGIN; SET LOCAL lock_timeout = {lock_timeout}")).await?;
        // In one order for everybody, so that two of these cannot wait for each other.
        let mut names: Vec<_> = tables.iter().map(quoted_table).collect();
        names.sort();
        names.dedup();
        if !names.is_empty() {
            run(&format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", names.join(", "))).await?;
        }
        self.add_to_publication(tables).await?;
        self.emit(barrier).await?;
        run("COMMIT").await
    }

    /// The way without the right to lock: publish, let every transaction end that was open then, and only now
    /// write the barrier.
    async fn publish_unlocked(&self, tables: &[TableName], barrier: BarrierId) -> Result<(), Fault> {
        const OPERATION: &str = "put tables into capture";
        let failed = |error: tokio_postgres::Error| fault(OPERATION, &error);
        if let Err(fault) = self.add_to_publication(tables).await {
            if fault.class != FaultClass::Permission {
                return Err(fault);
            }
            let names: Vec<_> = tables.iter().map(quoted_table).collect();
            return Err(fault.fix(format!(
                "make the tables ours to publish (GRANT <owner of the table> TO <user>;), or as a superuser: \
                 ALTER PUBLICATION {} ADD TABLE ONLY {};",
                quoted(&self.slot),
                names.join(", ONLY ")
            )));
        }
        let row = self.client.query_one("SELECT pg_current_xact_id()::text", &[]).await.map_err(failed)?;
        let published: String = row.get(0);
        let deadline = Instant::now() + LOCK_PATIENCE;
        let mut pause = FIRST_PAUSE;
        loop {
            let sql = "SELECT pg_snapshot_xmin(pg_current_snapshot()) > $1::text::xid8";
            let row = self.client.query_one(sql, &[&published]).await.map_err(failed)?;
            if row.get::<_, bool>(0) {
                return self.emit(barrier).await;
            }
            if Instant::now() >= deadline {
                let message = "transactions that were open before have not ended";
                return Err(Fault::new(FaultClass::Conflict, OPERATION, message).fix(
                    "SELECT pid, xact_start, query FROM pg_stat_activity WHERE backend_xid IS NOT NULL;",
                ));
            }
            sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    async fn add_to_publication(&self, tables: &[TableName]) -> Result<(), Fault> {
        let mut published: Vec<String> =
            self.published().await?.iter().map(|(table, _)| quoted_table(table)).collect();
        for table in tables {
            let name = quoted_table(table);
            // Or named twice in one call.
            if published.contains(&name) {
                continue;
            }
            let sql = format!("ALTER PUBLICATION {} ADD TABLE ONLY {name}", quoted(&self.slot));
            let added = self.client.batch_execute(&sql).await;
            added.map_err(|error| fault("put a table into capture", &error).table(shown(table)))?;
            published.push(name);
        }
        Ok(())
    }

    async fn emit(&self, barrier: BarrierId) -> Result<(), Fault> {
        let text = marker::barrier(self.owner.journal, &self.slot, barrier);
        let sql = "SELECT pg_logical_emit_message(true, $1::text, $2::text)::text";
        let emitted = self.client.query_one(sql, &[&marker::PREFIX, &text]).await;
        emitted.map(drop).map_err(|error| fault("write a barrier", &error))
    }

    /// All of them in one transaction: nothing of the app's comes between.
    async fn do_mark(&self, barriers: &[BarrierId]) -> Result<(), Fault> {
        self.settle().await?;
        let texts: Vec<String> =
            barriers.iter().map(|one| marker::barrier(self.owner.journal, &self.slot, *one)).collect();
        let sql = "SELECT count(pg_logical_emit_message(true, $1::text, b)) FROM unnest($2::text[]) AS b";
        let emitted = self.client.query_one(sql, &[&marker::PREFIX, &texts]).await;
        emitted.map(drop).map_err(|error| fault("write a barrier", &error))
    }

    async fn name_blockers(&self, fault: Fault, tables: &[TableName]) -> Fault {
        let sql = "SELECT string_agg(DISTINCT l.pid::text, ', ') FROM pg_catalog.pg_locks l
            JOIN pg_catalog.pg_class c ON c.oid = l.relation
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE l.granted AND l.pid <> pg_backend_pid() AND n.nspname = $1 AND c.relname = $2
                AND l.mode IN ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock',
                               'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')";
        for table in tables {
            let row = self.client.query_one(sql, &[&schema_of(table), &&*table.name]).await;
            if let Some(pids) = row.ok().and_then(|row| row.get::<_, Option<String>>(0)) {
                let message =
                    format!("{table} is being written by transactions that do not end (pids {pids})");
                return Fault::new(FaultClass::Conflict, fault.operation, message)
                    .code(fault.code.unwrap_or_default())
                    .table(shown(table))
                    .fix(format!("let them end, or: SELECT pg_terminate_backend(pid); for pid in ({pids})"));
            }
        }
        fault
    }

    /// The tables whose changes are in the log under their own names.
    async fn do_captured(&self) -> Result<Vec<TableName>, Fault> {
        let published = self.published().await?;
        Ok(published.into_iter().filter(|(_, by_itself)| *by_itself).map(|(table, _)| table).collect())
    }

    /// The tables in the publication; of a partition whose table is in it, too, that nothing comes under its name.
    async fn published(&self) -> Result<Vec<(TableName, bool)>, Fault> {
        let sql = "SELECT n.nspname::text, c.relname::text, NOT EXISTS (
                SELECT FROM pg_partition_ancestors(c.oid::regclass) a
                    JOIN pg_catalog.pg_publication_rel o ON o.prrelid = a.relid AND o.prpubid = p.oid
                WHERE a.relid <> c.oid)
            FROM pg_catalog.pg_publication p
            JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid
            JOIN pg_catalog.pg_class c ON c.oid = r.prrelid
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE p.pubname = $1 ORDER BY 1, 2";
        let rows = self.client.query(sql, &[&&*self.slot]).await;
        let rows = rows.map_err(|error| fault("list the captured tables", &error))?;
        let table = |row: &tokio_postgres::Row| {
            let (schema, name): (String, String) = (row.get(0), row.get(1));
            (TableName { schema: Some(schema.into()), name: name.into() }, row.get(2))
        };
        Ok(rows.iter().map(table).collect())
    }

    /// From the oldest log that the slot still needs up to where the server writes now.
    async fn do_retained(&self) -> Result<Option<u64>, Fault> {
        let sql = "SELECT greatest(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint
            FROM pg_catalog.pg_replication_slots WHERE slot_name = $1";
        let row = self.client.query_opt(sql, &[&&*self.slot]).await;
        let row = row.map_err(|error| fault("ask how much log is kept", &error))?;
        Ok(row.and_then(|row| row.get::<_, Option<i64>>(0)).and_then(|bytes| u64::try_from(bytes).ok()))
    }

    async fn do_leave(&self, tables: &[TableName]) -> Result<(), Fault> {
        const OPERATION: &str = "take tables out of capture";
        self.settle().await?;
        guard::release(&self.client, &self.slot, tables).await?;
        let captured = self.published().await?.into_iter().map(|(table, _)| table);
        let leaves = |table: &TableName| {
            tables.iter().any(|other| other.name == table.name && schema_of(other) == schema_of(table))
        };
        let (leaving, staying): (Vec<_>, Vec<_>) = captured.partition(|table| leaves(table));
        if !staying.is_empty() {
            if leaving.is_empty() {
                return Ok(());
            }
            let names: Vec<_> = leaving.iter().map(quoted_table).collect();
            let names = names.join(", ONLY ");
            let sql = format!("ALTER PUBLICATION {} DROP TABLE ONLY {names}", quoted(&self.slot));
            return self.client.batch_execute(&sql).await.map_err(|error| fault(OPERATION, &error));
        }
        self.drop_slot().await?;
        let sql = format!("DROP PUBLICATION IF EXISTS {}", quoted(&self.slot));
        self.client.batch_execute(&sql).await.map_err(|error| fault(OPERATION, &error))?;
        owner::release(&self.client, &self.slot).await
    }

    async fn drop_slot(&self) -> Result<(), Fault> {
        const OPERATION: &str = "drop the replication slot";
        let failed = |error: tokio_postgres::Error| fault(OPERATION, &error);
        let deadline = Instant::now() + LINGER;
        let mut pause = FIRST_PAUSE;
        loop {
            let sql = "SELECT active_pid FROM pg_catalog.pg_replication_slots WHERE slot_name = $1";
            let Some(row) = self.client.query_opt(sql, &[&&*self.slot]).await.map_err(failed)? else {
                return Ok(());
            };
            let holder: Option<i32> = row.get(0);
            match holder {
                None => {
                    let sql = "SELECT pg_drop_replication_slot($1)";
                    match self.client.execute(sql, &[&&*self.slot]).await {
                        Ok(_) => return Ok(()),
                        // Taken or gone since we looked: look again.
                        Err(error)
                            if error.code().is_some_and(|code| matches!(code.code(), "55006" | "42704"))
                                && Instant::now() < deadline => {}
                        Err(error) => return Err(failed(error)),
                    }
                }
                Some(pid) if Instant::now() >= deadline => {
                    let message = format!("the slot {} is being read (pid {pid})", self.slot);
                    return Err(Fault::new(FaultClass::Fenced, OPERATION, message)
                        .fix(format!("SELECT pg_terminate_backend({pid});")));
                }
                Some(_) => {}
            }
            sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }
}

impl Source for PostgresSource {
    fn enter<'a>(
        &'a mut self,
        tables: &'a [TableName],
        barrier: BarrierId,
    ) -> BoxFuture<'a, Result<Position, Fault>> {
        Box::pin(self.do_enter(tables, barrier))
    }

    fn leave<'a>(&'a mut self, tables: &'a [TableName]) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(self.do_leave(tables))
    }

    fn mark<'a>(&'a mut self, barriers: &'a [BarrierId]) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(self.do_mark(barriers))
    }

    fn captured(&mut self) -> BoxFuture<'_, Result<Vec<TableName>, Fault>> {
        Box::pin(self.do_captured())
    }

    fn retained(&mut self) -> BoxFuture<'_, Result<Option<u64>, Fault>> {
        Box::pin(self.do_retained())
    }
}
