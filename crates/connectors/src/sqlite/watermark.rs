//! The watermarks and fences that streams leave in a destination, and the compare of their compare-and-set.

use super::fenced;
use super::trouble::during;
use rusqlite::{Connection, OptionalExtension};
use tandem_core::connect::{Begin, Owner, Watermark};
use tandem_core::{Epoch, Fault, JournalId, LaneId, Seq};

fn install(conn: &Connection) -> Result<(), Fault> {
    let sql = "CREATE TABLE IF NOT EXISTS _tandem_watermark (stream TEXT NOT NULL, lane INTEGER NOT NULL, \
                 journal BLOB NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL, position BLOB NOT NULL, \
                 PRIMARY KEY (stream, lane));
               CREATE TABLE IF NOT EXISTS _tandem_fence (stream TEXT NOT NULL, journal BLOB NOT NULL, \
                 epoch INTEGER NOT NULL, PRIMARY KEY (stream, journal));";
    conn.execute_batch(sql).map_err(during("make the watermark table"))
}

fn installed(conn: &Connection) -> Result<bool, Fault> {
    conn.query_row(
        "SELECT count(*) = 2 FROM sqlite_master WHERE type = 'table' AND name IN ('_tandem_watermark', '_tandem_fence')",
        [],
        |row| row.get(0),
    )
    .map_err(during("look for the watermark table"))
}

fn is_fenced(conn: &Connection, owner: Owner, stream: &str) -> Result<bool, Fault> {
    conn.prepare_cached("SELECT epoch FROM _tandem_fence WHERE stream = ?1 AND journal = ?2")
        .and_then(|mut query| {
            query.query_row((stream, owner.journal.0.to_be_bytes()), |row| row.get::<_, i64>(0)).optional()
        })
        .map(|epoch| epoch.is_some_and(|epoch| epoch.cast_unsigned() > owner.epoch.0))
        .map_err(during("read the fence"))
}

pub(super) fn elsewhere(begin: Begin) -> Fault {
    fenced("begin transaction", &format!("the watermark of lane {} is not where we left it", begin.lane))
}

/// The compare: the watermark stands where the lane left it, and is ours; or the lane is new and gets one.
pub(super) fn compare(conn: &Connection, owner: Owner, stream: &str, begin: Begin) -> Result<(), Fault> {
    if !installed(conn)? {
        install(conn)?;
    }
    if is_fenced(conn, owner, stream)? {
        return Err(elsewhere(begin));
    }
    let failed = during("read the watermark");
    let lane = begin.lane.0.cast_signed();
    let row: Option<([u8; 16], i64, i64)> = conn
        .prepare_cached("SELECT journal, epoch, seq FROM _tandem_watermark WHERE stream = ?1 AND lane = ?2")
        .and_then(|mut query| {
            query.query_row((stream, lane), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()
        })
        .map_err(&failed)?;
    let (journal, epoch, from) =
        (owner.journal.0.to_be_bytes(), owner.epoch.0.cast_signed(), begin.from.0.cast_signed());
    match row {
        Some(row) if row == (journal, epoch, from) => Ok(()),
        None if begin.first => conn
            .execute(
                "INSERT INTO _tandem_watermark VALUES (?1, ?2, ?3, ?4, ?5, x'')",
                (stream, lane, journal, epoch, from),
            )
            .map(drop)
            .map_err(&failed),
        Some(_) | None => Err(elsewhere(begin)),
    }
}

pub(super) fn fence(conn: &Connection, owner: Owner, stream: &str) -> Result<Vec<Watermark>, Fault> {
    install(conn)?;
    if is_fenced(conn, owner, stream)? {
        return Err(fenced("fence older starts", "a later start of this data folder was here"));
    }
    let failed = during("fence older starts");
    let (journal, epoch) = (owner.journal.0.to_be_bytes(), owner.epoch.0.cast_signed());
    conn.execute(
        "INSERT INTO _tandem_fence VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET epoch = excluded.epoch",
        (stream, journal, epoch),
    )
    .map_err(&failed)?;
    conn.execute(
        "UPDATE _tandem_watermark SET epoch = ?3 WHERE stream = ?1 AND journal = ?2",
        (stream, journal, epoch),
    )
    .map_err(&failed)?;
    let mut query = conn
        .prepare("SELECT lane, journal, epoch, seq FROM _tandem_watermark WHERE stream = ?1 ORDER BY lane")
        .map_err(&failed)?;
    let marks = query.query_map([stream], |row| {
        Ok(Watermark {
            lane: LaneId(row.get::<_, i64>(0)?.cast_unsigned()),
            journal: JournalId(u128::from_be_bytes(row.get(1)?)),
            epoch: Epoch(row.get::<_, i64>(2)?.cast_unsigned()),
            seq: Seq(row.get::<_, i64>(3)?.cast_unsigned()),
        })
    });
    marks.and_then(Iterator::collect).map_err(&failed)
}

pub(super) fn retire(conn: &Connection, owner: Owner, stream: &str, lanes: &[LaneId]) -> Result<(), Fault> {
    if !installed(conn)? {
        return Ok(());
    }
    if is_fenced(conn, owner, stream)? {
        return Err(fenced("retire lanes", "a later start of this data folder was here"));
    }
    let failed = during("retire lanes");
    for lane in lanes {
        conn.execute(
            "DELETE FROM _tandem_watermark WHERE stream = ?1 AND lane = ?2 AND journal = ?3",
            (stream, lane.0.cast_signed(), owner.journal.0.to_be_bytes()),
        )
        .map_err(&failed)?;
    }
    conn.execute(
        "DELETE FROM _tandem_fence AS f WHERE stream = ?1 \
         AND NOT EXISTS (SELECT 1 FROM _tandem_watermark AS w WHERE w.stream = f.stream AND w.journal = f.journal)",
        [stream],
    )
    .map_err(&failed)?;
    let used: bool = conn
        .query_row(
            "SELECT EXISTS (SELECT 1 FROM _tandem_watermark) OR EXISTS (SELECT 1 FROM _tandem_fence)",
            [],
            |row| row.get(0),
        )
        .map_err(&failed)?;
    if used {
        return Ok(());
    }
    conn.execute_batch("DROP TABLE _tandem_watermark; DROP TABLE _tandem_fence;").map_err(&failed)
}
