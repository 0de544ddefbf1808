//! `tandem queue export`
//!
//! The server is asked for one page after the other and each is written before the next is asked for, so that neither
//! side holds more than a page, however long the queue is. It ends with what was queued when it began: a queue that
//! grows as fast as it is read would never end.

use crate::args::One;
use crate::failure::{Exit, Failure};
use crate::verbs::{Desk, Outcome};
use tandem_server::{PAGE_MAX, QueueSearch};

pub(crate) async fn export(desk: &Desk<'_>, asked: One) -> Outcome {
    let head = desk.client.queue_stats(&asked.map).await?.head_seq;
    let mut after = None;
    loop {
        let page =
            desk.client.queue(&asked.map, QueueSearch::default(), after.as_deref(), Some(PAGE_MAX)).await?;
        let wanted = page.items.iter().take_while(|record| record.seq <= head).count();
        let records = page.items.get(..wanted).unwrap_or_default();
        let written = desk.output.json_lines(records);
        let read_on =
            written.map_err(|why| Failure::new(Exit::Failed, format!("the export is not whole: {why}")))?;
        if !read_on || wanted < page.items.len() || page.next.is_none() {
            return Ok(Exit::Ok);
        }
        after = page.next;
    }
}
