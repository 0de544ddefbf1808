//! `tandem map pause`

use super::act::act;
use crate::args::Pause as Asked;
use crate::verbs::{Desk, Outcome};
use tandem_server::wire::ActionRequest;

pub(crate) async fn pause(desk: &Desk<'_>, asked: Asked) -> Outcome {
    let request = ActionRequest { action: "pause".to_owned(), maps: asked.maps, ..ActionRequest::default() };
    act(desk, request, &asked.common, "paused").await
}
