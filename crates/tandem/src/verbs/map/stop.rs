//! `tandem map stop`

use super::act::{act, agree_to_loss};
use crate::args::{Common, End, Fate, Stop as Asked};
use crate::failure::{Exit, Failure};
use crate::verbs::{Desk, Outcome};
use tandem_server::wire::ActionRequest;

pub(crate) async fn stop(desk: &Desk<'_>, asked: Asked) -> Outcome {
    let queue = fate(&asked.end)?;
    let expected = match queue.as_deref() {
        Some("discard") => {
            agree_to_loss(desk, &asked.maps, &asked.common, "drops the queue and the errors").await?
        }
        _ => None,
    };
    let request = ActionRequest { maps: asked.maps, expected, ..ending(&asked.end, queue) };
    act(desk, request, &waiting(asked.common, &asked.end), "not_running").await
}

/// What becomes of the queue.
pub(in crate::verbs) fn fate(end: &End) -> Result<Option<String>, Failure> {
    match end.queue {
        None if !end.force => Ok(None),
        Some(Fate::Preserve) if end.force => {
            let said = "--force takes a map out of an app that is gone for good: its queue has nowhere to go";
            Err(Failure::new(Exit::Usage, said)
                .fix("export the queue first (tandem queue export), then --queue discard"))
        }
        Some(Fate::Preserve) => Ok(Some("preserve".to_owned())),
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
