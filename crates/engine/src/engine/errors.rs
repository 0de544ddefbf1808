//! Looking at errors, and asking what is to become of them.
//!
//! A list has two parts, one behind the other: the entries, by number, and then the records of preserved queues, by
//! flow and Seq. The second part is read out of the journal as a queue is (see `queue`), and costs as much.

use super::Engine;
use super::queue::{LOOKED_AT_BYTES_MAX, LOOKED_AT_MAX, STRIDE, bytes_of, candidates, records, stride};
use crate::env::blocking;
use crate::request::{ErrorRequest, ErrorVerb, ErrorsTaken, Rejected};
use crate::store::{Cause, ErrorId, ErrorPick, ErrorQuery, ErrorStatus, FlowId, SetAside, Store, Unreadable};
use crate::supervisor::{Command, LocatedKept};
use std::collections::BTreeSet;
use std::sync::Arc;
use tandem_core::map::{Projected, Projection, Refusal};
use tandem_core::{FaultClass, IntegrationKey, MapName, Seq};

/// So many records of a preserved queue may be chosen by a filter; all of them at once are no question of number.
const CHOSEN_MAX: usize = 10_000;

/// An error, and what would be written if its change were applied now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorInFull {
    /// The error, with its change.
    pub error: SetAside,
    /// What the map makes of the change as the map stands now, or why it cannot be written. `None` if the change was
    /// not kept, or nothing follows the map's source now.
    pub image: Option<Result<Projected, Refusal>>,
}

/// A page of errors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorPage {
    /// What there is.
    pub items: Vec<SetAside>,
    /// Set if there may be more: the next page begins behind it.
    pub next: Option<ErrorId>,
}

impl From<Unreadable> for Rejected {
    fn from(error: Unreadable) -> Self {
        match error {
            Unreadable::Store(error) => Rejected::Disk(error.to_string()),
            Unreadable::Journal(error) => Rejected::Disk(error.to_string()),
        }
    }
}

impl Engine {
    /// A page of the errors that a query asks for, in the order in which they were noted, with the records of preserved
    /// queues behind them. It may have fewer than its limit, or none; `next` says whether there may be more.
    pub async fn errors(&self, query: ErrorQuery, after: Option<ErrorId>) -> Result<ErrorPage, Rejected> {
        let located = self.locate_kept(query.map.as_ref()).await?;
        let store = self.store.clone();
        let read = blocking(&*self.env, move || list(&*store, located, query, after));
        Ok(read.await?)
    }

    /// One error, with what would be written.
    pub async fn error(&self, id: ErrorId) -> Result<ErrorInFull, Rejected> {
        let unknown = || Rejected::UnknownError(id.to_string());
        let located = self.locate_kept(None).await?;
        let store = self.store.clone();
        let read = blocking(&*self.env, move || one(&*store, &located, id).map(|found| (found, located)));
        let (error, located) = read.await?;
        let error = error.ok_or_else(unknown)?;
        // A map that is gone has no flow any more; its errors are shown until they go, too.
        let flows = self.locate(&error.map).await.unwrap_or_default();
        let kept = located.iter().filter(|at| at.map == error.map).map(|at| &at.at.spec);
        let spec = flows.iter().map(|at| &at.spec).chain(kept).next();
        let image = error
            .kept
            .as_ref()
            .zip(spec)
            .map(|(kept, spec)| Projection::once(spec, &kept.change, error.seq, kept.transaction));
        Ok(ErrorInFull { error, image })
    }

    /// Errors grouped by what was said, the most frequent first: of one map, or of all.
    pub async fn error_causes(&self, map: Option<&MapName>) -> Result<Vec<Cause>, Rejected> {
        let located = self.locate_kept(map).await?;
        let (store, map) = (self.store.clone(), map.cloned());
        let read = blocking(&*self.env, move || {
            let mut causes = store.causes(map.as_ref())?;
            for at in located.iter().filter(|at| at.left > 0) {
                let Some(first) = kept(&*store, at, &ErrorPick::default(), Seq::ZERO, 1)?.0.pop() else {
                    continue;
                };
                causes.push(Cause {
                    map: at.map.clone(),
                    class: first.fault.class,
                    code: first.fault.code.clone(),
                    message: first.fault.message.clone(),
                    errors: at.left,
                    first: first.name(),
                    first_at: first.first_at,
                    last_at: first.last_at,
                });
            }
            causes.sort_by_key(|cause| std::cmp::Reverse(cause.errors));
            Ok::<_, Unreadable>(causes)
        });
        Ok(read.await?)
    }

    /// Tries errors of a map again, deletes them, or lets be what is being tried. Returns when it is recorded; a retry
    /// goes on by itself, and the map shows how it stands.
    pub async fn act_on_errors(&self, request: ErrorRequest) -> Result<ErrorsTaken, Rejected> {
        let mut adopted = Vec::new();
        if request.verb != ErrorVerb::Cancel && !request.is_all() {
            let located = self.locate_kept(Some(&request.map)).await?;
            let (store, request) = (self.store.clone(), request.clone());
            adopted = blocking(&*self.env, move || chosen(&store, &located, &request)).await?;
        }
        self.ask(|reply| Command::Errors { request, adopted, reply }).await?
    }

    pub(super) async fn locate_kept(&self, map: Option<&MapName>) -> Result<Vec<LocatedKept>, Rejected> {
        let map = map.cloned();
        self.ask(|reply| Command::LocateKept { map, reply }).await
    }
}

fn list(
    store: &dyn Store,
    located: Vec<LocatedKept>,
    query: ErrorQuery,
    after: Option<ErrorId>,
) -> Result<ErrorPage, Unreadable> {
    let mut found = ErrorPage::default();
    let behind = match after {
        Some(ErrorId::Kept(flow, seq)) => Some((flow, seq)),
        Some(ErrorId::Noted(_)) | None => {
            let after = if let Some(ErrorId::Noted(id)) = after { id } else { 0 };
            let page = store.errors(&ErrorQuery { after, ..query.clone() })?;
            found.items = page.items;
            found.next = page.next.map(ErrorId::Noted);
            None
        }
    };
    for at in located {
        let limit = query.limit - found.items.len().min(query.limit);
        if found.next.is_some() {
            break;
        }
        let begins = match behind {
            Some((flow, _)) if at.at.flow < flow => continue,
            Some((flow, seq)) if at.at.flow == flow => seq,
            _ => Seq::ZERO,
        };
        let status = if at.is_tried { ErrorStatus::Retrying } else { ErrorStatus::Open };
        if !query.wanted().contains(&status) {
            continue;
        }
        if limit == 0 {
            found.next = Some(ErrorId::Kept(at.at.flow, Seq::ZERO));
            break;
        }
        let (items, through) = kept(store, &at, &query.pick, begins, limit)?;
        found.items.extend(items.into_iter().map(|error| SetAside { status, ..error }));
        found.next = through.map(|through| ErrorId::Kept(at.at.flow, through));
    }
    Ok(found)
}

fn one(store: &dyn Store, located: &[LocatedKept], id: ErrorId) -> Result<Option<SetAside>, Unreadable> {
    let (flow, seq) = match id {
        ErrorId::Noted(id) => {
            let found = store.error(id)?;
            // What an entry of a preserved queue is about is still in the journal.
            return Ok(match found {
                Some(error) if error.kept.is_none() => Some(with_change(located, error)?),
                found => found,
            });
        }
        ErrorId::Kept(flow, seq) => (flow, seq),
    };
    if let Some(noted) = store.error_at(flow, seq)? {
        return Ok(Some(noted));
    }
    let Some(at) = located.iter().find(|at| at.at.flow == flow && at.at.cursor < seq && seq <= at.until)
    else {
        return Ok(None);
    };
    read(at, seq)
}

/// A record of a preserved queue, by its Seq.
fn read(at: &LocatedKept, seq: Seq) -> Result<Option<SetAside>, Unreadable> {
    let found = records(&at.at).read(at.at.flow, seq)?;
    Ok(found.map(|record| SetAside::preserved(&record, &at.at.spec)))
}

fn with_change(located: &[LocatedKept], error: SetAside) -> Result<SetAside, Unreadable> {
    let Some(at) = located.iter().find(|at| at.at.flow == error.flow) else { return Ok(error) };
    let kept = read(at, error.seq)?.and_then(|error| error.kept);
    Ok(SetAside { kept, ..error })
}

/// Records of a preserved queue that fit, from beyond a Seq on, and how far was looked if there may be more.
fn kept(
    store: &dyn Store,
    at: &LocatedKept,
    pick: &ErrorPick,
    after: Seq,
    limit: usize,
) -> Result<(Vec<SetAside>, Option<Seq>), Unreadable> {
    if !pick.ids.is_empty() || pick.class.is_some_and(|class| class != FaultClass::Application) {
        return Ok((Vec::new(), None));
    }
    let after = after.max(at.at.cursor);
    if !pick.keys.is_empty() {
        return by_key(store, at, pick, after, limit);
    }
    let (mut items, mut looked_at, mut looked_at_bytes, mut through) = (Vec::new(), 0, 0, after);
    loop {
        let mut bound = stride(STRIDE);
        bound.through = at.until;
        if through >= at.until {
            return Ok((items, None));
        }
        let found = records(&at.at).scan(at.at.flow, through, bound)?;
        let Some(last) = found.last().map(|record| record.seq) else { return Ok((items, None)) };
        looked_at += found.len();
        looked_at_bytes += bytes_of(&found);
        let noted = store.noted(at.at.flow, through, last)?;
        for record in found {
            let is_named = pick.transaction.as_ref().is_none_or(|name| **name == *record.transaction_name);
            if noted.contains(&record.seq) || !is_named {
                continue;
            }
            if items.len() >= limit {
                let through = items.last().map(|error: &SetAside| error.seq);
                return Ok((items, through));
            }
            items.push(SetAside::preserved(&record, &at.at.spec));
        }
        through = last;
        if looked_at >= LOOKED_AT_MAX || looked_at_bytes >= LOOKED_AT_BYTES_MAX {
            return Ok((items, Some(through)));
        }
    }
}

/// By the journal's index of keys.
fn by_key(
    store: &dyn Store,
    at: &LocatedKept,
    pick: &ErrorPick,
    after: Seq,
    limit: usize,
) -> Result<(Vec<SetAside>, Option<Seq>), Unreadable> {
    let mut seqs: BTreeSet<Seq> = BTreeSet::new();
    let asked: Vec<IntegrationKey> = pick.keys.iter().flat_map(|parts| candidates(parts)).collect();
    for key in &asked {
        seqs.extend(records(&at.at).find(at.at.flow, key.hash(), after, limit.saturating_add(1))?);
    }
    let mut items = Vec::new();
    for seq in seqs.into_iter().filter(|seq| *seq <= at.until) {
        if store.error_at(at.at.flow, seq)?.is_some() {
            continue;
        }
        let Some(record) = records(&at.at).read(at.at.flow, seq)? else { continue };
        // Two keys may share a hash: only the key itself decides.
        let fits = at.at.spec.keys_of(&record.change).any(|key| asked.contains(&key))
            && pick.transaction.as_ref().is_none_or(|name| **name == *record.transaction_name);
        if !fits {
            continue;
        }
        if items.len() >= limit {
            let through = items.last().map(|error: &SetAside| error.seq);
            return Ok((items, through));
        }
        items.push(SetAside::preserved(&record, &at.at.spec));
    }
    Ok((items, None))
}

/// The records of preserved queues that a request is about, if it is not about all of them.
fn chosen(
    store: &Arc<dyn Store>,
    located: &[LocatedKept],
    request: &ErrorRequest,
) -> Result<Vec<SetAside>, Rejected> {
    let mut chosen = Vec::new();
    for (flow, seq) in &request.kept {
        let found = one(&**store, located, ErrorId::Kept(*flow, *seq))?;
        let unknown = || Rejected::UnknownError(ErrorId::Kept(*flow, *seq).to_string());
        let found = found.filter(|error| error.id == 0).ok_or_else(unknown)?;
        chosen.push(found);
    }
    let Some(pick) = &request.pick else { return Ok(chosen) };
    for at in located {
        let mut after = Seq::ZERO;
        loop {
            let (items, through) = kept(&**store, at, pick, after, STRIDE)?;
            chosen.extend(items);
            if chosen.len() > CHOSEN_MAX {
                return Err(Rejected::Unsupported(format!(
                    "more than {CHOSEN_MAX} records of the preserved queue fit: narrow the filter, or take all errors \
                     of the map"
                )));
            }
            match through {
                Some(through) => after = through,
                None => break,
            }
        }
    }
    let mut seen: BTreeSet<(FlowId, Seq)> = BTreeSet::new();
    chosen.retain(|error| seen.insert((error.flow, error.seq)));
    Ok(chosen)
}
