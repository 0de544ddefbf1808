//! `tandem map wait`

use super::{progress, shown_state};
use crate::args::Wait as Asked;
use crate::failure::{Exit, Failure};
use crate::output::{state, table};
use crate::verbs::{Desk, Outcome};
use comfy_table::Cell;
use std::time::Duration;
use tandem_server::wire::Map;
use tandem_server::{ClientError, WAIT_MAX_SECONDS};
use tokio::time::Instant;

/// How often it is looked whether waiting is in vain.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(crate) async fn wait(desk: &Desk<'_>, asked: Asked) -> Outcome {
    let deadline = Instant::now() + asked.timeout;
    let map = until(desk, &asked.map, &asked.state, deadline).await?;
    desk.output.data(&map, |map| table(["MAP", "STATE"], [[Cell::new(&map.name), state(&map.state)]]));
    Ok(Exit::Ok)
}

/// Waits until a map is in a state. A wait that ends too early says what the map is in and what troubles it.
pub(super) async fn until(
    desk: &Desk<'_>,
    map: &str,
    wanted: &str,
    deadline: Instant,
) -> Result<Map, Failure> {
    loop {
        // The server counts in whole seconds and answers at the end of them; the rest is cut off here.
        let left = deadline.saturating_duration_since(Instant::now());
        let seconds = left.as_secs_f64().ceil().clamp(1.0, WAIT_MAX_SECONDS as f64) as u64;
        let asked = desk.client.wait(map, wanted, seconds);
        let asked = tokio::time::timeout(left.max(Duration::from_millis(50)), asked);
        let answered = tokio::select! {
            biased;
            answered = asked => answered,
            () = progress::watch(desk, map), if wanted == "running" => continue,
            failed = failed_copy(desk, map), if wanted == "running" => return Err(failed),
        };
        match answered {
            Ok(Ok(map)) => return Ok(map),
            Ok(Err(ClientError::Problem(problem))) if problem.code == "timed_out" => {}
            Ok(Err(other)) => return Err(other.into()),
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            return Err(late(&desk.client.map(map).await?, wanted));
        }
    }
}

/// Ends when the map's initial sync has ended with errors: it will not run before a person has decided.
async fn failed_copy(desk: &Desk<'_>, map: &str) -> Failure {
    loop {
        if let Ok(Map { initial_sync: Some(copy), state, name, .. }) = desk.client.map(map).await
            && state == "initializing"
            && copy.ended_at.is_some()
            && copy.failed > 0
        {
            let message = format!("the initial sync of {name} ended with {} errors", copy.failed);
            return Failure::new(Exit::Failed, message).fix(format!(
                "tandem error list {name}; then tandem map run {name} to copy again (--without-failed leaves those rows \
                 out), or tandem map run {name} --no-initial-sync to go on without them"
            ));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn late(map: &Map, wanted: &str) -> Failure {
    let state = shown_state(map);
    let message = match state == wanted {
        true => format!("{} is {state}, but its apps are not rid of it after all this time", map.name),
        false => format!("{} is {state}, not {wanted}, after all this time", map.name),
    };
    let mut failure = Failure::new(Exit::TimedOut, message);
    for condition in &map.conditions {
        if !condition.well {
            let fix = condition.fix.as_ref().map(|fix| format!(" (fix: {fix})")).unwrap_or_default();
            failure =
                failure.detail(format!("{}={}: {}{fix}", condition.kind, condition.status, condition.reason));
        }
    }
    failure.fix("what was begun goes on; wait longer with --timeout 5m")
}
