//! `tandem error export`
//!
//! A page at a time, as `queue export` does it: neither side holds more than that.

use super::list::search;
use crate::args::ErrorExport as Asked;
use crate::failure::{Exit, Failure};
use crate::verbs::{Desk, Outcome};
use tandem_server::PAGE_MAX;

pub(crate) async fn export(desk: &Desk<'_>, asked: Asked) -> Outcome {
    let mut after = None;
    loop {
        let page = desk.client.errors(search(&asked.of), after.as_deref(), Some(PAGE_MAX)).await?;
        let written = desk.output.json_lines(&page.items);
        let read_on =
            written.map_err(|why| Failure::new(Exit::Failed, format!("the export is not whole: {why}")))?;
        if !read_on || page.next.is_none() {
            return Ok(Exit::Ok);
        }
        after = page.next;
    }
}
