//! What in the database stands against the needs of maps, and the SQL that mends it.

use super::changes;
use super::schema::{self, Affinity, Table, quoted};
use super::trouble::during;
use rusqlite::Connection;
use tandem_core::connect::{CaptureNeed, Needs, WriteNeed};
use tandem_core::{Fault, FaultClass, Finding, TableName};

/// A file that cannot be used as it is, as a finding; one that cannot be reached stays a fault.
pub(super) fn unusable(fault: Fault) -> Result<Finding, Fault> {
    let named = fault.code.as_deref() == Some("file_missing");
    if !named && !matches!(fault.class, FaultClass::Setup | FaultClass::Permission) {
        return Err(fault);
    }
    let code = fault.code.clone().unwrap_or_else(|| "unusable".to_owned());
    let finding = Finding::error(&code, "app", fault.message);
    Ok(match fault.fix {
        Some(fix) => finding.fix(fix),
        None => finding,
    })
}

pub(super) fn findings(conn: &Connection, needs: &Needs) -> Result<Vec<Finding>, Fault> {
    let mut findings = Vec::new();
    if conn.is_readonly("main").map_err(during("check database"))? {
        let message = "the database is read-only to us: capture and writes both need to write to it";
        let fix = "let the user that runs tandem write to the file and to its folder";
        findings.push(Finding::error("read_only", "app", message).fix(fix));
    }
    for need in &needs.captured {
        if let Some(table) = plain_table(conn, &need.table, &mut findings)? {
            captured(&table, need, &mut findings);
            keyless(conn, &table, need, &mut findings)?;
        }
    }
    missing_triggers(conn, needs, &mut findings)?;
    for need in &needs.written {
        if let Some(table) = plain_table(conn, &need.table, &mut findings)? {
            written(&table, need, &mut findings);
            side_effects(conn, &table, &need.table, &mut findings)?;
        }
    }
    findings.dedup();
    Ok(findings)
}

fn plain_table(
    conn: &Connection,
    name: &TableName,
    findings: &mut Vec<Finding>,
) -> Result<Option<Table>, Fault> {
    let place = name.to_string();
    let Some(table) = schema::read(conn, name)? else {
        let finding = Finding::error("table_missing", place, "the table is not there");
        findings.push(finding.fix("correct the name in the config"));
        return Ok(None);
    };
    if table.kind != "table" {
        let message = format!("it is a {}: only plain tables can be mapped", table.kind);
        let finding = Finding::error("not_a_table", place, message);
        findings.push(finding.fix("name the table in the config that it is made of"));
        return Ok(None);
    }
    Ok(Some(table))
}

fn captured(table: &Table, need: &CaptureNeed, findings: &mut Vec<Finding>) {
    let name = &need.table;
    for column in need.key.iter().chain(&need.also) {
        match table.schema.column(column) {
            None => findings.push(column_missing(table, name, column)),
            Some(known) if known.generated => {
                let message =
                    "a generated column cannot be captured, so neither a key nor a filter can have it";
                let finding = Finding::error("column_generated", format!("{name}.{column}"), message);
                findings.push(finding.fix("name the columns that it is computed of"));
            }
            Some(_) => {}
        }
    }
    if !table.schema.unique_keys.is_empty() {
        let message = "INSERT OR REPLACE that removes a row by a unique key other than the primary key is not \
                       seen, unless the app's connections set recursive_triggers";
        let finding = Finding::warning("replace_unseen", name.to_string(), message);
        findings.push(finding.fix("PRAGMA recursive_triggers = ON; -- in each connection of the app"));
    }
}

/// Records without a key: no chunk of a copy has them, and no comparison. SQLite allows them in a primary key, too, unless
/// that is an INTEGER.
fn keyless(
    conn: &Connection,
    table: &Table,
    need: &CaptureNeed,
    findings: &mut Vec<Finding>,
) -> Result<(), Fault> {
    let failed = during("check database");
    for column in need.key.iter().filter(|name| table.schema.column(name).is_some_and(|it| it.nullable)) {
        let (from, name) = (quoted(&need.table.name), quoted(column));
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {from} WHERE {name} IS NULL)");
        if conn.query_row(&sql, [], |row| row.get::<_, bool>(0)).map_err(&failed)? {
            let message = format!(
                "there are records whose {column} is null: they have no key, so an initial sync passes them over, and a \
                 change of one is set aside"
            );
            let fix = format!(
                "give them a key: SELECT * FROM {from} WHERE {name} IS NULL; or leave them out by a filter"
            );
            findings.push(Finding::warning("key_null", format!("{}.{column}", need.table), message).fix(fix));
        }
    }
    Ok(())
}

/// Tables that were put into capture, and whose triggers somebody has taken away since.
fn missing_triggers(conn: &Connection, needs: &Needs, findings: &mut Vec<Finding>) -> Result<(), Fault> {
    for layout in changes::active(conn)? {
        let table = &layout.relation.table;
        let wanted = needs.captured.iter().any(|need| need.table.name == table.name);
        // A table that is gone has been found already.
        let Some(now) = schema::read(conn, table)?.filter(|_| wanted) else { continue };
        if changes::intact(conn, &now, &layout)? {
            continue;
        }
        let message =
            "triggers of ours that capture the table are gone or altered: what was changed since is unknown";
        let finding = Finding::warning("triggers_missing", table.to_string(), message);
        findings.push(finding.fix("tandem map stop MAP, then tandem map run MAP with an initial sync"));
    }
    Ok(())
}

fn written(table: &Table, need: &WriteNeed, findings: &mut Vec<Finding>) {
    let name = &need.table;
    for column in &need.columns {
        let place = format!("{name}.{column}");
        let known =
            table.schema.columns.iter().zip(&table.affinities).find(|(known, _)| known.name == *column);
        let Some((known, affinity)) = known else {
            findings.push(column_missing(table, name, column));
            continue;
        };
        if known.generated {
            let finding = Finding::error("column_generated", place, "a generated column cannot be written");
            findings.push(finding.fix("leave the column out of the map"));
        } else if *affinity == Affinity::Numeric && !known.type_name.to_ascii_uppercase().contains("INT") {
            let message = format!(
                "SQLite turns text that looks like a number into a number in a column of type {}: exact \
                 decimals with a fraction will be set aside",
                known.type_name
            );
            let finding = Finding::warning("inexact_column", place, message);
            findings
                .push(finding.fix("declare the column TEXT (SQLite cannot change a column's type in place)"));
        }
    }
    let required = table.schema.columns.iter().filter(|column| {
        !column.nullable && !column.has_default && !column.generated && !need.columns.contains(&column.name)
    });
    for column in required {
        let message = "new records need a value for this column, and no map writes it";
        let finding = Finding::error("column_required", format!("{name}.{}", column.name), message);
        findings.push(finding.fix("map the column, or give it a default in the app"));
    }
    if need.key.iter().all(|column| table.schema.column(column).is_some())
        && !table.schema.is_unique(&need.key)
    {
        let columns: Vec<_> = need.key.iter().map(|column| quoted(column)).collect();
        let index = quoted(&format!("{}_key", name.name));
        let fix = format!("CREATE UNIQUE INDEX {index} ON {} ({});", quoted(&name.name), columns.join(", "));
        let finding = Finding::error("key_not_unique", name.to_string(), "the integration key is not unique");
        findings.push(finding.fix(fix));
    }
}

/// What else the database does when a table is written: a warning, since only its owner knows whether it is meant.
fn side_effects(
    conn: &Connection,
    table: &Table,
    name: &TableName,
    findings: &mut Vec<Finding>,
) -> Result<(), Fault> {
    let failed = during("check triggers");
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE
        AND name NOT LIKE '\\_tandem\\_%' ESCAPE '\\' ORDER BY name";
    let mut query = conn.prepare_cached(sql).map_err(&failed)?;
    let triggers: Vec<String> = query
        .query_map([&*table.schema.table.name], |row| row.get(0))
        .and_then(Iterator::collect)
        .map_err(&failed)?;
    for trigger in triggers {
        let message = format!(
            "the trigger {trigger} fires for what we write, too: a value that it changes will differ from the source's, \
             and what it did at the source may be done twice"
        );
        let finding = Finding::warning("trigger", name.to_string(), message);
        findings.push(
            finding.fix(format!("DROP TRIGGER {}; -- if the other app does its work", quoted(&trigger))),
        );
    }
    Ok(())
}

fn column_missing(table: &Table, name: &TableName, column: &str) -> Finding {
    let known: Vec<&str> = table.schema.columns.iter().map(|column| &*column.name).take(40).collect();
    Finding::error("column_missing", format!("{name}.{column}"), "the column is not there")
        .fix(format!("its columns are: {}", known.join(", ")))
}
