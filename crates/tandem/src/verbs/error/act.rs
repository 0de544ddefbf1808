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
use tandem_server::{ActivityWay, ErrorSearch, PAGE_MAX};
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
    let ended = if asked.wait { ended(desk, &taken).await } else { Ok(()) };
    show(desk, &taken);
    ended.map(|()| Exit::Ok)
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

/// Waits until nothing of a map is being tried again.
async fn wait(desk: &Desk<'_>, map: &str, deadline: Instant) -> Result<(), Failure> {
    loop {
        let shown = desk.client.map(map).await?;
        let Some(retry) = shown.retries.first() else { return Ok(()) };
        if Instant::now() >= deadline {
            let said = format!("{} of {} errors are left after all this time", retry.left, retry.errors);
            return Err(Failure::new(Exit::TimedOut, said)
                .fix("what was begun goes on; wait longer with --timeout 5m"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Says what is left of a retry that has ended. What was refused again is a failure: a script that mends and retries has to know
/// that it did not mend.
async fn ended(desk: &Desk<'_>, taken: &ErrorsTaken) -> Result<(), Failure> {
    let map = &taken.map;
    let errors = desk.client.map(map).await?.errors;
    let left = errors.open + errors.waiting;
    let refused = refused_again(desk, taken).await?;
    if refused > 0 {
        let [tried, refused, left] = [taken.errors, refused, left].map(count);
        let said = format!(
            "of {tried} errors of {map} that were tried, {refused} were refused again; {left} are left"
        );
        return Err(Failure::new(Exit::Failed, said).fix(format!(
            "tandem error list {map} --by-cause says why; mend that and retry them, or drop them with tandem error delete {map}"
        )));
    }
    if left > 0 {
        desk.output.say(&format!("{} errors of {map} are left", count(left)));
    }
    Ok(())
}

/// How many open errors of a map were refused since a retry began, and no more than that retry was about: it may be over between
/// two looks at its map, and says no more then. What was put off because it waits for another map is not open.
async fn refused_again(desk: &Desk<'_>, taken: &ErrorsTaken) -> Result<u64, Failure> {
    let map = Some(&*taken.map);
    let before = taken.id.saturating_sub(1).to_string();
    let noted = desk.client.activity(map, ActivityWay::On(&before), Some(1)).await?;
    let Some(begun) = noted.items.first().map(|entry| entry.at) else { return Ok(0) };
    let search = ErrorSearch { map, status: Some("open"), ..ErrorSearch::default() };
    let (mut refused, mut after) = (0, None);
    loop {
        let page = desk.client.errors(search, after.as_deref(), Some(PAGE_MAX)).await?;
        refused += page.items.iter().filter(|error| error.last_at >= begun).count() as u64;
        match page.next {
            Some(next) if refused < taken.errors => after = Some(next),
            _ => return Ok(refused.min(taken.errors)),
        }
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
