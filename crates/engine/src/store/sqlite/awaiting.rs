//! What waits for another map, among the errors: found by its code, in indexes that have only what waits or is tried.

use super::SqliteStore;
use crate::store::set_aside::WAITS_FOR_MAP;
use crate::store::{Awaiting, FlowId, StoreError};
use rusqlite::params;
use std::collections::BTreeMap;
use tandem_core::Seq;

impl SqliteStore {
    pub(super) fn all_awaiting(&self) -> Result<BTreeMap<FlowId, Awaiting>, StoreError> {
        self.with("count what waits for other maps", |connection| {
            // Two parts, each with an index of its own: there may be a million errors of which none waits.
            let awaiting = format!("document ->> '$.fault.code' = '{WAITS_FOR_MAP}'");
            let sql = format!(
                "SELECT flow, count(*), min(seq), sum(retrying) FROM (
                    SELECT flow, seq, 0 AS retrying FROM error WHERE status = 'waiting' AND {awaiting}
                    UNION ALL SELECT flow, seq, 1 FROM error
                        WHERE retry IS NOT NULL AND status = 'retrying' AND {awaiting})
                 GROUP BY flow"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query([])?;
            let mut all = BTreeMap::new();
            while let Some(row) = rows.next()? {
                let number = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
                let awaiting = Awaiting { records: number(1)?, first: Seq(number(2)?), retrying: number(3)? };
                all.insert(FlowId(row.get(0)?), awaiting);
            }
            Ok(all)
        })
    }

    pub(super) fn find_awaiting(
        &self,
        flows: &[FlowId],
        through: Seq,
        limit: usize,
    ) -> Result<Vec<u64>, StoreError> {
        self.with("look for what waits for other maps", |connection| {
            let sql = format!(
                "SELECT id FROM error WHERE status = 'waiting' AND document ->> '$.fault.code' = '{WAITS_FOR_MAP}'
                    AND flow IN (SELECT value FROM json_each(?1)) AND seq <= ?2 ORDER BY seq LIMIT ?3"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let flows = serde_json::to_string(&flows.iter().map(|flow| flow.0).collect::<Vec<_>>())?;
            let (through, limit) = (through.0.min(i64::MAX.unsigned_abs()), limit as u64);
            let values = params![flows, through.cast_signed(), limit.cast_signed()];
            let rows = statement.query_map(values, |row| row.get::<_, i64>(0))?;
            Ok(rows.map(|id| id.map(i64::unsigned_abs)).collect::<Result<_, rusqlite::Error>>()?)
        })
    }
}
