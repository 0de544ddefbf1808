//! `tandem map stop`

use super::act::{act, agree_to_loss};
use crate::args::{Fate, Stop as Asked};
use crate::failure::Failure;
use crate::verbs::{Desk, Outcome};
use tandem_server::wire::ActionRequest;

pub(crate) async fn stop(desk: &Desk<'_>, asked: Asked) -> Outcome {
    let queue = match asked.queue {
        None => None,
        Some(Fate::Preserve) => {
            return Err(Failure::unsupported(
                "--queue preserve",
                "resume the map and let it catch up before you stop it, or drop what is queued with --queue discard",
            ));
        }
        Some(Fate::Discard) => {
            agree_to_loss(desk, &asked.maps, &asked.common, "drops the queue").await?;
            Some("discard".to_owned())
        }
    };
    let request =
        ActionRequest { action: "stop".to_owned(), maps: asked.maps, queue, ..ActionRequest::default() };
    act(desk, request, &asked.common, "not_running").await
}
