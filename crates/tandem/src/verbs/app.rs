//! `tandem app …`

use super::map::{act, agree_to_loss_in, ending, fate, planned, waiting};
use super::{Desk, Outcome};
use crate::args::{OneApp, PauseApp, ResumeApp, StopApp};
use crate::failure::Exit;
use crate::output::table;
use comfy_table::Cell;
use tandem_server::wire::{ActionRequest, App};

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
    let request = ActionRequest { app: Some(app.clone()), ..ending(&end, queue) };
    if loses {
        agree_to_loss_in(desk, &app, &request, &common).await?;
    }
    act(desk, request, &waiting(common, &end), "not_running").await
}

fn request(action: &str, asked: &OneApp) -> ActionRequest {
    ActionRequest { action: action.to_owned(), app: Some(asked.app.clone()), ..ActionRequest::default() }
}
