//! The records that initial syncs look at again, as rows.

use super::blob;
use crate::store::{Again, FlowId};
use rusqlite::{Connection, params};
use tandem_core::IntegrationKey;

type Failed = Box<dyn std::error::Error>;

/// `key` is what [`blob`] makes of an integration key: equal exactly where the keys are.
pub(super) const AGAIN: &str = "
    CREATE TABLE again (
        id INTEGER PRIMARY KEY AUTOINCREMENT, flow INTEGER NOT NULL, key BLOB NOT NULL, UNIQUE (flow, key)) STRICT;
    CREATE INDEX again_flow ON again (flow, id);
";

pub(super) fn note(connection: &Connection, flow: FlowId, keys: &[IntegrationKey]) -> Result<(), Failed> {
    let mut statement =
        connection.prepare_cached("INSERT INTO again (flow, key) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
    for key in keys {
        statement.execute(params![flow.0, blob::encode_key(key)])?;
    }
    Ok(())
}

pub(super) fn done(connection: &Connection, flow: FlowId, keys: &[IntegrationKey]) -> Result<(), Failed> {
    let mut statement = connection.prepare_cached("DELETE FROM again WHERE flow = ?1 AND key = ?2")?;
    for key in keys {
        statement.execute(params![flow.0, blob::encode_key(key)])?;
    }
    Ok(())
}

pub(super) fn forget(connection: &Connection, flow: FlowId) -> Result<(), Failed> {
    connection.prepare_cached("DELETE FROM again WHERE flow = ?1")?.execute([flow.0])?;
    Ok(())
}

pub(super) fn page(
    connection: &Connection,
    flow: FlowId,
    after: u64,
    limit: usize,
) -> Result<Vec<Again>, Failed> {
    let mut statement = connection
        .prepare_cached("SELECT id, key FROM again WHERE flow = ?1 AND id > ?2 ORDER BY id LIMIT ?3")?;
    let (after, limit) = (i64::try_from(after).unwrap_or(i64::MAX), i64::try_from(limit).unwrap_or(i64::MAX));
    let rows = statement.query_map(params![flow.0, after, limit], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
    })?;
    let mut found = Vec::new();
    for row in rows {
        let (id, key) = row?;
        let key = blob::decode_key(key.into()).map_err(|malformed| malformed.to_string())?;
        found.push(Again { id: id.unsigned_abs(), key });
    }
    Ok(found)
}

pub(super) fn count(connection: &Connection, flow: FlowId) -> Result<u64, Failed> {
    let mut statement = connection.prepare_cached("SELECT count(*) FROM again WHERE flow = ?1")?;
    let count: i64 = statement.query_row([flow.0], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}
