//! `tandem error list`

use crate::args::ErrorList as Asked;
use crate::failure::Exit;
use crate::output::{moment, printable, table};
use crate::verbs::{Desk, Outcome, record};
use comfy_table::Cell;
use tandem_server::ErrorSearch;
use tandem_server::wire::RecordError;

pub(crate) async fn list(desk: &Desk<'_>, asked: Asked) -> Outcome {
    let search =
        ErrorSearch { map: asked.map.as_deref(), class: asked.class.as_deref(), key: asked.key.as_deref() };
    let page = desk.client.errors(search, asked.page.after.as_deref(), asked.page.limit).await?;
    desk.output.data(&page, |page| {
        let head = ["ID", "TIME", "MAP", "OP", "KEY", "CLASS", "CODE", "TRIES", "MESSAGE"];
        table(head, page.items.iter().map(row))
    });
    if let Some(next) = &page.next {
        desk.output.say(&format!("there is more: --after {next}"));
    }
    Ok(Exit::Ok)
}

fn row(error: &RecordError) -> [Cell; 9] {
    [
        Cell::new(error.id),
        Cell::new(moment(error.last_at)),
        Cell::new(&error.map),
        Cell::new(error.op.as_deref().unwrap_or("?")),
        Cell::new(record::key(error.key.as_ref())),
        Cell::new(&error.class),
        Cell::new(error.code.as_deref().unwrap_or("-")),
        Cell::new(error.attempts),
        Cell::new(printable(&error.message)),
    ]
}
