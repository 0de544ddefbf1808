//! What all actions share: ask, wait if that was wanted, write the states, and ask before data is lost.

use super::wait::until;
use crate::args::Common;
use crate::failure::{Exit, Failure};
use crate::output::{can_ask, state, table};
use crate::verbs::{Desk, Outcome};
use comfy_table::Cell;
use std::io::BufRead;
use tandem_server::wire::{Accepted, ActionRequest};
use tokio::time::Instant;

/// Asks for an action; with `--wait` returns when every map that it touches is in the state `reached`.
pub(in crate::verbs) async fn act(
    desk: &Desk<'_>,
    request: ActionRequest,
    common: &Common,
    reached: &str,
) -> Outcome {
    let deadline = Instant::now() + common.timeout;
    let request = ActionRequest { reason: common.reason.clone(), actor: Some(actor()), ..request };
    let mut accepted = desk.client.act(&request).await?;
    for warning in &accepted.warnings {
        let fix = warning.fix.as_ref().map(|fix| format!("\n  fix: {fix}")).unwrap_or_default();
        desk.output.say(&format!("warning: {}: {}{fix}", warning.place, warning.message));
    }
    let others: Vec<&str> = accepted
        .maps
        .iter()
        .map(|map| map.name.as_str())
        .filter(|name| request.app.is_none() && !request.maps.iter().any(|asked| asked == name))
        .collect();
    if !others.is_empty() {
        desk.output.say(&format!("{} goes along: {}", request.action, others.join(", ")));
    }
    for left in &accepted.left_behind {
        desk.output.say(&format!("left behind in {}: {}; {}", left.app, left.what, left.why));
        if let Some(sql) = &left.sql {
            desk.output.say(&format!("what removes it there:\n{sql}"));
        }
    }
    let waited = if common.wait { wait(desk, &mut accepted, reached, deadline).await } else { Ok(()) };
    states(desk, &accepted);
    waited.map(|()| Exit::Ok)
}

/// Writes which maps an action was about, with their states.
pub(in crate::verbs) fn states(desk: &Desk<'_>, accepted: &Accepted) {
    desk.output.data(accepted, |accepted| {
        let rows = accepted.maps.iter().map(|map| [Cell::new(&map.name), state(&map.state)]);
        table(["MAP", "STATE"], rows)
    });
}

async fn wait(
    desk: &Desk<'_>,
    accepted: &mut Accepted,
    reached: &str,
    deadline: Instant,
) -> Result<(), Failure> {
    for map in &mut accepted.maps {
        map.state = until(desk, &map.name, reached, deadline).await?.state;
    }
    Ok(())
}

/// Who asks, for the activity log.
pub(crate) fn actor() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    format!("cli:{}", user.unwrap_or_else(|_| "unknown".to_owned()))
}

/// What loses data is done only after a yes: by `--yes`, or by a person who types the map's name. Says how many records that
/// person saw, which is the number that they agreed to lose; none after `--yes`, which means whatever there is.
pub(super) async fn agree_to_loss(
    desk: &Desk<'_>,
    maps: &[String],
    common: &Common,
    effect: &str,
) -> Result<Option<u64>, Failure> {
    if common.yes {
        return Ok(None);
    }
    if !can_ask() {
        return Err(Failure::new(Exit::Usage, format!("this {effect}, and nobody can be asked"))
            .fix("add --yes if that is what you want"));
    }
    let mut seen = 0;
    for map in maps {
        let queue = desk.client.queue_stats(map).await?;
        seen += queue.records;
        let (records, size) = (crate::output::count(queue.records), crate::output::bytes(queue.bytes));
        desk.output.say(&format!(
            "This {effect}: {records} records ({size}) of {map}. If it is another number by then, nothing is done; --yes does \
             not look. Type the map's name to go on:"
        ));
        typed(map)?;
    }
    Ok(Some(seen))
}

/// As [`agree_to_loss`], for all maps of an app that a request is about.
pub(in crate::verbs) async fn agree_to_loss_in(
    desk: &Desk<'_>,
    app: &str,
    request: &ActionRequest,
    common: &Common,
) -> Result<Option<u64>, Failure> {
    let effect = "drops the queues";
    if common.yes || !can_ask() {
        return agree_to_loss(desk, &[], common, effect).await;
    }
    let maps = desk.client.plan(request).await?.maps;
    let records = crate::output::count(maps.iter().map(|map| map.queued).sum());
    // What goes along keeps its queue.
    let seen = maps.iter().filter(|map| !map.goes_along).map(|map| map.queued).sum();
    let (size, names) = (
        crate::output::bytes(maps.iter().map(|map| map.bytes).sum()),
        maps.iter().map(|map| map.name.as_str()).collect::<Vec<_>>().join(", "),
    );
    desk.output
        .say(&format!(
            "This {effect}: {records} records ({size}) of {names}. If it is another number by then, nothing is done; --yes does \
             not look. Type the app's name to go on:"
        ));
    typed(app)?;
    Ok(Some(seen))
}

/// What a person has to type before something is lost.
pub(in crate::verbs) fn typed(name: &str) -> Result<(), Failure> {
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    match read.is_ok() && answer.trim() == name {
        true => Ok(()),
        false => Err(Failure::new(Exit::Failed, "nothing was changed: it was not agreed to")),
    }
}
