//! Guards: triggers that are there only while they are armed.
//!
//! Arming makes the triggers, enables them *always* (for replication sessions too) and writes the barrier, in one
//! transaction under the table's lock. The lock waits for whoever has written to the table, and whoever writes next
//! meets the triggers, whatever snapshot it works with: PostgreSQL looks a table's triggers up under the lock and
//! not in the snapshot. So what a guard refuses and was committed all the same lies before its barrier.
//!
//! The triggers are not made beforehand and disabled until needed. Making them takes the same lock as enabling
//! them, and a trigger that is only disabled is not free: one before updates costs every update a quarter more of
//! log, one before inserts makes COPY more than twice as slow. So disarming disables them, which frees the users at
//! once, and then drops them. That takes a lock against readers too, which is tried for a moment only: if somebody
//! reads on, the next disarming drops them that finds the table at rest, or the leaving of the table.

mod standing;
mod triggers;

pub(super) use triggers::release_sql;

use super::connect::Endpoint;
use super::error::fault;
use super::names::{literal, lock_key, quoted, quoted_table, shown};
use super::owner::{self, OwnerRow};
use super::{lock, marker, schema};
use standing::{Standing, armed, standing};
use std::sync::Arc;
use std::time::Duration;
use tandem_core::connect::{BoxFuture, Guards, Owner};
use tandem_core::{BarrierId, Fault, FaultClass, Guard, TableName};
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use triggers::{Ground, PartitionKey};

/// A transaction of ours that holds a lock on an app's table must not be left open by a machine that has stopped.
const SESSION: &str = "SET statement_timeout = 30000; SET idle_in_transaction_session_timeout = 10000";

/// With the locks taken, nothing has to be waited for any more.
const LOCKED: &str = "SET LOCAL statement_timeout = 30000;";

/// How long dropping triggers may keep readers waiting, in milliseconds.
const READERS_WAIT_MS: i64 = 100;

/// How long at most, when a table leaves capture and they must go.
const READERS_WAIT_MOST_MS: i64 = 1_000;

/// How long leaving waits for a table to be at rest.
const REST_PATIENCE: Duration = Duration::from_secs(30);

/// The session that arms and disarms.
pub(super) struct PostgresGuards {
    endpoint: Arc<Endpoint>,
    client: Client,
    pid: i32,
    slot: Arc<str>,
    owner: Owner,
    /// A call is being done. Still set if its future was dropped.
    busy: bool,
}

impl PostgresGuards {
    pub(super) async fn open(endpoint: Arc<Endpoint>, slot: Arc<str>, owner: Owner) -> Result<Self, Fault> {
        const OPERATION: &str = "open the guards";
        let client = endpoint.session(OPERATION).await?;
        let failed = |error: tokio_postgres::Error| fault(OPERATION, &error);
        client.batch_execute(SESSION).await.map_err(failed)?;
        let pid = client.query_one("SELECT pg_backend_pid()", &[]).await.map_err(failed)?.get(0);
        if let Some(row) = owner::read(&client, &slot).await? {
            row.admit(owner, &slot, OPERATION)?;
        }
        Ok(Self { endpoint, client, pid, slot, owner, busy: false })
    }

    async fn run(&self, operation: &str, sql: &str) -> Result<(), Fault> {
        self.client.batch_execute(sql).await.map_err(|error| fault(operation, &error))
    }

    /// Begins a call, after the transaction has ended that a dropped one may have left open.
    async fn enter(&mut self) -> Result<(), Fault> {
        if self.busy {
            self.run("begin anew", "ROLLBACK").await?;
        }
        self.busy = true;
        Ok(())
    }

    /// Begins a transaction with tables locked against writers, if they can be had as long as an autovacuum needs
    /// to yield. Shown to people is the table; the others are its partitions.
    async fn begin(&self, tables: &[String], table: &TableName, operation: &str) -> Result<(), Fault> {
        let patience_ms = lock::patience_ms(&self.client).await?;
        self.run(operation, &format!("BEGIN; {}", lock::limits(patience_ms))).await?;
        let sql = format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", tables.join(", "));
        lock::take(&self.endpoint, (&self.client, self.pid), &sql, &shown(table), operation).await
    }

    /// Refuses us if we are the owner no longer, and keeps a later start waiting until the transaction has ended.
    async fn admit(&self, operation: &str) -> Result<(), Fault> {
        if !owner::table_exists(&self.client, "tandem.owner").await? {
            return Ok(());
        }
        let sql = format!("{} FOR SHARE", owner::query(&self.slot));
        let row = self.client.query_opt(&sql, &[]).await.map_err(|error| fault(operation, &error))?;
        let row = row.and_then(|row| OwnerRow::of(row.get(0), row.get(1), row.get(2)));
        row.map_or(Ok(()), |row| row.admit(self.owner, &self.slot, operation))
    }

    async fn do_arm(&self, guard: &Guard, barrier: BarrierId) -> Result<(), Fault> {
        const OPERATION: &str = "arm a guard";
        self.guardable(&guard.table, OPERATION).await?;
        let armed = async {
            self.begin(&[quoted_table(&guard.table)], &guard.table, OPERATION).await?;
            self.admit(OPERATION).await?;
            // Again under the lock, which keeps the table in capture and its partitions as they are.
            let oid = self.guardable(&guard.table, OPERATION).await?;
            let ground = self.ground(oid, &guard.table).await?;
            let sql = format!(
                "{LOCKED} SELECT pg_advisory_xact_lock({}); {} SELECT pg_logical_emit_message(true, {}, {}); COMMIT",
                function_lock(),
                triggers::arm(guard, &self.slot, &ground),
                literal(marker::PREFIX),
                literal(&marker::barrier(self.owner.journal, &self.slot, barrier))
            );
            let run = self.run(OPERATION, &sql).await;
            run.map_err(|fault| fault.table(shown(&guard.table)))
        };
        self.or_rollback(armed.await).await
    }

    /// Ends the transaction of a call that failed. If that fails too, the connection and the transaction are gone.
    async fn or_rollback<T>(&self, done: Result<T, Fault>) -> Result<T, Fault> {
        if done.is_err() {
            let _gone_with_the_connection = self.run("roll back", "ROLLBACK").await;
        }
        done
    }

    /// The identity of a table that can be guarded, or what stands against it.
    async fn guardable(&self, table: &TableName, operation: &str) -> Result<u32, Fault> {
        let refuse = |class, message: String| Fault::new(class, operation, message).table(shown(table));
        let Some((oid, _)) = schema::find(&self.client, table).await? else {
            return Err(refuse(FaultClass::Schema, format!("there is no table {table}")).code("42P01"));
        };
        let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_publication_rel p
                    JOIN pg_catalog.pg_publication b ON b.oid = p.prpubid WHERE b.pubname = $2 AND p.prrelid = $1),
                ARRAY(SELECT DISTINCT r.rolname::text FROM pg_catalog.pg_class c
                    JOIN pg_catalog.pg_roles r ON r.oid = c.relowner
                    WHERE (c.oid = $1 OR c.oid IN (SELECT relid FROM pg_partition_tree($1)))
                        AND NOT pg_has_role(c.relowner, 'USAGE') ORDER BY 1)";
        let row = self.client.query_one(sql, &[&oid, &&*self.slot]).await;
        let row = row.map_err(|error| fault(operation, &error))?;
        if !row.get::<_, bool>(0) {
            let message = format!("{} is not in capture", shown(table));
            return Err(refuse(FaultClass::Setup, message).code("not_captured"));
        }
        let owners: Vec<String> = row.get(1);
        if owners.is_empty() {
            return Ok(oid);
        }
        let user = quoted(self.endpoint.user());
        let grants: Vec<_> =
            owners.iter().map(|owner| format!("GRANT {} TO {user};", quoted(owner))).collect();
        let message =
            format!("{} belongs to {}: only its owner can guard it", shown(table), owners.join(", "));
        Err(refuse(FaultClass::Permission, message).code("42501").fix(format!(
            "{} or: ALTER TABLE {} OWNER TO {user};",
            grants.join(" "),
            quoted_table(table)
        )))
    }

    /// Reads the table, under its lock.
    async fn ground(&self, oid: u32, table: &TableName) -> Result<Ground, Fault> {
        let failed = |error: tokio_postgres::Error| fault("read the partitions", &error);
        let sql = "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE (c.oid = $1 OR c.oid IN (SELECT relid FROM pg_partition_tree($1))) AND c.relkind IN ('r', 'p')
            ORDER BY 1";
        let tree = self.client.query(sql, &[&oid]).await.map_err(failed)?;
        let sql = "SELECT DISTINCT a.attname::text FROM pg_catalog.pg_partitioned_table p
            CROSS JOIN LATERAL unnest(p.partattrs::int2[]) AS k(attnum)
            LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = k.attnum AND k.attnum > 0
            WHERE p.partrelid = $1 OR p.partrelid IN (SELECT relid FROM pg_partition_tree($1)) ORDER BY 1";
        let columns = self.client.query(sql, &[&oid]).await.map_err(failed)?;
        let partition_key = if columns.is_empty() {
            None
        } else {
            // A place without a column is an expression.
            let columns: Option<Vec<String>> = columns.iter().map(|row| row.get(0)).collect();
            Some(columns.map_or(PartitionKey::Expression, PartitionKey::Columns))
        };
        Ok(Ground {
            oid,
            sql: quoted_table(table),
            shown: shown(table),
            tree: tree.iter().map(|row| row.get(0)).collect(),
            partition_key,
        })
    }

    async fn do_disarm(&self, guard: &Guard) -> Result<(), Fault> {
        const OPERATION: &str = "disarm a guard";
        let mut enabled = match schema::find(&self.client, &guard.table).await? {
            Some((oid, _)) => {
                standing(&self.client, &self.slot, &triggers::prefix(oid, &self.slot, guard)).await?
            }
            None => Vec::new(),
        };
        enabled.retain(|trigger| !trigger.disabled);
        if !enabled.is_empty() {
            self.guardable_still(&guard.table, OPERATION).await?;
            self.disable(&enabled, &guard.table, OPERATION).await?;
        }
        // Also what earlier calls could only disable. It harms nobody if it has to wait once more.
        let mut idle = standing(&self.client, &self.slot, triggers::PREFIX).await?;
        idle.retain(|trigger| trigger.disabled);
        if !idle.is_empty()
            && let Err(fault) = self.drop_at_rest(&idle, OPERATION).await
        {
            tracing::debug!(slot = &*self.slot, %fault, "disabled guards stay for now");
        }
        drop_unused_function(&self.client).await
    }

    /// As [`Self::guardable`], for a table that may have left capture.
    async fn guardable_still(&self, table: &TableName, operation: &str) -> Result<(), Fault> {
        match self.guardable(table, operation).await {
            Err(fault) if fault.class != FaultClass::Setup => Err(fault),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    async fn do_armed(&self) -> Result<Vec<Guard>, Fault> {
        if let Some(row) = owner::read(&self.client, &self.slot).await? {
            row.admit(self.owner, &self.slot, "read the guards")?;
        }
        armed(&self.client, &self.slot).await
    }

    async fn drop_at_rest(&self, idle: &[Standing], operation: &str) -> Result<(), Fault> {
        let dropped = async {
            self.run(operation, "BEGIN").await?;
            self.admit(operation).await?;
            // One that was armed again meanwhile stays.
            let still = |trigger: &Standing| trigger.disabled;
            drop_all(&self.client, &self.slot, idle, still, READERS_WAIT_MS).await
        };
        self.or_rollback(dropped.await).await
    }

    async fn disable(&self, triggers: &[Standing], table: &TableName, operation: &str) -> Result<(), Fault> {
        let disabled = async {
            self.begin(&tables(triggers), table, operation).await?;
            self.admit(operation).await?;
            let mut sql = LOCKED.to_owned();
            for Standing { name, table, .. } in triggers {
                sql.push_str(&format!(" ALTER TABLE {table} DISABLE TRIGGER {};", quoted(name)));
            }
            self.run(operation, &format!("{sql} COMMIT")).await
        };
        self.or_rollback(disabled.await).await
    }
}

/// Arming and the dropping of the function keep out of each other's way by this lock, whoever in the database does
/// it. No slot is called so: their names begin with `tandem_`.
fn function_lock() -> i64 {
    lock_key("guards")
}

fn tables(triggers: &[Standing]) -> Vec<String> {
    // In one order for everybody, so that two of these cannot wait for each other.
    let mut tables: Vec<_> = triggers.iter().map(|trigger| trigger.table.clone()).collect();
    tables.sort();
    tables.dedup();
    tables
}

/// Drops triggers, those that `still` are to be under the lock, and ends the open transaction; if nobody uses their
/// tables for a moment that comes in time.
async fn drop_all(
    client: &Client,
    slot: &str,
    triggers: &[Standing],
    still: impl Fn(&Standing) -> bool,
    wait_ms: i64,
) -> Result<(), Fault> {
    let failed = |error: tokio_postgres::Error| fault("drop guards", &error);
    let lock = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", tables(triggers).join(", "));
    client.batch_execute(&format!("{}; {lock}; {LOCKED}", lock::limits(wait_ms))).await.map_err(failed)?;
    let mut sql = String::new();
    for now in standing(client, slot, triggers::PREFIX).await? {
        let seen = triggers.iter().any(|before| before.name == now.name && before.table == now.table);
        if seen && still(&now) {
            sql.push_str(&format!("DROP TRIGGER {} ON {}; ", quoted(&now.name), now.table));
        }
    }
    let lock = format!("SELECT pg_advisory_xact_lock({})", function_lock());
    let end = format!("{lock}; {} COMMIT", triggers::DROP_FUNCTION);
    client.batch_execute(&format!("{sql} {end}")).await.map_err(failed)
}

/// Drops the function if the last table with a guard was dropped, and the guard with it.
async fn drop_unused_function(client: &Client) -> Result<(), Fault> {
    let failed = |error: tokio_postgres::Error| fault("drop the guards' function", &error);
    let sql = "SELECT to_regprocedure('tandem.refuse()') IS NOT NULL AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_trigger WHERE tgfoid = to_regprocedure('tandem.refuse()'))";
    if client.query_one(sql, &[]).await.map_err(failed)?.get(0) {
        // One string is one transaction, as long as nothing in it says otherwise.
        let sql = format!("SELECT pg_advisory_xact_lock({}); {}", function_lock(), triggers::DROP_FUNCTION);
        client.batch_execute(&sql).await.map_err(failed)?;
    }
    Ok(())
}

/// Takes every guard of a slot off tables that leave capture. Waits for a moment at which nobody uses them.
pub(super) async fn release(client: &Client, slot: &str, tables: &[TableName]) -> Result<(), Fault> {
    const OPERATION: &str = "take the guards off";
    let deadline = Instant::now() + REST_PATIENCE;
    for table in tables {
        let Some((oid, _)) = schema::find(client, table).await? else { continue };
        let mut wait_ms = READERS_WAIT_MS;
        loop {
            let ours = standing(client, slot, &triggers::table_prefix(oid)).await?;
            if ours.is_empty() {
                break;
            }
            client.batch_execute("BEGIN").await.map_err(|error| fault(OPERATION, &error))?;
            let Err(failed) = drop_all(client, slot, &ours, |_| true, wait_ms).await else { break };
            client.batch_execute("ROLLBACK").await.map_err(|error| fault(OPERATION, &error))?;
            if failed.class == FaultClass::Permission {
                let drop = |Standing { name, table, .. }: &Standing| {
                    format!("DROP TRIGGER {} ON {table};", quoted(name))
                };
                let drops: Vec<_> = ours.iter().map(drop).collect();
                let fix = format!("as the table's owner: {}", drops.join(" "));
                return Err(failed.table(shown(table)).fix(fix));
            }
            if failed.class != FaultClass::Conflict {
                return Err(failed.table(shown(table)));
            }
            if Instant::now() >= deadline {
                let message = format!("{table} was never at rest for a moment: its guards stay");
                return Err(Fault::new(FaultClass::Conflict, OPERATION, message).table(shown(table)).fix(
                    format!(
                        "end who uses it: SELECT pid, mode FROM pg_locks WHERE relation = {}::regclass;",
                        literal(&quoted_table(table))
                    ),
                ));
            }
            // As long again is theirs.
            sleep(Duration::from_millis(wait_ms.unsigned_abs())).await;
            wait_ms = (wait_ms * 2).min(READERS_WAIT_MOST_MS);
        }
    }
    drop_unused_function(client).await
}

impl Guards for PostgresGuards {
    fn arm<'a>(&'a mut self, guard: &'a Guard, barrier: BarrierId) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            self.enter().await?;
            let done = self.do_arm(guard, barrier).await;
            self.busy = false;
            done
        })
    }

    fn disarm<'a>(&'a mut self, guard: &'a Guard) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            self.enter().await?;
            let done = self.do_disarm(guard).await;
            self.busy = false;
            done
        })
    }

    fn armed(&mut self) -> BoxFuture<'_, Result<Vec<Guard>, Fault>> {
        Box::pin(async move {
            self.enter().await?;
            let done = self.do_armed().await;
            self.busy = false;
            done
        })
    }
}
