//! The catalog: tables as they stand now, read with pragmas.

use super::trouble::during;
use rusqlite::{Connection, OptionalExtension};
use std::collections::BTreeMap;
use std::sync::Arc;
use tandem_core::{ColumnSchema, Fault, ForeignKey, TableName, TableSchema, UniqueKey};

/// A name as it stands in a statement.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What SQLite does to a value that is put into a column (its *affinity*).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Affinity {
    Text,
    /// INTEGER and NUMERIC do the same to what is stored.
    Numeric,
    Real,
    /// Keeps everything as it is (BLOB, ANY in a strict table, no type).
    Keep,
}

/// A table with what only SQLite has to say of it.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) schema: TableSchema,
    pub(super) affinities: Vec<Affinity>,
    /// What names one row in a statement, quoted: `rowid` or the primary key's columns.
    pub(super) row_key: Vec<String>,
    /// `table`, `view`, `virtual` or `shadow`.
    pub(super) kind: String,
}

/// The rules of <https://www.sqlite.org/datatype3.html>, section 3.1.
fn affinity(type_name: &str, strict: bool) -> Affinity {
    let upper = type_name.to_ascii_uppercase();
    let has = |part: &str| upper.contains(part);
    if strict && upper == "ANY" {
        Affinity::Keep
    } else if has("INT") {
        Affinity::Numeric
    } else if has("CHAR") || has("CLOB") || has("TEXT") {
        Affinity::Text
    } else if has("BLOB") || upper.is_empty() {
        Affinity::Keep
    } else if has("REAL") || has("FLOA") || has("DOUB") {
        Affinity::Real
    } else {
        Affinity::Numeric
    }
}

/// Reads a table; `None` if there is none of that name.
pub(super) fn read(conn: &Connection, name: &TableName) -> Result<Option<Table>, Fault> {
    let failed = during("read schema");
    if name.schema.as_deref().is_some_and(|schema| schema != "main") {
        return Ok(None);
    }
    let listed = conn
        .prepare_cached(
            "SELECT name, type, wr, strict FROM pragma_table_list WHERE schema = 'main' AND name = ?1",
        )
        .and_then(|mut query| {
            query
                .query_row([&*name.name], |row| {
                    Ok((
                        row.get::<_, String>(0)?,
                        row.get::<_, String>(1)?,
                        row.get::<_, bool>(2)?,
                        row.get(3)?,
                    ))
                })
                .optional()
        })
        .map_err(&failed)?;
    let Some((real_name, kind, without_rowid, strict)) = listed else { return Ok(None) };
    let mut columns = Vec::new();
    let mut affinities = Vec::new();
    let mut key: Vec<(i64, Arc<str>, String)> = Vec::new();
    let mut query = conn
        .prepare_cached(
            "SELECT name, type, \"notnull\", dflt_value IS NOT NULL, pk, hidden FROM pragma_table_xinfo(?1)",
        )
        .map_err(&failed)?;
    let mut rows = query.query([&*real_name]).map_err(&failed)?;
    while let Some(row) = rows.next().map_err(&failed)? {
        let get = || -> rusqlite::Result<_> {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
                row.get(5)?,
            ))
        };
        let (column, type_name, not_null, default, place, hidden): (_, _, bool, bool, i64, i64) =
            get().map_err(&failed)?;
        let column: Arc<str> = column.into();
        if place > 0 {
            key.push((place, column.clone(), type_name.clone()));
        }
        affinities.push(affinity(&type_name, strict));
        columns.push(ColumnSchema {
            name: column,
            type_name: type_name.into(),
            nullable: !not_null && place == 0,
            has_default: default,
            generated: hidden != 0,
        });
    }
    key.sort_by_key(|(place, _, _)| *place);
    // An only key column of type INTEGER is the row's number: SQLite gives one if it is left out.
    if let ([(_, only, type_name)], false) = (key.as_slice(), without_rowid)
        && type_name.eq_ignore_ascii_case("integer")
    {
        columns.iter_mut().filter(|column| column.name == *only).for_each(|column| column.has_default = true);
    }
    let primary_key: Vec<_> = key.into_iter().map(|(_, column, _)| column).collect();
    let row_key = if without_rowid {
        primary_key.iter().map(|column| quoted(column)).collect()
    } else {
        let taken = |name: &&str| columns.iter().any(|column| column.name.eq_ignore_ascii_case(name));
        let free = ["rowid", "_rowid_", "oid"].into_iter().find(|name| !taken(name)).unwrap_or("rowid");
        vec![free.to_owned()]
    };
    let schema = TableSchema {
        is_table: kind == "table",
        identity: columns
            .iter()
            .filter(|column| !column.generated)
            .map(|column| column.name.clone())
            .collect(),
        columns,
        primary_key,
        unique_keys: unique_keys(conn, &real_name)?,
        deferrable_keys: Vec::new(),
        foreign_keys: foreign_keys(conn, &real_name)?,
        table: TableName { schema: None, name: real_name.into() },
    };
    Ok(Some(Table { schema, affinities, row_key, kind }))
}

fn unique_keys(conn: &Connection, table: &str) -> Result<Vec<UniqueKey>, Fault> {
    let failed = during("read unique keys");
    let mut query = conn
        .prepare_cached("SELECT name FROM pragma_index_list(?1) WHERE \"unique\" AND NOT partial AND origin <> 'pk' ORDER BY name")
        .map_err(&failed)?;
    let names: Vec<String> =
        query.query_map([table], |row| row.get(0)).and_then(Iterator::collect).map_err(&failed)?;
    let mut keys = Vec::new();
    for name in names {
        let mut query =
            conn.prepare_cached("SELECT name FROM pragma_index_info(?1) ORDER BY seqno").map_err(&failed)?;
        let columns: Vec<Option<String>> =
            query.query_map([&name], |row| row.get(0)).and_then(Iterator::collect).map_err(&failed)?;
        // A part without a name is an expression.
        if let Some(columns) = columns.into_iter().map(|column| column.map(Arc::from)).collect() {
            keys.push(UniqueKey { name: name.into(), columns });
        }
    }
    Ok(keys)
}

fn foreign_keys(conn: &Connection, table: &str) -> Result<Vec<ForeignKey>, Fault> {
    let failed = during("read foreign keys");
    let mut query = conn
        .prepare_cached(
            "SELECT id, \"table\", \"from\", \"to\" FROM pragma_foreign_key_list(?1) ORDER BY id, seq",
        )
        .map_err(&failed)?;
    let mut rows = query.query([table]).map_err(&failed)?;
    let mut keys: BTreeMap<i64, ForeignKey> = BTreeMap::new();
    while let Some(row) = rows.next().map_err(&failed)? {
        let get = || -> rusqlite::Result<(i64, String, String, Option<String>)> {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        };
        let (id, target, from, to) = get().map_err(&failed)?;
        let key = keys.entry(id).or_insert_with(|| ForeignKey {
            name: format!("fk_{id}").into(),
            columns: Vec::new(),
            target: TableName { schema: None, name: target.into() },
            target_columns: Vec::new(),
        });
        key.columns.push(from.into());
        key.target_columns.extend(to.map(Arc::from));
    }
    // Without named columns a foreign key refers to the primary key.
    for key in keys.values_mut().filter(|key| key.target_columns.is_empty()) {
        let mut query = conn
            .prepare_cached("SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk")
            .map_err(&failed)?;
        let columns: Vec<String> = query
            .query_map([&*key.target.name], |row| row.get(0))
            .and_then(Iterator::collect)
            .map_err(&failed)?;
        key.target_columns = columns.into_iter().map(Arc::from).collect();
    }
    Ok(keys.into_values().collect())
}
