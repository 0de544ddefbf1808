//! `tandem map stop`

use super::act::{act, agree_to_loss};
use crate::args::{Fate, Stop as Asked};
use crate::verbs::{Desk, Outcome};
use tandem_server::wire::ActionRequest;

pub(crate) async fn stop(desk: &Desk<'_>, asked: Asked) -> Outcome {
    let queue = match asked.queue {
        None => None,
        Some(Fate::Preserve) => Some("preserve".to_owned()),
        Some(Fate::Discard) => {
            agree_to_loss(desk, &asked.maps, &asked.common, "drops the queue and the errors").await?;
            Some("discard".to_owned())
        }
    };
    let request =
        ActionRequest { action: "stop".to_owned(), maps: asked.maps, queue, ..ActionRequest::default() };
    act(desk, request, &asked.common, "not_running").await
}
