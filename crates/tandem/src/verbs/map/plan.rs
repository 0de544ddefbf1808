//! `tandem map plan`

use crate::args::{Fate, Plan as Asked};
use crate::failure::Exit;
use crate::output::{bytes, count, state, table};
use crate::verbs::{Desk, Outcome};
use comfy_table::Cell;
use tandem_server::wire::{ActionRequest, PlannedMap};

/// Ends as the action itself would: with 3 if something stands in its way.
pub(crate) async fn plan(desk: &Desk<'_>, asked: Asked) -> Outcome {
    let fate = |fate| match fate {
        Fate::Preserve => "preserve".to_owned(),
        Fate::Discard => "discard".to_owned(),
    };
    let request = ActionRequest {
        action: asked.action,
        maps: asked.maps,
        mode: asked.mode.map(|mode| mode.name().to_owned()),
        queue: asked.queue.map(fate),
        with_parents: asked.along.with_parents,
        ..ActionRequest::default()
    };
    let plan = desk.client.plan(&request).await?;
    desk.output.data(&plan, |plan| {
        table(["MAP", "STATE", "THEN", "QUEUED", "BYTES", ""], plan.maps.iter().map(row))
    });
    for blocker in &plan.blockers {
        desk.output.say(&format!("{} is {} and {}", blocker.map, blocker.state, blocker.needs));
    }
    Ok(if plan.blockers.is_empty() { Exit::Ok } else { Exit::Refused })
}

fn row(map: &PlannedMap) -> [Cell; 6] {
    let note = match (map.goes_along, map.lost && map.queued > 0) {
        (_, true) => "the queue is lost",
        (true, false) => "goes along",
        (false, false) => "",
    };
    [
        Cell::new(&map.name),
        state(&map.from),
        state(&map.to),
        Cell::new(count(map.queued)),
        Cell::new(bytes(map.bytes)),
        Cell::new(note),
    ]
}
