//! `tandem queue list`

use crate::args::QueueList as Asked;
use crate::failure::Exit;
use crate::output::{bytes, moment, table};
use crate::verbs::{Desk, Outcome};
use comfy_table::Cell;
use serde_json::Value as Json;
use tandem_server::wire::QueuedRecord;

pub(crate) async fn list(desk: &Desk<'_>, asked: Asked) -> Outcome {
    let (key, page) = (asked.key.as_deref(), asked.page);
    let page = desk.client.queue(&asked.map, key, page.after.as_deref(), page.limit).await?;
    desk.output.data(&page, |page| {
        table(["SEQ", "TIME", "OP", "KEY", "TRANSACTION", "SIZE"], page.items.iter().map(row))
    });
    if let Some(next) = &page.next {
        desk.output.say(&format!("there is more: --after {next}"));
    }
    Ok(Exit::Ok)
}

fn row(record: &QueuedRecord) -> [Cell; 6] {
    let part = |part: &Json| part.as_str().map_or_else(|| part.to_string(), ToOwned::to_owned);
    let key = record.key.as_ref().map(|key| key.iter().map(part).collect::<Vec<_>>().join("|"));
    [
        Cell::new(record.seq),
        Cell::new(moment(record.committed_at)),
        Cell::new(&record.op),
        Cell::new(key.unwrap_or_else(|| "?".to_owned())),
        Cell::new(&record.transaction),
        Cell::new(bytes(u64::from(record.bytes))),
    ]
}
