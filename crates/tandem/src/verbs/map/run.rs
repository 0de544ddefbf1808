//! `tandem map run`

use super::act::act;
use crate::args::Run as Asked;
use crate::failure::Failure;
use crate::verbs::{Desk, Outcome};
use tandem_server::wire::ActionRequest;

pub(crate) async fn run(desk: &Desk<'_>, asked: Asked) -> Outcome {
    if !asked.no_initial_sync {
        return Err(Failure::unsupported(
            "the initial sync, which copies the records that are there,",
            "add --no-initial-sync: only what changes from now on is kept in step; copy what is there by other means first",
        ));
    }
    let request = ActionRequest {
        action: "run".to_owned(),
        maps: asked.maps,
        initial_sync: Some(false),
        ..ActionRequest::default()
    };
    act(desk, request, &asked.common, "running").await
}
