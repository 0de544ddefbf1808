//! What stands, as the catalog says: the only record of guards that there is.

use super::super::error::fault;
use std::sync::Arc;
use tandem_core::{Fault, Guard, MapName, Refusal, TableName, WallTime};
use tokio_postgres::{Client, Row};

/// A trigger's arguments, as texts in the database's encoding: they are kept as bytes with zeros behind them.
const ARGUMENTS: &str =
    "ARRAY(SELECT convert_from(decode(replace(part, ' ', ''), 'hex'), getdatabaseencoding())
    FROM unnest(string_to_array(regexp_replace(encode(t.tgargs, 'hex'), '(..)', '\\1 ', 'g'), '00 '))
        WITH ORDINALITY AS parts(part, nth) WHERE nth <= t.tgnargs ORDER BY nth)";

/// A trigger of ours.
pub(super) struct Standing {
    pub(super) name: String,
    /// Its table as SQL text.
    pub(super) table: String,
    pub(super) disabled: bool,
}

/// The triggers of a slot's guards whose names begin so.
pub(super) async fn standing(client: &Client, slot: &str, prefix: &str) -> Result<Vec<Standing>, Fault> {
    let sql = "SELECT t.tgname::text, format('%I.%I', n.nspname, c.relname), t.tgenabled = 'D' FROM pg_catalog.pg_trigger t
        JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE t.tgfoid = to_regprocedure('tandem.refuse()') AND t.tgparentid = 0 AND starts_with(t.tgname::text, $2)
            AND starts_with(encode(t.tgargs, 'escape'), $1 || '\\000')
        ORDER BY 2, 1";
    let rows = client.query(sql, &[&slot, &prefix]).await;
    let rows = rows.map_err(|error| fault("look for guards", &error))?;
    let read = |row: &Row| Standing { name: row.get(0), table: row.get(1), disabled: row.get(2) };
    Ok(rows.iter().map(read).collect())
}

/// The guards of a slot that stand, whole.
pub(super) async fn armed(client: &Client, slot: &str) -> Result<Vec<Guard>, Fault> {
    const OPERATION: &str = "read the guards";
    // A guard is whole if each trigger that it consists of is enabled on the table and on every partition.
    let sql = format!(
        "WITH ours AS (SELECT t.tgrelid, t.tgname, t.tgenabled, t.tgparentid, t.tgargs, {ARGUMENTS} AS args
            FROM pg_catalog.pg_trigger t WHERE t.tgfoid = to_regprocedure('tandem.refuse()'))
        SELECT n.nspname::text, c.relname::text, h.args FROM ours h
        JOIN pg_catalog.pg_class c ON c.oid = h.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE h.tgparentid = 0 AND h.args[1] = $1 AND h.tgname ~ '_(delete|write)$' AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_class leaf
            CROSS JOIN unnest(CASE WHEN h.args[3] = 'writes' THEN ARRAY['write', 'truncate']
                WHEN cardinality(h.args) > 7 THEN ARRAY['delete', 'key', 'truncate']
                ELSE ARRAY['delete', 'truncate'] END) AS part(name)
            WHERE (leaf.oid = c.oid OR leaf.oid IN (SELECT relid FROM pg_partition_tree(c.oid)))
                AND leaf.relkind IN ('r', 'p') AND NOT EXISTS (
                    SELECT FROM ours o WHERE o.tgrelid = leaf.oid AND o.tgenabled = 'A' AND o.tgargs = h.tgargs
                        AND o.tgname = regexp_replace(h.tgname, '(delete|write)$', part.name)))
        ORDER BY 1, 2, h.tgname"
    );
    let rows = client.query(&sql, &[&slot]).await.map_err(|error| fault(OPERATION, &error))?;
    let guard = |row: &Row| {
        let arguments: Vec<String> = row.get(2);
        let [_, map, refuses, since, _, _, _, key @ ..] = arguments.as_slice() else { return None };
        Some(Guard {
            table: TableName {
                schema: Some(row.get::<_, String>(0).into()),
                name: row.get::<_, String>(1).into(),
            },
            map: MapName::from(map.as_str()),
            refuses: Refusal::parse(refuses)?,
            key: key.iter().map(|column| Arc::from(column.as_str())).collect(),
            since: WallTime(since.parse().ok()?),
        })
    };
    Ok(rows.iter().filter_map(guard).collect())
}
