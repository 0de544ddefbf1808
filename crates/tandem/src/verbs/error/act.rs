//! `tandem error retry`, `cancel` and `delete`

use crate::args::{ErrorCancel, ErrorDelete, ErrorRetry, Meant, Which};
use crate::failure::{Exit, Failure};
use crate::output::{can_ask, count, table};
use crate::verbs::map::{actor, typed};
use crate::verbs::{Desk, Outcome};
use comfy_table::Cell;
use std::collections::BTreeSet;
use std::time::Duration;
use tandem_server::wire::{CancelRequest, ErrorsRequest, ErrorsTaken};
use tandem_server::{ErrorSearch, PAGE_MAX};
use tokio::time::Instant;

/// How often a retry that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(crate) async fn retry(desk: &Desk<'_>, asked: ErrorRetry) -> Outcome {
    let deadline = Instant::now() + asked.timeout;
    let (map, request) = request(asked.meant);
    let request = ErrorsRequest { refresh: asked.refresh, rate: asked.rate, ..request };
    let taken = desk.client.retry_errors(&map, &request).await?;
    if asked.wait {
        wait(desk, &map, deadline).await?;
    }
    show(desk, &taken);
    Ok(Exit::Ok)
}

pub(crate) async fn cancel(desk: &Desk<'_>, asked: ErrorCancel) -> Outcome {
    let request = CancelRequest { reason: asked.reason, actor: Some(actor()) };
    show(desk, &desk.client.cancel_retry(&asked.map, &request).await?);
    Ok(Exit::Ok)
}

pub(crate) async fn delete(desk: &Desk<'_>, asked: ErrorDelete) -> Outcome {
    let (map, mut request) = request(asked.meant);
    if !asked.yes {
        let seen = agree(desk, &map, &request).await?;
        request.expected = request.expected.or(Some(seen));
    }
    show(desk, &desk.client.delete_errors(&map, &request).await?);
    Ok(Exit::Ok)
}

/// The map, and what is asked of its errors.
fn request(meant: Meant) -> (String, ErrorsRequest) {
    let Meant { map, which: Which { ids, all, class, key, tx }, expected, reason } = meant;
    let request = ErrorsRequest {
        all,
        ids,
        class,
        key,
        transaction: tx,
        expected,
        reason,
        actor: Some(actor()),
        ..ErrorsRequest::default()
    };
    (map, request)
}

fn show(desk: &Desk<'_>, taken: &ErrorsTaken) {
    desk.output.data(taken, |taken| {
        table(["MAP", "ERRORS"], [[Cell::new(&taken.map), Cell::new(count(taken.errors))]])
    });
}

/// Waits until nothing of a map is being tried again. What was refused again is said, and is no failure: it was tried.
async fn wait(desk: &Desk<'_>, map: &str, deadline: Instant) -> Result<(), Failure> {
    let mut refused = 0;
    loop {
        let shown = desk.client.map(map).await?;
        let Some(retry) = shown.retries.first() else {
            let left = shown.errors.open + shown.errors.waiting;
            if left == 0 {
                return Ok(());
            }
            let said = match refused {
                0 => format!("{} errors of {map} are open", count(left)),
                again => {
                    format!("{} were refused again; {} errors of {map} are open", count(again), count(left))
                }
            };
            desk.output.say(&said);
            return Ok(());
        };
        refused = retry.refused;
        if Instant::now() >= deadline {
            let said = format!("{} of {} errors are left after all this time", retry.left, retry.errors);
            return Err(Failure::new(Exit::TimedOut, said)
                .fix("what was begun goes on; wait longer with --timeout 5m"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Errors are deleted only after a yes: by `--yes`, or by a person who types the map's name. Says how many that person saw.
async fn agree(desk: &Desk<'_>, map: &str, request: &ErrorsRequest) -> Result<u64, Failure> {
    if !can_ask() {
        let said = "this deletes changes that were never applied, and nobody can be asked";
        return Err(Failure::new(Exit::Usage, said).fix("add --yes if that is what you want"));
    }
    let errors = desk.client.map(map).await?.errors;
    let whole = errors.open + errors.waiting + errors.retrying;
    let seen = if request.all { whole } else { meant(desk, map, request).await? };
    let of = if request.all { String::new() } else { format!(" of {}", count(whole)) };
    desk.output.say(&format!(
        "This deletes {}{of} errors of {map}: changes that were never applied. If it is another number by then, nothing is \
         done. Type the map's name to go on:",
        count(seen)
    ));
    typed(map)?;
    Ok(seen)
}

/// How many errors a request is about that is not about all of them.
async fn meant(desk: &Desk<'_>, map: &str, request: &ErrorsRequest) -> Result<u64, Failure> {
    if !request.ids.is_empty() {
        let ids: BTreeSet<&String> = request.ids.iter().collect();
        return Ok(ids.len() as u64);
    }
    let search = ErrorSearch {
        map: Some(map),
        class: request.class.as_deref(),
        key: request.key.as_deref(),
        transaction: request.transaction.as_deref(),
        status: None,
    };
    let (mut errors, mut after) = (0, None);
    loop {
        let page = desk.client.errors(search, after.as_deref(), Some(PAGE_MAX)).await?;
        errors += page.items.len() as u64;
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(errors),
        }
    }
}
