//! Sequences behind columns that were written with their values: moved on behind the largest, never back.

use super::error::fault;
use super::names::{quoted, quoted_table, shown};
use std::sync::Arc;
use tandem_core::{Fault, FaultClass, TableName};
use tokio_postgres::Client;

/// See [`Connector::number_on`](tandem_core::connect::Connector::number_on).
pub(super) async fn number_on(client: &Client, table: &TableName, columns: &[Arc<str>]) -> Result<(), Fault> {
    const OPERATION: &str = "move the sequences on";
    let name = quoted_table(table);
    for column in columns {
        let failed = |error: tokio_postgres::Error| fault(OPERATION, &error).table(shown(table));
        // Serial and identity columns have one of their own; one that counts down has nothing to be moved behind.
        let sql = "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            JOIN pg_catalog.pg_sequence s ON s.seqrelid = c.oid
            WHERE c.oid = pg_get_serial_sequence($1, $2)::regclass AND s.seqincrement > 0";
        let sequence = client.query_opt(sql, &[&name, &&**column]).await.map_err(failed)?;
        let Some(sequence) = sequence.map(|row| row.get::<_, String>(0)) else { continue };
        let moved = format!(
            "SELECT setval('{}', m) FROM (SELECT max({}) AS m FROM {name}) AS there
             WHERE m >= (SELECT last_value FROM {sequence})",
            sequence.replace('\'', "''"),
            quoted(column)
        );
        client.batch_execute(&moved).await.map_err(|error| {
            let fault = failed(error);
            if fault.class != FaultClass::Permission {
                return fault;
            }
            fault.fix(format!("GRANT SELECT, UPDATE ON SEQUENCE {sequence} TO <user>;"))
        })?;
    }
    Ok(())
}
