//! The floor: what the destination alone needs for the statements of a catch-up, run by a loop inside the server,
//! with no client and no log to read. Batches of 1,000 rows as Tandem's, only the last state of each record, each
//! batch committed durably.

use super::{Bench, Measure, cost};
use crate::backlog::{self, RECORD};
use crate::cpu::Meter;
use crate::pair::Pair;
use anyhow::Result;

pub(crate) async fn measure(bench: &Bench) -> Result<Vec<Measure>> {
    let rows = bench.sizes.rows;
    let pair = Pair::start().await?;
    backlog::create(&pair, bench.sizes.records).await;
    let client = pair.connect_right().await;
    backlog::store(&client, bench.sizes.records, rows).await?;
    // The values are made beforehand, as text: they come so from a log.
    client
        .batch_execute(&format!(
            "CREATE UNLOGGED TABLE rows (batch bigint, op \"char\", id text, code text, name text, credit text,
                 updated text, note text);
             INSERT INTO rows SELECT batch, op, r.id::text, r.code, r.name, r.credit::text, r.updated::text, r.note
             FROM (SELECT DISTINCT ON (v / 1000, id) v / 1000 AS batch, op, id, v FROM ops ORDER BY v / 1000, id, v DESC) AS o,
                 LATERAL (SELECT o.id, {RECORD}) AS r(id, code, name, credit, updated, note);
             CREATE INDEX ON rows (batch); ANALYZE rows"
        ))
        .await?;
    client.batch_execute("CHECKPOINT").await?;
    let meter = Meter::start(None, pair.postmasters()?)?;
    client
        .batch_execute(&format!(
            "DO $$ BEGIN
               FOR b IN 0..{rows} / 1000 LOOP
                 DELETE FROM customers c USING rows r WHERE r.batch = b AND r.op = 'd' AND c.id = r.id::bigint;
                 INSERT INTO customers (id, code, name, credit, updated, note)
                 SELECT id::bigint, code, name, credit::numeric, updated::timestamptz, note
                 FROM rows WHERE batch = b AND op <> 'd'
                 ON CONFLICT (id) DO UPDATE SET code = excluded.code, name = excluded.name,
                   credit = excluded.credit, updated = excluded.updated, note = excluded.note;
                 COMMIT;
               END LOOP;
             END $$"
        ))
        .await?;
    let spent = meter.stop()?;
    let mut measures = vec![Measure::more("catch-up", "rows/s", rows as f64 / spent.wall)];
    measures.extend(cost(spent, rows));
    Ok(measures)
}
