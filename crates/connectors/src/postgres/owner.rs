//! Who captures an app: `tandem.owner`, one row per slot with the data folder, its start, and where the slot
//! began. Another data folder is refused with the SQL that frees the slot, and an older start with the reason.

use super::error::fault;
use super::names::{literal, quoted};
use super::position::parse_lsn;
use tandem_core::connect::Owner;
use tandem_core::{Fault, FaultClass};
use tokio_postgres::Client;

/// The row as it was read: text, since it is read through replication sessions as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnerRow {
    pub(super) journal: String,
    pub(super) epoch: u64,
    /// Where the slot began; `None` if its making was cut short.
    pub(super) birth: Option<u64>,
}

/// The query for the row of a slot: at most one row of journal, epoch, birth.
pub(super) fn query(slot: &str) -> String {
    format!("SELECT journal, epoch::text, slot_birth::text FROM tandem.owner WHERE slot = {}", literal(slot))
}

/// The query that says whether there is a table to ask.
pub(super) const EXISTS: &str = "SELECT (to_regclass('tandem.owner') IS NOT NULL)::text";

impl OwnerRow {
    /// Out of the columns of [`query`].
    pub(super) fn of(journal: Option<&str>, epoch: Option<&str>, birth: Option<&str>) -> Option<Self> {
        let epoch = epoch?.parse().ok()?;
        Some(Self { journal: journal?.to_owned(), epoch, birth: birth.and_then(parse_lsn) })
    }

    /// Refuses another data folder, and a later start of our own.
    pub(super) fn admit(&self, owner: Owner, slot: &str, operation: &str) -> Result<(), Fault> {
        if self.journal != owner.journal.to_string() {
            let message = format!(
                "slot {slot} belongs to the data folder {}, and this one is {}",
                self.journal, owner.journal
            );
            return Err(Fault::new(FaultClass::Fenced, operation, message).fix(release_sql(slot)));
        }
        if self.epoch > owner.epoch.0 {
            let message = format!("a later start of this data folder ({}) has taken over", self.epoch);
            return Err(Fault::new(FaultClass::Fenced, operation, message)
                .fix("end this process: a newer one is at work"));
        }
        Ok(())
    }
}

/// The SQL that frees an app's slot by hand.
pub(super) fn release_sql(slot: &str) -> String {
    format!(
        "if that data folder is gone for good: SELECT pg_drop_replication_slot({0}); DROP PUBLICATION IF EXISTS {1}; \
         DELETE FROM tandem.owner WHERE slot = {0};",
        literal(slot),
        quoted(slot)
    )
}

/// Reads the row of a slot.
pub(super) async fn read(client: &Client, slot: &str) -> Result<Option<OwnerRow>, Fault> {
    const OPERATION: &str = "read the slot's owner";
    let failed = |error: tokio_postgres::Error| fault(OPERATION, &error);
    if !table_exists(client, "tandem.owner").await? {
        return Ok(None);
    }
    let sql = "SELECT journal, epoch::text, slot_birth::text FROM tandem.owner WHERE slot = $1";
    let row = client.query_opt(sql, &[&slot]).await.map_err(failed)?;
    Ok(row.and_then(|row| OwnerRow::of(row.get(0), row.get(1), row.get(2))))
}

/// Makes the row, or brings its epoch up to ours.
pub(super) async fn claim(client: &Client, slot: &str, owner: Owner) -> Result<(), Fault> {
    const OPERATION: &str = "note the slot's owner";
    let failed = |error: tokio_postgres::Error| fault(OPERATION, &error);
    ensure_schema(client).await?;
    if !table_exists(client, "tandem.owner").await? {
        let sql = "CREATE TABLE IF NOT EXISTS tandem.owner (
            slot text PRIMARY KEY, journal text NOT NULL, epoch bigint NOT NULL, slot_birth pg_lsn,
            updated_at timestamptz NOT NULL DEFAULT now())";
        client.batch_execute(sql).await.map_err(failed)?;
    }
    let sql = "INSERT INTO tandem.owner (slot, journal, epoch) VALUES ($1, $2, $3)
        ON CONFLICT (slot) DO UPDATE SET epoch = excluded.epoch, updated_at = now()
        WHERE owner.journal = excluded.journal AND owner.epoch <= excluded.epoch";
    let epoch = i64::try_from(owner.epoch.0).unwrap_or(i64::MAX);
    let count = client.execute(sql, &[&slot, &owner.journal.to_string(), &epoch]).await.map_err(failed)?;
    if count == 1 {
        return Ok(());
    }
    match read(client, slot).await? {
        Some(row) => row.admit(owner, slot, OPERATION),
        None => Err(Fault::new(FaultClass::Conflict, OPERATION, "the row came and went")),
    }
}

/// Notes where the slot began.
pub(super) async fn note_birth(client: &Client, slot: &str, birth: &str) -> Result<(), Fault> {
    let sql = "UPDATE tandem.owner SET slot_birth = $2::text::pg_lsn WHERE slot = $1";
    let noted = client.execute(sql, &[&slot, &birth]).await;
    noted.map(drop).map_err(|error| fault("note the slot's owner", &error))
}

/// Removes the row, and what it leaves empty.
pub(super) async fn release(client: &Client, slot: &str) -> Result<(), Fault> {
    const OPERATION: &str = "remove the slot's owner";
    let failed = |error: tokio_postgres::Error| fault(OPERATION, &error);
    if !table_exists(client, "tandem.owner").await? {
        return Ok(());
    }
    client.execute("DELETE FROM tandem.owner WHERE slot = $1", &[&slot]).await.map_err(failed)?;
    drop_if_empty(client, "owner").await
}

/// Makes the schema `tandem`. Asked for first, since `CREATE SCHEMA IF NOT EXISTS` wants the right to create
/// even if there is nothing to do.
pub(super) async fn ensure_schema(client: &Client) -> Result<(), Fault> {
    let failed = |error: tokio_postgres::Error| {
        let fault = fault("make the schema tandem", &error);
        if fault.class != FaultClass::Permission {
            return fault;
        }
        fault.fix(
            "GRANT CREATE ON DATABASE <database> TO <user>, or: CREATE SCHEMA tandem AUTHORIZATION <user>",
        )
    };
    let sql = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = 'tandem'";
    if client.query_opt(sql, &[]).await.map_err(failed)?.is_none() {
        match client.batch_execute("CREATE SCHEMA IF NOT EXISTS tandem").await {
            // Two sessions made it at once.
            Err(error) if error.code().is_some_and(|code| code.code() == "23505") => {}
            other => other.map_err(failed)?,
        }
    }
    Ok(())
}

/// Whether a table of ours is there.
pub(super) async fn table_exists(client: &Client, name: &str) -> Result<bool, Fault> {
    let row = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&name]).await;
    row.map(|row| row.get(0)).map_err(|error| fault("look for our tables", &error))
}

/// Drops one of our tables if nothing is in it, and the schema if nothing is in that.
pub(super) async fn drop_if_empty(client: &Client, table: &str) -> Result<(), Fault> {
    // One block: under the lock nobody can put a row in between the look and the drop.
    let block = format!(
        "DO $$ BEGIN
            IF to_regclass('tandem.{table}') IS NOT NULL THEN
                LOCK TABLE tandem.{table} IN ACCESS EXCLUSIVE MODE;
                IF NOT EXISTS (SELECT FROM tandem.{table}) THEN DROP TABLE tandem.{table}; END IF;
            END IF;
            IF NOT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                           WHERE n.nspname = 'tandem') THEN
                DROP SCHEMA IF EXISTS tandem RESTRICT;
            END IF;
        END $$"
    );
    match client.batch_execute(&block).await {
        Ok(()) => Ok(()),
        // A schema that somebody else made for us is not ours to drop; one that is in use stays.
        Err(error) if error.code().is_some_and(|code| matches!(code.code(), "42501" | "2BP01" | "42P01")) => {
            Ok(())
        }
        Err(error) => Err(fault("remove our tables", &error)),
    }
}
