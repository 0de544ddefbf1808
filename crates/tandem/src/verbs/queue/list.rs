//! `tandem queue list`

use crate::args::{Op, QueueList as Asked};
use crate::failure::Exit;
use crate::output::{bytes, moment, table};
use crate::verbs::{Desk, Outcome, record};
use comfy_table::Cell;
use tandem_server::wire::QueuedRecord;
use tandem_server::{PAGE_DEFAULT, QueueSearch};

pub(crate) async fn list(desk: &Desk<'_>, asked: Asked) -> Outcome {
    let search = QueueSearch {
        key: asked.key.as_deref(),
        prefix: asked.prefix.as_deref(),
        op: asked.op.map(Op::name),
        since: asked.since,
        until: asked.until,
    };
    let (map, asked_for) = (&asked.map, asked.page.limit);
    let mut page = desk.client.queue(map, search, asked.page.after.as_deref(), asked_for).await?;
    // One request of a search looks at a stretch of the queue only: go on until there is what was asked for.
    let limit = asked_for.unwrap_or(PAGE_DEFAULT);
    while let Some(next) = page.next.as_deref().filter(|_| search != QueueSearch::default())
        && page.items.len() < limit
    {
        let rest = limit - page.items.len();
        let more = desk.client.queue(map, search, Some(next), Some(rest)).await?;
        page.items.extend(more.items);
        page.next = more.next;
    }
    desk.output.data(&page, |page| {
        table(["SEQ", "TIME", "OP", "KEY", "TRANSACTION", "SIZE"], page.items.iter().map(row))
    });
    if let Some(next) = &page.next {
        desk.output.say(&format!("there is more: --after {next}"));
    }
    Ok(Exit::Ok)
}

fn row(found: &QueuedRecord) -> [Cell; 6] {
    [
        Cell::new(found.seq),
        Cell::new(moment(found.committed_at)),
        Cell::new(&found.op),
        Cell::new(record::key(found.key.as_ref())),
        Cell::new(record::or_dash(&found.transaction)),
        Cell::new(bytes(u64::from(found.bytes))),
    ]
}
