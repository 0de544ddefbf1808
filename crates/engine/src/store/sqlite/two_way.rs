//! Conflicts, and the winners that are to be written back.

use super::{Conflict, Correction, FlowId};
use crate::journal::blob;
use rusqlite::{Connection, params};
use std::collections::BTreeMap;
use tandem_core::{MapName, Seq};

/// The tables. Of conflicts the newest are kept; how many there were is counted beside them.
pub(super) const TWO_WAY: &str = "
    CREATE TABLE conflict (
        id INTEGER PRIMARY KEY AUTOINCREMENT, map TEXT NOT NULL,
        left_flow INTEGER NOT NULL, left_seq INTEGER NOT NULL,
        right_flow INTEGER NOT NULL, right_seq INTEGER NOT NULL,
        document TEXT NOT NULL, UNIQUE (left_flow, left_seq, right_flow, right_seq)) STRICT;
    CREATE INDEX conflict_map ON conflict (map, id);
    CREATE TABLE conflicts_of (map TEXT PRIMARY KEY, conflicts INTEGER NOT NULL) STRICT;
    CREATE TRIGGER conflict_counted AFTER INSERT ON conflict BEGIN
        INSERT INTO conflicts_of VALUES (NEW.map, 1) ON CONFLICT DO UPDATE SET conflicts = conflicts + 1;
        DELETE FROM conflict WHERE id <= NEW.id - 100000;
    END;
    CREATE TABLE correction (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        of_flow INTEGER NOT NULL, seq INTEGER NOT NULL, flow INTEGER NOT NULL, change BLOB NOT NULL) STRICT;
";

type Failed = Box<dyn std::error::Error>;

pub(super) fn save_conflict(connection: &Connection, conflict: &Conflict) -> Result<(), Failed> {
    let (left, right) = (conflict.left, conflict.right);
    connection
        .prepare_cached(
            "INSERT INTO conflict (map, left_flow, left_seq, right_flow, right_seq, document)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            conflict.map.as_str(),
            left.0.0,
            left.1.0.cast_signed(),
            right.0.0,
            right.1.0.cast_signed(),
            serde_json::to_string(conflict)?
        ])?;
    Ok(())
}

pub(super) fn conflicts(
    connection: &Connection,
    map: Option<&MapName>,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<(u64, Conflict)>, Failed> {
    let mut statement = connection.prepare_cached(
        "SELECT id, document FROM conflict WHERE (?1 IS NULL OR map = ?1) AND id < ?2 ORDER BY id DESC LIMIT ?3",
    )?;
    let before = before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![map.map(MapName::as_str), before, limit], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
    })?;
    rows.map(|row| {
        let (id, document) = row?;
        Ok((id.unsigned_abs(), serde_json::from_str(&document)?))
    })
    .collect()
}

pub(super) fn conflict_counts(connection: &mut Connection) -> Result<BTreeMap<MapName, u64>, Failed> {
    let mut statement = connection.prepare_cached("SELECT map, conflicts FROM conflicts_of")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
    rows.map(|row| row.map(|(map, count)| (map.as_str().into(), count.unsigned_abs())).map_err(Into::into))
        .collect()
}

pub(super) fn save_correction(connection: &Connection, correction: &Correction) -> Result<(), Failed> {
    let change = blob::encode(&correction.change, Some(correction.stamp), Some(&correction.key));
    connection
        .prepare_cached("INSERT INTO correction (of_flow, seq, flow, change) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![correction.of.0, correction.seq.0.cast_signed(), correction.flow.0, change])?;
    Ok(())
}

pub(super) fn forget_correction(connection: &Connection, id: u64) -> Result<(), Failed> {
    connection.prepare_cached("DELETE FROM correction WHERE id = ?1")?.execute([id.cast_signed()])?;
    Ok(())
}

pub(super) fn count_corrections(connection: &Connection) -> rusqlite::Result<u64> {
    connection
        .query_row("SELECT count(*) FROM correction", [], |row| row.get::<_, i64>(0))
        .map(i64::unsigned_abs)
}

pub(super) fn corrections(
    connection: &Connection,
    flows: &[FlowId],
    limit: usize,
) -> Result<Vec<Correction>, Failed> {
    let flows: Vec<u32> = flows.iter().map(|flow| flow.0).collect();
    let mut statement = connection.prepare_cached(
        "SELECT of_flow, seq, flow, change, id FROM correction WHERE flow IN (SELECT value FROM json_each(?1))
         ORDER BY id LIMIT ?2",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![serde_json::to_string(&flows)?, limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let bytes: Vec<u8> = row.get(3)?;
        let (change, stamp, key) = blob::decode(bytes.into()).map_err(|why| why.to_string())?;
        let (Some(stamp), Some(key)) = (stamp, key) else { continue };
        let seq = Seq(row.get::<_, i64>(1)?.cast_unsigned());
        found.push(Correction {
            id: row.get::<_, i64>(4)?.cast_unsigned(),
            flow: FlowId(row.get(2)?),
            of: FlowId(row.get(0)?),
            seq,
            stamp,
            key,
            change,
        });
    }
    Ok(found)
}
