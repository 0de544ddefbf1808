//! What the catalog says about tables: for the engine ([`describe`]), and for our own statements
//! ([`Destination`]).

use super::error::fault;
use super::fit::Fit;
use super::names::{quoted, quoted_table, schema_of, shown};
use std::sync::Arc;
use tandem_core::{ColumnSchema, Fault, FaultClass, ForeignKey, TableName, TableSchema, UniqueKey};
use tokio_postgres::{Client, Row};

/// A table that we write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Destination {
    /// As SQL text.
    pub(super) sql: String,
    /// As it is shown to people.
    pub(super) shown: String,
    pub(super) columns: Vec<DestinationColumn>,
    pub(super) unique: Vec<UniqueIndex>,
}

/// A column of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DestinationColumn {
    pub(super) name: String,
    /// The type to cast to: without length or precision, and under its domains.
    pub(super) cast: String,
    /// The name of that type.
    pub(super) type_name: String,
    /// The most characters that it takes, where it says so.
    pub(super) length: Option<i32>,
    /// What it would alter in silence.
    pub(super) fit: Option<Fit>,
    pub(super) nullable: bool,
    pub(super) identity_always: bool,
}

impl DestinationColumn {
    /// SQL that says whether the column differs between two rows. By their text, unless being equal says as much.
    pub(super) fn differs(&self, one: &str, other: &str) -> String {
        let form = match self.type_name.as_str() {
            "int2" | "int4" | "int8" | "bool" | "date" | "time" | "timestamp" | "timestamptz" | "uuid"
            | "bytea" => "",
            // Some collations call texts equal that are not.
            "text" | "varchar" => " COLLATE \"C\"",
            _ => "::text",
        };
        let name = quoted(&self.name);
        format!("{one}.{name}{form} IS DISTINCT FROM {other}.{name}{form}")
    }
}

/// A unique index without predicate and expressions that is checked at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UniqueIndex {
    pub(super) name: String,
    pub(super) columns: Vec<String>,
}

const READ: &str = "read the schema";

/// The types under a column's domains, for a `LATERAL` beside `a`.
pub(super) const BASE_TYPE: &str = "LATERAL (
    WITH RECURSIVE up(oid, typtype, typbasetype, typtypmod) AS (
        SELECT t.oid, t.typtype, t.typbasetype, a.atttypmod FROM pg_catalog.pg_type t WHERE t.oid = a.atttypid
        UNION ALL
        SELECT t.oid, t.typtype, t.typbasetype, up2.typtypmod FROM up
            JOIN pg_catalog.pg_type t ON t.oid = up.typbasetype
            JOIN pg_catalog.pg_type up2 ON up2.oid = up.oid
        WHERE up.typtype = 'd')
    SELECT up.oid, up.typtypmod FROM up WHERE up.typtype <> 'd') base";

const INDEXES: &str = "SELECT i.relname::text, x.indisprimary,
        ARRAY(SELECT a.attname::text FROM unnest(x.indkey::int2[]) WITH ORDINALITY AS k(attnum, nth)
              JOIN pg_catalog.pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum
              WHERE k.nth <= x.indnkeyatts ORDER BY k.nth),
        x.indimmediate, x.indisreplident
    FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
    WHERE x.indrelid = $1 AND x.indisunique AND x.indisvalid AND x.indpred IS NULL AND x.indexprs IS NULL
    ORDER BY x.indisprimary DESC, i.relname";

/// A table's identity in the catalog, or `None` if it is not there.
pub(super) async fn find(client: &Client, table: &TableName) -> Result<Option<(u32, Row)>, Fault> {
    let sql = "SELECT c.oid, c.relkind::text, c.relpersistence::text, c.relreplident::text,
            n.nspname::text, c.relname::text
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'f', 'v', 'm')";
    let row = client.query_opt(sql, &[&schema_of(table), &&*table.name]).await;
    Ok(row.map_err(|error| fault(READ, &error))?.map(|row| (row.get(0), row)))
}

/// The table as the engine wants to know it.
pub(super) async fn describe(client: &Client, table: &TableName) -> Result<Option<TableSchema>, Fault> {
    let failed = |error: tokio_postgres::Error| fault(READ, &error).table(shown(table));
    let Some((oid, class)) = find(client, table).await? else { return Ok(None) };
    // Under its domains: what a value is, its base type says.
    let sql = format!(
        "SELECT a.attname::text, pg_catalog.format_type(base.oid, base.typtypmod), a.attnotnull,
            a.atthasdef OR a.attidentity <> '', a.attgenerated <> ''
        FROM pg_catalog.pg_attribute a CROSS JOIN {BASE_TYPE}
        WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
    );
    let columns = client.query(&sql, &[&oid]).await.map_err(failed)?;
    let columns: Vec<_> = columns
        .iter()
        .map(|row| ColumnSchema {
            name: row.get::<_, String>(0).into(),
            type_name: row.get::<_, String>(1).into(),
            nullable: !row.get::<_, bool>(2),
            has_default: row.get(3),
            generated: row.get(4),
        })
        .collect();
    let indexes = client.query(INDEXES, &[&oid]).await.map_err(failed)?;
    let (mut primary_key, mut unique_keys, mut deferrable_keys) = (Vec::new(), Vec::new(), Vec::new());
    let identity_kind: String = class.get(3);
    let mut identity = match identity_kind.as_str() {
        "f" => columns.iter().filter(|column| !column.generated).map(|column| column.name.clone()).collect(),
        _ => Vec::new(),
    };
    for index in &indexes {
        let columns: Vec<Arc<str>> = index.get::<_, Vec<String>>(2).into_iter().map(Arc::from).collect();
        let (primary, immediate, replica): (bool, bool, bool) = (index.get(1), index.get(3), index.get(4));
        if (identity_kind == "d" && primary && immediate) || (identity_kind == "i" && replica) {
            identity.clone_from(&columns);
        }
        let key = UniqueKey { name: index.get::<_, String>(0).into(), columns };
        if !immediate {
            deferrable_keys.push(key.clone());
        }
        if primary {
            primary_key = key.columns;
        } else if immediate {
            unique_keys.push(key);
        }
    }
    let sql = "SELECT f.conname::text, n.nspname::text, t.relname::text,
            ARRAY(SELECT a.attname::text FROM unnest(f.conkey) WITH ORDINALITY AS k(attnum, nth)
                  JOIN pg_catalog.pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.attnum ORDER BY k.nth),
            ARRAY(SELECT a.attname::text FROM unnest(f.confkey) WITH ORDINALITY AS k(attnum, nth)
                  JOIN pg_catalog.pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = k.attnum ORDER BY k.nth)
        FROM pg_catalog.pg_constraint f JOIN pg_catalog.pg_class t ON t.oid = f.confrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
        WHERE f.conrelid = $1 AND f.contype = 'f' AND f.conparentid = 0 ORDER BY f.conname";
    let foreign = client.query(sql, &[&oid]).await.map_err(failed)?;
    let names =
        |row: &Row, column: usize| row.get::<_, Vec<String>>(column).into_iter().map(Arc::from).collect();
    let foreign_keys = foreign
        .iter()
        .map(|row| ForeignKey {
            name: row.get::<_, String>(0).into(),
            columns: names(row, 3),
            target: TableName {
                schema: Some(row.get::<_, String>(1).into()),
                name: row.get::<_, String>(2).into(),
            },
            target_columns: names(row, 4),
        })
        .collect();
    Ok(Some(TableSchema {
        table: TableName {
            schema: Some(class.get::<_, String>(4).into()),
            name: class.get::<_, String>(5).into(),
        },
        is_table: matches!(class.get::<_, String>(1).as_str(), "r" | "p"),
        columns,
        primary_key,
        unique_keys,
        deferrable_keys,
        identity,
        foreign_keys,
    }))
}

/// The table as our statements need to know it.
pub(super) async fn destination(client: &Client, table: &TableName) -> Result<Destination, Fault> {
    let failed = |error: tokio_postgres::Error| fault(READ, &error).table(shown(table));
    let Some((oid, _)) = find(client, table).await? else {
        let message = format!("there is no table {table}");
        return Err(Fault::new(FaultClass::Schema, READ, message).code("42P01").table(shown(table)));
    };
    let sql = format!(
        "SELECT a.attname::text, pg_catalog.format_type(base.oid, -1), b.typname::text, NOT a.attnotnull,
            a.attidentity = 'a', base.typtypmod
        FROM pg_catalog.pg_attribute a CROSS JOIN {BASE_TYPE} JOIN pg_catalog.pg_type b ON b.oid = base.oid
        WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
    );
    let columns = client.query(&sql, &[&oid]).await.map_err(failed)?;
    let indexes = client.query(INDEXES, &[&oid]).await.map_err(failed)?;
    let column = |row: &Row| {
        let (type_name, modifier): (String, i32) = (row.get(2), row.get(5));
        let lengthy = matches!(type_name.as_str(), "varchar" | "bpchar") && modifier >= 4;
        DestinationColumn {
            name: row.get(0),
            cast: row.get(1),
            length: lengthy.then(|| modifier - 4),
            fit: Fit::of(&type_name, modifier),
            type_name,
            nullable: row.get(3),
            identity_always: row.get(4),
        }
    };
    Ok(Destination {
        sql: quoted_table(table),
        shown: shown(table),
        columns: columns.iter().map(column).collect(),
        // A deferrable one cannot decide an upsert, and is checked at the end anyway.
        unique: indexes
            .iter()
            .filter(|row| row.get(3))
            .map(|row| UniqueIndex { name: row.get(0), columns: row.get(2) })
            .collect(),
    })
}
