//! `tandem map pause`

use super::act::act;
use crate::args::{Pause as Asked, Window};
use crate::failure::{Exit, Failure};
use crate::verbs::{Desk, Outcome};
use std::time::Duration;
use tandem_server::wire::ActionRequest;

pub(crate) async fn pause(desk: &Desk<'_>, asked: Asked) -> Outcome {
    let request = ActionRequest { action: "pause".to_owned(), maps: asked.maps, ..ActionRequest::default() };
    act(desk, planned(request, &asked.window)?, &asked.common, "paused").await
}

/// A pause with its planned end.
pub(in crate::verbs) fn planned(request: ActionRequest, window: &Window) -> Result<ActionRequest, Failure> {
    let Window { lasts, until, then_resume } = *window;
    if then_resume && lasts.is_none() && until.is_none() {
        let failure = Failure::new(Exit::Usage, "--then-resume needs a planned end");
        return Err(failure.fix("add --for 2h, or --until 2026-11-22T23:00:00Z"));
    }
    let too_long = || Failure::new(Exit::Usage, "--for is too long");
    // The server counts in whole seconds; none is cut off.
    let seconds = |time: Duration| u32::try_from(time.as_secs_f64().ceil() as u64).map_err(|_| too_long());
    Ok(ActionRequest { for_seconds: lasts.map(seconds).transpose()?, until, then_resume, ..request })
}
