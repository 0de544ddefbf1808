//! Guards on real servers: who is refused, in which words, and that nobody gets round them.

#[path = "guard/arming.rs"]
mod arming;
#[path = "guard/leaving.rs"]
mod leaving;
#[path = "guard/partitions.rs"]
mod partitions;
#[path = "guard/refusing.rs"]
mod refusing;

use super::world::*;
use tandem_core::connect::Guards;
use tandem_core::{Guard, Refusal, WallTime};
use tokio_postgres::Client;

/// 2026-11-22 08:00:05 UTC.
const SINCE: WallTime = WallTime(1_795_334_405_000_000);

fn guard(name: &str, map: &str, refuses: Refusal, key: &[&str]) -> Guard {
    let key = key.iter().map(|column| (*column).into()).collect();
    Guard { table: table(&format!("public.{name}")), map: map.into(), refuses, key, since: SINCE }
}

/// The guard against deletes of the map `customers` on a table with the key `id`.
fn deletes(name: &str) -> Guard {
    guard(name, "customers", Refusal::Deletes, &["id"])
}

async fn guards(app: &App) -> Box<dyn Guards> {
    app.connector.open_guards(OURS).await.unwrap()
}

/// SQLSTATE and message with which a statement is refused.
async fn refused(client: &Client, sql: &str) -> (String, String) {
    let error = client.batch_execute(sql).await.expect_err(sql);
    let error = error.as_db_error().unwrap_or_else(|| panic!("{sql}: {error}"));
    (error.code().code().to_owned(), error.message().to_owned())
}

/// A statement is refused by a guard against deletes.
async fn is_refused(client: &Client, sql: &str) {
    assert_eq!(refused(client, sql).await.0, "TD001", "{sql}");
}

/// What there is of ours but for the slot, its publication and its owner.
const TRACES: &str = "SELECT 'trigger ' || tgrelid::regclass || ' ' || tgenabled::text FROM pg_trigger WHERE tgname LIKE 'zz_tandem%'
    UNION ALL SELECT 'function ' || proname FROM pg_proc WHERE pronamespace = to_regnamespace('tandem')
    UNION ALL SELECT 'relation ' || relname FROM pg_class
        WHERE relnamespace = to_regnamespace('tandem') AND relkind = 'r' AND relname <> 'owner' ORDER BY 1";
