//! The mix: 50 % updates, 40 % inserts, 10 % deletes on random keys, one row a transaction, the same for everybody.
//!
//! The operations are drawn once from a fixed seed and stored in the source, in a table that nobody captures; a
//! server-side loop then makes each of them a transaction. So all systems get the same history, and the load costs
//! no client.

use crate::engine::Table;
use crate::pair::Pair;
use anyhow::Result;

/// The table that is kept in step.
pub(crate) const CUSTOMERS: Table = Table { name: "customers", key: "id" };

/// The key of the record that ends a load: when it is visible, everything before it is.
pub(crate) const LAST: i64 = -1;

const TABLE: &str = "CREATE TABLE customers (
    id bigint PRIMARY KEY, code text NOT NULL UNIQUE, name text NOT NULL, credit numeric(12,2) NOT NULL,
    updated timestamptz NOT NULL, note text)";

/// The columns of a record that only depend on its key and a version: about 170 bytes.
pub(crate) const RECORD: &str = "'C' || lpad(id::text, 10, '0'), 'customer ' || md5(id::text || v::text),
    ((id * 7 + v * 13) % 1000000)::numeric / 100, timestamptz '2026-01-01' + v * interval '1 second',
    repeat(md5(v::text), 3)";

const OPS: &str =
    "CREATE UNLOGGED TABLE ops (v bigint PRIMARY KEY, op \"char\" NOT NULL, id bigint NOT NULL)";

/// How many operations are sent at once: few, since the n-th letter of a text is found by walking to it.
const CHUNK: usize = 2_000;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Update,
    Insert,
    Delete,
}

/// Makes the table on both sides, with so many records.
pub(crate) async fn create(pair: &Pair, records: u64) {
    pair.both(TABLE).await;
    pair.both(&format!(
        "INSERT INTO customers SELECT id, {RECORD} FROM generate_series(1, {records}) AS id, (SELECT 0 AS v) AS v"
    ))
    .await;
    pair.both("VACUUM ANALYZE customers").await;
}

/// Draws `rows` operations and stores them where the session is.
pub(crate) async fn store(client: &tokio_postgres::Client, records: u64, rows: u64) -> Result<()> {
    client.batch_execute(OPS).await?;
    let drawn = draw(records, rows);
    let mut version = 0i64;
    for chunk in drawn.chunks(CHUNK) {
        let ops: String = chunk.iter().map(|(op, _)| op.letter()).collect();
        let ids: Vec<i64> = chunk.iter().map(|(_, id)| *id).collect();
        let sql = "INSERT INTO ops SELECT $3 + n, substr($1, n::int, 1)::\"char\", id
            FROM unnest($2::bigint[]) WITH ORDINALITY AS r(id, n)";
        client.execute(sql, &[&ops, &ids, &version]).await?;
        version += i64::try_from(chunk.len())?;
    }
    client.batch_execute("ANALYZE ops").await?;
    Ok(())
}

/// Makes each stored operation a transaction, and a last one that marks the end. The load is not what is measured,
/// so its own commits do not wait for the disk.
pub(crate) async fn load(client: &tokio_postgres::Client) -> Result<()> {
    client.batch_execute("SET synchronous_commit = off").await?;
    client
        .batch_execute(&format!(
            "DO $$ #variable_conflict use_column
             DECLARE o record; v bigint; id bigint;
             BEGIN
               FOR o IN SELECT * FROM ops ORDER BY v LOOP
                 v := o.v; id := o.id;
                 IF o.op = 'u' THEN
                   UPDATE customers c SET (code, name, credit, updated, note) = (SELECT {RECORD}) WHERE c.id = o.id;
                 ELSIF o.op = 'i' THEN
                   INSERT INTO customers SELECT id, {RECORD};
                 ELSE
                   DELETE FROM customers c WHERE c.id = o.id;
                 END IF;
                 COMMIT;
               END LOOP;
             END $$"
        ))
        .await?;
    end(client, LAST).await?;
    client.batch_execute("SET synchronous_commit = on").await?;
    Ok(())
}

/// One more record.
pub(crate) async fn end(client: &tokio_postgres::Client, key: i64) -> Result<()> {
    let sql = format!("INSERT INTO customers SELECT id, {RECORD} FROM (SELECT {key} AS id, 0 AS v) AS r");
    client.batch_execute(&sql).await?;
    Ok(())
}

impl Op {
    fn letter(self) -> char {
        match self {
            Op::Update => 'u',
            Op::Insert => 'i',
            Op::Delete => 'd',
        }
    }
}

/// The operations, on keys that are there.
fn draw(records: u64, rows: u64) -> Vec<(Op, i64)> {
    let mut random = SplitMix(7);
    let mut alive: Vec<i64> = (1..=records).map(key).collect();
    let mut next = key(records + 1);
    let mut drawn = Vec::new();
    for _ in 0..rows {
        let die = random.below(100);
        if die >= 60 || alive.len() < 2 {
            alive.push(next);
            drawn.push((Op::Insert, next));
            next += 1;
            continue;
        }
        let place = random.below(alive.len());
        match die {
            0..50 => drawn.push((Op::Update, alive[place])),
            _ => drawn.push((Op::Delete, alive.swap_remove(place))),
        }
    }
    drawn
}

fn key(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// SplitMix64: small, and the same everywhere.
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // The bias is far below what matters here.
        usize::try_from(z % limit as u64).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_operation_finds_its_record_and_the_mix_is_as_it_says() {
        let mut alive: HashSet<i64> = (1..=1_000).collect();
        let (mut updates, mut inserts, mut deletes) = (0, 0, 0);
        for (op, id) in draw(1_000, 50_000) {
            match op {
                Op::Update => {
                    assert!(alive.contains(&id));
                    updates += 1;
                }
                Op::Insert => {
                    assert!(alive.insert(id));
                    inserts += 1;
                }
                Op::Delete => {
                    assert!(alive.remove(&id));
                    deletes += 1;
                }
            }
        }
        for (count, percent) in [(updates, 50), (inserts, 40), (deletes, 10)] {
            assert!((percent - 1) * 500 < count && count < (percent + 1) * 500, "{count} of {percent} %");
        }
    }
}
