//! `tandem map resume`

use super::act::{act, agree_to_loss};
use crate::args::{Mode, Resume as Asked};
use crate::verbs::{Desk, Outcome};
use tandem_server::wire::ActionRequest;

pub(crate) async fn resume(desk: &Desk<'_>, asked: Asked) -> Outcome {
    let seen = match asked.mode == Mode::SkipDiscard {
        true => agree_to_loss(desk, &asked.maps, &asked.common, "drops the queue").await?,
        false => None,
    };
    let request = ActionRequest {
        action: "resume".to_owned(),
        maps: asked.maps,
        mode: Some(asked.mode.name().to_owned()),
        expected: asked.expected.or(seen),
        with_parents: asked.along.with_parents,
        rate: asked.pace.rate,
        ..ActionRequest::default()
    };
    act(desk, request, &asked.common, "running").await
}
