//! `tandem map list`

use super::{progress, shown_state};
use crate::args::List as Asked;
use crate::failure::Exit;
use crate::output::{age, count, state, state_done, table};
use crate::verbs::{Desk, Outcome};
use comfy_table::Cell;
use tandem_server::wire::Map;

pub(crate) async fn list(desk: &Desk<'_>, asked: Asked) -> Outcome {
    let page = desk.client.maps(asked.after.as_deref(), asked.limit).await?;
    desk.output.data(&page, |page| {
        table(["MAP", "STATE", "FROM → TO", "QUEUED", "BEHIND", "TROUBLE"], page.items.iter().map(row))
    });
    if let Some(next) = &page.next {
        desk.output.say(&format!("there is more: --after {next}"));
    }
    Ok(Exit::Ok)
}

fn row(map: &Map) -> [Cell; 6] {
    let (from, to) = match map.direction.as_str() {
        "to_left" => (&map.right, &map.left),
        _ => (&map.left, &map.right),
    };
    let trouble: Vec<String> = map
        .conditions
        .iter()
        .filter(|condition| !condition.well)
        .map(|condition| match condition.status {
            true => condition.kind.clone(),
            false => format!("{}=false", condition.kind),
        })
        .collect();
    [
        Cell::new(&map.name),
        match &map.catch_up {
            Some(catch_up) => state_done(shown_state(map), progress::percent(catch_up)),
            None => state(shown_state(map)),
        },
        Cell::new(format!("{}.{} → {}.{}", from.app, from.table, to.app, to.table)),
        Cell::new(count(map.queue.records)),
        Cell::new(map.queue.oldest_at.map_or_else(|| "-".to_owned(), age)),
        Cell::new(if trouble.is_empty() { "-".to_owned() } else { trouble.join(", ") }),
    ]
}
