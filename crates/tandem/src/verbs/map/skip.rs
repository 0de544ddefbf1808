//! `tandem map skip`

use super::act::{act, agree_to_loss};
use crate::args::Skip as Asked;
use crate::verbs::{Desk, Outcome};
use tandem_server::wire::ActionRequest;

pub(crate) async fn skip(desk: &Desk<'_>, asked: Asked) -> Outcome {
    let seen = match asked.fate.discard {
        true => agree_to_loss(desk, &asked.maps, &asked.common, "drops the rest of the queue").await?,
        false => None,
    };
    let queue = if asked.fate.discard { "discard" } else { "preserve" };
    let request = ActionRequest {
        action: "skip".to_owned(),
        maps: asked.maps,
        queue: Some(queue.to_owned()),
        expected: asked.expected.or(seen),
        with_parents: asked.along.with_parents,
        ..ActionRequest::default()
    };
    act(desk, request, &asked.common, "running").await
}
