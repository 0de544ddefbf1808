//! `tandem map stop`

use super::act::{act, agree_to_loss};
use crate::args::{Common, End, Fate, Stop as Asked};
use crate::failure::Failure;
use crate::verbs::{Desk, Outcome};
use tandem_server::wire::ActionRequest;

pub(crate) async fn stop(desk: &Desk<'_>, asked: Asked) -> Outcome {
    let queue = fate(&asked.end)?;
    if queue.is_some() {
        agree_to_loss(desk, &asked.maps, &asked.common, "drops the queue").await?;
    }
    let request = ActionRequest { maps: asked.maps, ..ending(&asked.end, queue) };
    act(desk, request, &waiting(asked.common, &asked.end), "not_running").await
}

/// What becomes of the queue.
pub(in crate::verbs) fn fate(end: &End) -> Result<Option<String>, Failure> {
    match end.queue {
        None if !end.force => Ok(None),
        Some(Fate::Preserve) => Err(Failure::unsupported(
            "--queue preserve",
            "resume the map and let it catch up before you stop it, or drop what is queued with --queue discard",
        )),
        // Who cannot be waited for is not waited for to take what is queued.
        Some(Fate::Discard) | None => Ok(Some("discard".to_owned())),
    }
}

/// A stop of no maps yet.
pub(in crate::verbs) fn ending(end: &End, queue: Option<String>) -> ActionRequest {
    ActionRequest { action: "stop".to_owned(), queue, force: end.force, ..ActionRequest::default() }
}

/// A forced stop has been waited for when it is answered.
pub(in crate::verbs) fn waiting(common: Common, end: &End) -> Common {
    Common { wait: common.wait && !end.force, ..common }
}
