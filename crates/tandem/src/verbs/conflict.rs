//! `tandem conflict`

use super::{Desk, Outcome};
use crate::args::ConflictList;
use crate::failure::Exit;
use crate::output::{moment, table};
use comfy_table::Cell;
use tandem_server::wire::Conflict;

pub(crate) async fn list(desk: &Desk<'_>, asked: ConflictList) -> Outcome {
    let page = desk.client.conflicts(asked.map.as_deref(), asked.after.as_deref(), asked.limit).await?;
    desk.output.data(&page, |page| {
        table(["AT", "MAP", "KEY", "LEFT", "RIGHT", "WINNER"], page.items.iter().map(row))
    });
    Ok(Exit::Ok)
}

fn row(conflict: &Conflict) -> [Cell; 6] {
    let winner = conflict.winner.as_deref().unwrap_or("nobody yet");
    [
        moment(conflict.at).into(),
        (&conflict.map).into(),
        conflict.key.join("|").into(),
        conflict.left_seq.into(),
        conflict.right_seq.into(),
        winner.into(),
    ]
}
