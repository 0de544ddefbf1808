//! `tandem error list`

use crate::args::{ErrorList as Asked, ErrorSelection};
use crate::failure::Exit;
use crate::output::{count, moment, printable, table};
use crate::verbs::{Desk, Outcome, record};
use comfy_table::Cell;
use tandem_server::ErrorSearch;
use tandem_server::wire::{ErrorCause, RecordError};

pub(crate) async fn list(desk: &Desk<'_>, asked: Asked) -> Outcome {
    if asked.by_cause {
        let causes = desk.client.error_causes(asked.of.map.as_deref()).await?;
        desk.output.data(&causes, |page| {
            let head = ["ERRORS", "MAP", "CLASS", "CODE", "FIRST", "LAST", "MESSAGE"];
            table(head, page.items.iter().map(cause))
        });
        return Ok(Exit::Ok);
    }
    let page = desk.client.errors(search(&asked.of), asked.page.after.as_deref(), asked.page.limit).await?;
    desk.output.data(&page, |page| {
        let head = ["ID", "TIME", "MAP", "STATUS", "OP", "KEY", "CLASS", "CODE", "TRIES", "MESSAGE"];
        table(head, page.items.iter().map(row))
    });
    if let Some(next) = &page.next {
        desk.output.say(&format!("there is more: --after {next}"));
    }
    Ok(Exit::Ok)
}

/// What is asked for.
pub(super) fn search(of: &ErrorSelection) -> ErrorSearch<'_> {
    ErrorSearch {
        map: of.map.as_deref(),
        class: of.filter.class.as_deref(),
        key: of.filter.key.as_deref(),
        transaction: of.filter.tx.as_deref(),
        status: of.status.as_deref(),
    }
}

fn cause(cause: &ErrorCause) -> [Cell; 7] {
    [
        Cell::new(count(cause.errors)),
        Cell::new(&cause.map),
        Cell::new(&cause.class),
        Cell::new(cause.code.as_deref().unwrap_or("-")),
        Cell::new(&cause.first),
        Cell::new(moment(cause.last_at)),
        Cell::new(printable(&cause.message)),
    ]
}

fn row(error: &RecordError) -> [Cell; 10] {
    [
        Cell::new(&error.id),
        Cell::new(moment(error.last_at)),
        Cell::new(&error.map),
        Cell::new(&error.status),
        Cell::new(error.op.as_deref().unwrap_or("?")),
        Cell::new(record::key(error.key.as_ref())),
        Cell::new(&error.class),
        Cell::new(error.code.as_deref().unwrap_or("-")),
        Cell::new(error.attempts),
        Cell::new(printable(&error.message)),
    ]
}
