//! Says of records that are in doubt whether they are different, or only on their way.
//!
//! Each look is one window: barrier, wait until the flow has applied what lies before it, read both sides, and ask
//! the journal what it names behind the barrier. See the module above for why nothing else may be called a difference.

use super::walk::{Open, POLL, Stop, Walk};
use crate::engine::queue::{candidates, records};
use crate::env::blocking;
use crate::request::Rejected;
use crate::store::{FlowId, Unreadable};
use crate::supervisor::{Located, Way, Ways};
use std::collections::BTreeSet;
use std::time::Duration;
use tandem_core::lifecycle::Phase;
use tandem_core::map::{Verdict, Wanted};
use tandem_core::{IntegrationKey, KeyHash, Row, Seq};

/// How often a record is looked at that is changed each time.
const LOOKS: u32 = 6;
/// How long is waited before the second look; doubled each time.
const WAIT: Duration = Duration::from_millis(50);
/// A key of more columns is looked for in the journal in one form only.
const COLUMNS_IN_FORMS: usize = 3;

/// A record that is in doubt. At least one of its keys is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suspect {
    /// Its key in the source.
    pub(super) key: Option<IntegrationKey>,
    /// Its key at the destination.
    pub(super) at: Option<IntegrationKey>,
}

/// What became of the doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is so, and nothing that is known will change it.
    Is(Verdict),
    /// A change of it is queued.
    Queued,
    /// It has an open error.
    HasError,
    /// It was changed each time.
    Moving,
}

/// A record that was in doubt, as both sides had it at last.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) suspect: Suspect,
    pub(super) outcome: Outcome,
    pub(super) source: Option<Row>,
    pub(super) destination: Option<Row>,
}

/// A place in a flow's journal behind which whatever it names is still on its way.
struct Barrier {
    at: Located,
    family: Vec<FlowId>,
    beyond: Seq,
}

/// Every flow of the map behind its barrier.
struct Behind {
    barriers: Vec<Barrier>,
    paused: bool,
}

/// The hashes under which journals and errors may know a record: of the first flow, and of the one that comes back.
type Hashes = [Vec<KeyHash>; 2];

impl Walk {
    /// Looks at records until it is known what they are, or they have moved too often.
    pub(super) async fn settle(&self, open: &mut Open, suspects: Vec<Suspect>) -> Result<Vec<Settled>, Stop> {
        let mut settled = Vec::with_capacity(suspects.len());
        let mut left = suspects;
        for look in 0..LOOKS {
            if look > 0 {
                self.engine.env.sleep(WAIT * 2_u32.saturating_pow(look - 1)).await;
            }
            let is_last = look + 1 == LOOKS;
            for one in self.look(open, std::mem::take(&mut left)).await? {
                match one.outcome {
                    Outcome::Moving if !is_last => left.push(one.suspect),
                    Outcome::Is(_) | Outcome::Queued | Outcome::HasError | Outcome::Moving => {
                        settled.push(one)
                    }
                }
            }
            if left.is_empty() {
                break;
            }
        }
        Ok(settled)
    }

    async fn look(&self, open: &mut Open, suspects: Vec<Suspect>) -> Result<Vec<Settled>, Stop> {
        let mut behind = self.barrier().await?;
        while behind.barriers.len() > 1 {
            // What was written for the first barrier has come back as an echo before the second; unless the map was paused
            // between them, and something written behind the second.
            let second = self.barrier().await?;
            let same = second.paused == behind.paused;
            behind = second;
            if same {
                break;
            }
        }
        // Looked at before the rows: an error that is settled in between was written before it was.
        let wanted: Vec<Hashes> = suspects.iter().map(|one| hashes(one, None, None, open)).collect();
        let (failed, restoring) = self.errors(&behind, wanted).await?;

        let keys: Vec<IntegrationKey> = suspects.iter().filter_map(|one| one.key.clone()).collect();
        let (source, unseen) = open.in_source(&keys).await?;
        let mut rows = Vec::with_capacity(suspects.len());
        for mut one in suspects {
            let id = one.key.as_ref().map(|key| open.comparer.source_id(key));
            let row = id.and_then(|id| source.get(&id)).cloned();
            let wanted = row.as_ref().map(|row| open.comparer.wanted(row));
            let at = wanted.as_ref().and_then(|wanted: &Wanted| open.comparer.wanted_key(wanted));
            one.at = at.or(one.at);
            one.key = row.as_ref().and_then(|row| open.comparer.source_key(row)).or(one.key);
            rows.push((one, row));
        }
        let keys: Vec<IntegrationKey> = rows.iter().filter_map(|(one, _)| one.at.clone()).collect();
        let (mut there, lacking) = open.at_destination(&keys).await?;
        // The reads are behind us: what is in the logs by now is in the journals when these have come back.
        self.mark(&self.ways().await?).await?;
        let is_unsure = restoring || !unseen.is_empty() || !lacking.is_empty();

        let mut judged = Vec::with_capacity(rows.len());
        for (one, source) in rows {
            let id = one.at.as_ref().map(|at| open.comparer.destination_id(at));
            let destination = id.and_then(|id| there.remove(&id));
            let verdict = open.comparer.judge(source.as_ref(), destination.as_ref());
            judged.push((one, source, destination, verdict));
        }
        let wanted = judged
            .iter()
            .map(|(one, source, destination, _)| hashes(one, source.as_ref(), destination.as_ref(), open));
        let paused = behind.paused;
        let named = self.named(behind, wanted.collect()).await?;
        let settled = judged.into_iter().zip(failed).zip(named);
        Ok(settled
            .map(|(((suspect, source, destination, verdict), has_error), is_named)| {
                let outcome = match verdict {
                    Verdict::Same | Verdict::LeftOut => Outcome::Is(verdict),
                    _ if has_error => Outcome::HasError,
                    _ if is_named && paused => Outcome::Queued,
                    _ if is_named || is_unsure => Outcome::Moving,
                    Verdict::Missing | Verdict::Changed | Verdict::Extra | Verdict::Refused => {
                        Outcome::Is(verdict)
                    }
                };
                Settled { suspect, outcome, source, destination }
            })
            .collect())
    }

    /// Writes a barrier into each source and waits until it is in the journal.
    async fn mark(&self, ways: &Ways) -> Result<Vec<Seq>, Stop> {
        let mut seqs = Vec::with_capacity(ways.ways.len());
        for Way { marks, stream, .. } in &ways.ways {
            match marks.mark(stream, 1).await.and_then(|seqs| seqs.first().copied()) {
                Some(seq) => seqs.push(seq),
                None => return Err(Rejected::ShuttingDown.into()),
            }
        }
        Ok(seqs)
    }

    /// Writes barriers, and waits until the flows have applied what lies before them, or rest.
    async fn barrier(&self) -> Result<Behind, Stop> {
        let ways = self.ways().await?;
        let flows: Vec<FlowId> = ways.ways.iter().map(|way| way.at.flow).collect();
        let lows = self.mark(&ways).await?;
        loop {
            let ways = self.ways().await?;
            if !ways.ways.iter().map(|way| way.at.flow).eq(flows.iter().copied()) {
                let message =
                    format!("map {} was stopped, or a queue of it skipped, meanwhile", self.request.map);
                return Err(Rejected::Senseless(message).into());
            }
            let paused = ways.phase == Phase::Paused && !ways.pausing;
            let passed = ways.ways.iter().zip(&lows).all(|(way, low)| way.at.cursor >= *low);
            if paused || passed {
                let barriers = ways.ways.into_iter().zip(lows).map(|(Way { at, family, .. }, low)| Barrier {
                    beyond: low.min(at.cursor),
                    family,
                    at,
                });
                return Ok(Behind { barriers: barriers.collect(), paused });
            }
            self.engine.env.sleep(POLL).await;
        }
    }

    /// Which records have an open error; and whether winners are to be written back.
    async fn errors(&self, behind: &Behind, wanted: Vec<Hashes>) -> Result<(Vec<bool>, bool), Stop> {
        let store = self.engine.store.clone();
        let families: Vec<Vec<FlowId>> =
            behind.barriers.iter().map(|barrier| barrier.family.clone()).collect();
        let flows: Vec<FlowId> = behind.barriers.iter().map(|barrier| barrier.at.flow).collect();
        let kept = self.engine.locate_kept(Some(&self.request.map)).await?;
        let read = blocking(&*self.engine.env, move || {
            let restoring = store.any_corrections() && !store.corrections(&flows, 1)?.is_empty();
            let mut failed = Vec::with_capacity(wanted.len());
            for hashes in &wanted {
                let mut has_error = false;
                for (hashes, family) in hashes.iter().zip(&families) {
                    has_error |= store.any_touched() && !store.touching(family, hashes)?.is_empty();
                    for at in kept.iter().filter(|at| family.contains(&at.at.flow)) {
                        for hash in hashes {
                            let found = records(&at.at).find(at.at.flow, *hash, at.at.cursor, 1)?;
                            has_error |= found.into_iter().any(|seq| seq <= at.until);
                        }
                    }
                }
                failed.push(has_error);
            }
            Ok::<_, Unreadable>((failed, restoring))
        });
        Ok(read.await.map_err(Rejected::from)?)
    }

    /// Which records the journals name behind the barriers. All of them, if a journal no longer has that stretch.
    async fn named(&self, behind: Behind, wanted: Vec<Hashes>) -> Result<Vec<bool>, Stop> {
        let read = blocking(&*self.engine.env, move || {
            let mut named = Vec::with_capacity(wanted.len());
            for hashes in &wanted {
                let mut is_named = false;
                for (hashes, Barrier { at, beyond, .. }) in hashes.iter().zip(&behind.barriers) {
                    for hash in hashes {
                        is_named |= !records(at).find(at.flow, *hash, *beyond, 1)?.is_empty();
                    }
                }
                named.push(is_named);
            }
            let is_lost = behind
                .barriers
                .iter()
                .any(|Barrier { at, beyond, .. }| records(at).kept_from(at.flow) > *beyond);
            Ok::<_, Unreadable>(named.into_iter().map(|named| named || is_lost).collect())
        });
        Ok(read.await.map_err(Rejected::from)?)
    }
}

/// What a record may be known by. A side that has it says in which form; else each form counts that its key may have.
fn hashes(one: &Suspect, source: Option<&Row>, destination: Option<&Row>, open: &Open) -> Hashes {
    let of = |known: Option<IntegrationKey>, told: Option<&IntegrationKey>| match (known, told) {
        (Some(known), _) => vec![known.hash()],
        (None, Some(told)) => forms(told),
        (None, None) => Vec::new(),
    };
    let (source, destination) = (
        source.and_then(|row| open.comparer.source_key(row)),
        destination.and_then(|row| open.comparer.destination_key(row)),
    );
    [of(source, one.key.as_ref().or(one.at.as_ref())), of(destination, one.at.as_ref().or(one.key.as_ref()))]
}

fn forms(key: &IntegrationKey) -> Vec<KeyHash> {
    let mut hashes = BTreeSet::from([key.hash()]);
    if key.values().len() <= COLUMNS_IN_FORMS {
        let parts: Vec<String> = key.values().iter().map(ToString::to_string).collect();
        hashes.extend(candidates(&parts).iter().map(IntegrationKey::hash));
    }
    hashes.into_iter().collect()
}
