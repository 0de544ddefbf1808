//! `tandem map run`

use super::act::act;
use crate::args::Run as Asked;
use crate::verbs::{Desk, Outcome};
use tandem_server::wire::ActionRequest;

pub(crate) async fn run(desk: &Desk<'_>, asked: Asked) -> Outcome {
    let request = ActionRequest {
        action: "run".to_owned(),
        maps: asked.maps,
        initial_sync: (asked.initial_sync || asked.no_initial_sync).then_some(asked.initial_sync),
        without_failed: asked.without_failed,
        ..ActionRequest::default()
    };
    act(desk, request, &asked.common, "running").await
}
