//! `tandem queue stats`

use crate::args::One;
use crate::failure::Exit;
use crate::output::{age, bytes, count, table};
use crate::verbs::{Desk, Outcome};
use comfy_table::Cell;

pub(crate) async fn stats(desk: &Desk<'_>, asked: One) -> Outcome {
    let stats = desk.client.queue_stats(&asked.map).await?;
    desk.output.data(&stats, |stats| {
        let row = [
            Cell::new(count(stats.records)),
            Cell::new(bytes(stats.bytes)),
            Cell::new(stats.oldest_at.map_or_else(|| "-".to_owned(), age)),
            Cell::new(stats.applied_seq),
            Cell::new(stats.head_seq),
        ];
        table(["RECORDS", "BYTES", "OLDEST", "APPLIED SEQ", "HEAD SEQ"], [row])
    });
    Ok(Exit::Ok)
}
