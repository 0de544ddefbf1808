//! Waiting for a table's lock, briefly, and saying who holds it.
//!
//! Who waits for a strong lock makes every later writer wait behind him, so nobody here waits for long. But an
//! autovacuum yields only to somebody who has waited for `deadlock_timeout`: below that a lock is never had as long
//! as one works on the table.
//!
//! Whoever is in the way can be asked for only during the wait, so another session looks meanwhile. Afterwards the
//! lock table names whoever was let go by our giving up as well.

use super::connect::Endpoint;
use super::error::fault;
use std::convert::Infallible;
use std::time::Duration;
use tandem_core::{Fault, FaultClass};
use tokio::time::sleep;
use tokio_postgres::Client;

/// How long a wait may last before it is looked at: most end by themselves.
const WATCH_AFTER: Duration = Duration::from_millis(200);

/// How often it is looked at from then on.
const WATCH_EVERY: Duration = Duration::from_millis(200);

/// The least `lock_timeout`, in milliseconds, to which an autovacuum yields.
pub(super) async fn patience_ms(client: &Client) -> Result<i64, Fault> {
    let sql = "SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'deadlock_timeout'";
    let row = client.query_one(sql, &[]).await;
    row.map(|row| row.get::<_, i64>(0) + 500).map_err(|error| fault("read deadlock_timeout", &error))
}

/// Limits what follows in a transaction to a wait of so long. A `lock_timeout` counts for each lock by itself, and a
/// table with many partitions is many locks: the first is held, and keeps writers waiting, as long as the last is
/// waited for. So the statement that takes them has a limit as well, a little above.
pub(super) fn limits(wait_ms: i64) -> String {
    format!("SET LOCAL lock_timeout = {wait_ms}; SET LOCAL statement_timeout = {}", wait_ms + 300)
}

/// Runs `LOCK TABLE …` within the transaction and the `lock_timeout` of `client`, the session with this pid. A lock
/// that is not had names who is in the way of the table, which is shown to people so.
pub(super) async fn take(
    endpoint: &Endpoint,
    (client, pid): (&Client, i32),
    sql: &str,
    table: &str,
    operation: &str,
) -> Result<(), Fault> {
    let mut seen = None;
    let taken = tokio::select! {
        biased;
        taken = client.batch_execute(sql) => taken,
        never = watch(endpoint, pid, &mut seen) => match never {},
    };
    let fault = match taken {
        Ok(()) => return Ok(()),
        Err(error) => fault(operation, &error).table(table),
    };
    if fault.class != FaultClass::Conflict {
        return Err(fault);
    }
    let Some(Blockers { who, pids }) = seen else {
        let message = format!("{table} was in use, by somebody who has ended meanwhile");
        return Err(Fault { message, ..fault });
    };
    let fix = if pids.is_empty() {
        "SELECT gid, prepared, owner FROM pg_prepared_xacts; then COMMIT PREPARED or ROLLBACK PREPARED the gid"
            .to_owned()
    } else {
        let ends = pids.iter().map(|pid| format!("SELECT pg_terminate_backend({pid});"));
        format!("let it end, or: {}", ends.collect::<Vec<_>>().join(" "))
    };
    let message = format!("{table} is in use by {who}");
    Err(Fault { message, ..fault }.fix(fix))
}

/// Who is in the way.
struct Blockers {
    /// In words.
    who: String,
    /// Sessions; not those of prepared transactions, which have none.
    pids: Vec<i32>,
}

/// Notes again and again who is in the way of a session. Never ends.
async fn watch(endpoint: &Endpoint, pid: i32, seen: &mut Option<Blockers>) -> Infallible {
    sleep(WATCH_AFTER).await;
    let session = endpoint.session("look who is in the way").await;
    // What a session does is not asked for: a query's text holds values.
    let sql = "SELECT b.pid, CASE WHEN b.pid = 0 THEN 'a prepared transaction' ELSE format('pid %s', b.pid)
                || coalesce(' (' || nullif(concat_ws(', ', nullif(a.backend_type, 'client backend'), a.state,
                    'since ' || to_char(a.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS \"UTC\"')), '') || ')', '')
            END
        FROM (SELECT DISTINCT unnest(pg_blocking_pids($1))) AS b(pid)
        LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = b.pid ORDER BY b.pid";
    loop {
        if let Ok(session) = &session
            && let Ok(rows) = session.query(sql, &[&pid]).await
            && !rows.is_empty()
        {
            let who: Vec<String> = rows.iter().map(|row| row.get(1)).collect();
            let pids = rows.iter().map(|row| row.get(0)).filter(|pid| *pid != 0).collect();
            *seen = Some(Blockers { who: who.join(", "), pids });
        }
        sleep(WATCH_EVERY).await;
    }
}
