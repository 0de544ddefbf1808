//! `tandem app …`

use super::map::{act, actor, agree_to_loss_in, ending, fate, planned, states, typed, waiting};
use super::{Desk, Outcome};
use crate::args::{OneApp, PauseApp, ResumeApp, StopApp};
use crate::failure::{Exit, Failure};
use crate::output::{can_ask, table};
use comfy_table::Cell;
use std::time::Duration;
use tandem_server::wire::{Accepted, ActionRequest, App, GapRequest};
use tokio::time::Instant;

/// How often it is looked whether a gap is behind us.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(crate) async fn list(desk: &Desk<'_>) -> Outcome {
    let page = desk.client.apps().await?;
    desk.output.data(&page, |page| table(["APP", "LOG", "GUARDS", "TROUBLE"], page.items.iter().map(row)));
    Ok(Exit::Ok)
}

fn row(app: &App) -> [Cell; 4] {
    let trouble = app.fault.as_ref().map_or("", |fault| fault.message.as_str());
    [
        Cell::new(&app.name),
        Cell::new(if app.capturing { "is read" } else { "is not read" }),
        Cell::new(app.guards.len()),
        Cell::new(trouble),
    ]
}

pub(crate) async fn pause(desk: &Desk<'_>, asked: PauseApp) -> Outcome {
    let request = planned(request("pause", &asked.app), &asked.window)?;
    act(desk, request, &asked.app.common, "paused").await
}

pub(crate) async fn resume(desk: &Desk<'_>, asked: ResumeApp) -> Outcome {
    let request = ActionRequest {
        rate: asked.pace.rate,
        with_parents: asked.along.with_parents,
        ..request("resume", &asked.app)
    };
    act(desk, request, &asked.app.common, "running").await
}

pub(crate) async fn stop(desk: &Desk<'_>, asked: StopApp) -> Outcome {
    let StopApp { end, app: OneApp { app, common } } = asked;
    let queue = fate(&end)?;
    let loses = queue.is_some();
    let mut request = ActionRequest { app: Some(app.clone()), ..ending(&end, queue) };
    if loses {
        request.expected = agree_to_loss_in(desk, &app, &request, &common).await?;
    }
    act(desk, request, &waiting(common, &end), "not_running").await
}

/// Nobody knows what lies in a gap: a person says that it is known, or that they will compare.
pub(crate) async fn accept_gap(desk: &Desk<'_>, asked: OneApp) -> Outcome {
    let OneApp { app, common } = asked;
    if !common.yes {
        if !can_ask() {
            let said = "what was changed within the gap will never come, and nobody can be asked";
            return Err(Failure::new(Exit::Usage, said).fix("add --yes if that is what you want"));
        }
        desk.output.say(&format!(
            "What was changed in {app} within the gap will never come by itself; tandem map verify finds it. Type the \
             app's name to go on:"
        ));
        typed(&app)?;
    }
    let deadline = Instant::now() + common.timeout;
    let request = GapRequest { reason: common.reason, actor: Some(actor()) };
    let accepted = desk.client.accept_gap(&app, &request).await?;
    let waited = if common.wait { until_whole(desk, &app, &accepted, deadline).await } else { Ok(()) };
    states(desk, &accepted);
    waited.map(|()| Exit::Ok)
}

/// Waits until no map of an accepted gap shows one any more.
async fn until_whole(
    desk: &Desk<'_>,
    app: &str,
    accepted: &Accepted,
    deadline: Instant,
) -> Result<(), Failure> {
    for accepted in &accepted.maps {
        loop {
            let map = desk.client.map(&accepted.name).await?;
            if !map.conditions.iter().any(|condition| condition.kind == "GapDetected" && condition.status) {
                break;
            }
            if Instant::now() >= deadline {
                let said = format!("the log of {app} is not being read yet; it goes on being tried");
                let source = map.conditions.into_iter().find(|condition| condition.kind == "SourceConnected");
                let why = source.filter(|condition| !condition.well).map(|condition| condition.reason);
                let why = why.map(|why| format!(": {why}")).unwrap_or_default();
                return Err(Failure::new(Exit::TimedOut, said + &why).fix("tandem app list"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}

fn request(action: &str, asked: &OneApp) -> ActionRequest {
    ActionRequest { action: action.to_owned(), app: Some(asked.app.clone()), ..ActionRequest::default() }
}
