//! `tandem map resume`

use super::act::{act, agree_to_loss};
use crate::args::{Mode, Resume as Asked};
use crate::failure::Failure;
use crate::verbs::{Desk, Outcome};
use tandem_server::wire::ActionRequest;

pub(crate) async fn resume(desk: &Desk<'_>, asked: Asked) -> Outcome {
    if asked.rate.is_some() {
        return Err(Failure::unsupported("--rate", "leave it out: catch-up runs as fast as it can"));
    }
    let mode = match asked.mode {
        Mode::CatchUp => "catch_up",
        Mode::SkipPreserve => "skip_preserve",
        Mode::SkipDiscard => {
            agree_to_loss(desk, &asked.maps, &asked.common, "drops the queue").await?;
            "skip_discard"
        }
    };
    let request = ActionRequest {
        action: "resume".to_owned(),
        maps: asked.maps,
        mode: Some(mode.to_owned()),
        expected: asked.expected,
        ..ActionRequest::default()
    };
    act(desk, request, &asked.common, "running").await
}
