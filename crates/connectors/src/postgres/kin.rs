//! Partitions and the table that they are of, as far as a log is concerned.
//!
//! What is written to a partition is in the log of the topmost table that is published, and of that one alone. So a
//! partition and a table above it cannot both be captured: the map of the partition would get nothing, without a word.

use super::error::fault;
use super::names::{schema_of, shown};
use super::schema;
use tandem_core::{Fault, TableName};
use tokio_postgres::Client;

/// Another table of the same partitions that is captured, too.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kin {
    shown: String,
    /// The other one is above: what is written to the table comes under its name.
    is_above: bool,
}

/// One that stands against capturing the table: in the publication, or `also` to be captured.
pub(super) async fn published(
    client: &Client,
    table: &TableName,
    publication: &str,
    also: &[TableName],
) -> Result<Option<Kin>, Fault> {
    let Some((oid, _)) = schema::find(client, table).await? else { return Ok(None) };
    let sql = "SELECT n.nspname::text, c.relname::text, kin.is_above
        FROM (SELECT relid::oid AS oid, true AS is_above FROM pg_partition_ancestors($1::oid::regclass)
              UNION ALL SELECT relid::oid, false FROM pg_partition_tree($1::oid::regclass)) AS kin
            JOIN pg_catalog.pg_class c ON c.oid = kin.oid
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE kin.oid <> $1 AND (
            EXISTS (SELECT FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid
                    WHERE p.pubname = $2 AND r.prrelid = kin.oid)
            OR (n.nspname, c.relname) IN (SELECT * FROM unnest($3::text[], $4::text[])))
        ORDER BY kin.is_above DESC, 1, 2 LIMIT 1";
    let (schemas, names): (Vec<&str>, Vec<&str>) =
        also.iter().map(|table| (schema_of(table), &*table.name)).unzip();
    let row = client.query_opt(sql, &[&oid, &publication, &schemas, &names]).await;
    let row = row.map_err(|error| fault("look for partitions", &error).table(shown(table)))?;
    Ok(row.map(|row| {
        let (schema, name): (String, String) = (row.get(0), row.get(1));
        let table = TableName { schema: Some(schema.into()), name: name.into() };
        Kin { shown: shown(&table), is_above: row.get(2) }
    }))
}

impl Kin {
    pub(super) fn message(&self, table: &str) -> String {
        let (part, whole) = if self.is_above { (table, &*self.shown) } else { (&*self.shown, table) };
        format!(
            "{part} is a partition of {whole}, and both are to be captured: the log has its changes under the name of \
             {whole} alone, so a map of {part} would get nothing"
        )
    }

    pub(super) fn fix(&self) -> String {
        let whole = if self.is_above { &*self.shown } else { "the whole table" };
        format!("stop one of the maps; for a part of the records, map {whole} with a filter")
    }
}
