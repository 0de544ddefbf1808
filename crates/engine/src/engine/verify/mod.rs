//! Comparing both tables of a map while everybody goes on writing, and making them equal where they are not.
//!
//! Two databases order keys each in its own way, so nothing is merged: one table is walked in chunks and the same
//! records are looked up in the other by their keys, then the other way round for records that only the other has. Both
//! tables may be of any length; what is held is a chunk, some hundred records that are in doubt, and the differences
//! that are shown.
//!
//! What differs at first sight is only in doubt: it may be on its way. So it is looked at again in a window. A barrier
//! goes into the source's log (of a two-way map into both); when the flow has applied everything before it, both sides
//! are read again. A record that still differs, and that the journal does not name behind the barrier, *is* different: no
//! change is left that would make it equal. One that the journal names is looked at again, some times, and then reported
//! as *moving* and not as a difference. Three more rules keep the report true:
//!
//! - Of a two-way map a second barrier follows the first. Between them whatever was written came back as an echo, so
//!   winners that are to be written back are known; as long as there are any, everything is moving.
//! - What a transaction wrote that is in the log and that a read does not show yet (`Chunk::unseen`) is moving.
//! - A record with an open error is counted apart: that it differs is known already. So is one with a queued change
//!   while the map is paused, when no barrier is waited for: its queue will say what becomes of it.
//!
//! A repair takes the records that differ, chunk by chunk, through the lane of the flow, just as errors that are
//! refreshed: read again in a window, written or deleted, refused ones as errors. Then they are compared once more, and
//! only what is equal then is counted as repaired. Which side is right is the flow's source. So a map that goes one way can
//! only be repaired that way. Where another map writes the destination's table, too, its records are none that are too many:
//! a repair is refused until a filter of that side says which are whose.
//!
//! Whoever has looked at what differs may ask to repair that and nothing else: then nothing is walked, and the records that
//! the comparison has named are settled anew and repaired. What has become equal since is left alone.
//!
//! A verification is in memory only. After a restart there is none; what was asked for, and what came of it, is in the
//! activity log, and a repair that had begun for some records is brought to its end.

mod settle;
mod walk;

use super::{Engine, shared};
use crate::request::{Blocker, Rejected};
use crate::supervisor::{Command, Ways};
use settle::Suspect;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tandem_core::lifecycle::Phase;
use tandem_core::map::Direction;
use tandem_core::two_way::SideName;
use tandem_core::{Fault, IntegrationKey, MapName, Relation, Row, WallTime};
use tokio::sync::watch;
use walk::Walk;

/// Differences that are kept to be shown, at most.
pub const DIFFERENCES_MAX: usize = 1_000;
/// Bytes of rows that are kept to be shown; beyond that differences have no images.
const IMAGES_BYTES_MAX: usize = 16 << 20;

/// Asks for a comparison of a map's tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyRequest {
    /// The map.
    pub map: MapName,
    /// Make the other side equal to this one.
    pub repair: Option<SideName>,
    /// Of a repair: only of the records that differed in the map's last comparison, which began then.
    pub seen: Option<WallTime>,
    /// How many differences are kept to be shown, at most [`DIFFERENCES_MAX`]; all are counted.
    pub limit: usize,
    /// Who asks.
    pub actor: String,
    /// Why, in their words; may be empty.
    pub reason: String,
}

/// A comparison of a map's tables: how it gets on, or what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// The map.
    pub map: MapName,
    /// What it is at.
    pub stage: VerifyStage,
    /// The left side was compared as the source, or else the right one.
    pub to_right: bool,
    /// Which side is taken for right, if it repairs.
    pub repair: Option<SideName>,
    /// What was found by now.
    pub counts: VerifyCounts,
    /// About how many rows both tables have, if the apps can say.
    pub rows_estimate: Option<u64>,
    /// Whether records were looked for that only the destination has. They are not where the map changes keys on their
    /// way: the source's key of such a record cannot be told.
    pub looks_back: bool,
    /// The first differences, in the order in which they were found.
    pub differences: Vec<Difference>,
    /// Why nothing can be read now, or why it failed.
    pub fault: Option<Fault>,
    /// Who asked.
    pub actor: String,
    /// When it began.
    pub started_at: WallTime,
    /// When it ended.
    pub ended_at: Option<WallTime>,
}

/// What a comparison is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyStage {
    /// The source's records are looked for at the destination.
    Source,
    /// The destination's records are looked for in the source.
    Destination,
    /// It was brought to its end.
    Done,
    /// Somebody has ended it.
    Cancelled,
    /// It could not be brought to its end.
    Failed,
}

/// What was found. Every record that was looked at for good is in exactly one of the first nine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerifyCounts {
    /// As they should be.
    pub equal: u64,
    /// Left out by a filter.
    pub left_out: u64,
    /// On both sides, with different values.
    pub changed: u64,
    /// On the right side only.
    pub missing_left: u64,
    /// On the left side only.
    pub missing_right: u64,
    /// The map makes nothing of them.
    pub refused: u64,
    /// Changes of them are queued: nothing is known of them before those are applied.
    pub queued: u64,
    /// They have an open error.
    pub has_error: u64,
    /// They were changed each time that they were looked at.
    pub moving: u64,
    /// Of those that differ: they are equal now.
    pub repaired: u64,
    /// Rows that were read of both tables, for progress.
    pub rows_read: u64,
}

impl VerifyCounts {
    /// Records that differed.
    pub fn differing(&self) -> u64 {
        self.changed + self.missing_left + self.missing_right + self.refused
    }

    /// Records that differ still.
    pub fn left_differing(&self) -> u64 {
        self.differing().saturating_sub(self.repaired)
    }
}

/// In a sentence: what was found.
impl std::fmt::Display for VerifyCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { equal, changed, missing_left, missing_right, refused, repaired, .. } = self;
        write!(
            f,
            "{equal} equal, {changed} changed, {missing_left} missing on the left, {missing_right} missing on the right, \
             {refused} refused by the map, {} queued, {} with an error, {} moving; {repaired} repaired",
            self.queued, self.has_error, self.moving
        )
    }
}

/// How a record differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DifferenceKind {
    /// On both sides, with different values.
    Changed,
    /// On the right side only.
    MissingLeft,
    /// On the left side only.
    MissingRight,
    /// The map makes nothing of it.
    Refused,
}

/// A record that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which, as the side has it that was compared as the source; else as the other one has it.
    pub key: IntegrationKey,
    /// How.
    pub kind: DifferenceKind,
    /// The left side's row, if there is one and it is not too large to be kept.
    pub left: Option<(Arc<Relation>, Row)>,
    /// The right side's row.
    pub right: Option<(Arc<Relation>, Row)>,
    /// Whether it is equal now; none if nothing was repaired.
    pub repaired: Option<bool>,
    suspect: Suspect,
}

impl VerifyStage {
    /// Whether it has ended.
    pub fn is_over(self) -> bool {
        matches!(self, VerifyStage::Done | VerifyStage::Cancelled | VerifyStage::Failed)
    }

    /// Its name on every surface.
    pub fn name(self) -> &'static str {
        match self {
            VerifyStage::Source => "source",
            VerifyStage::Destination => "destination",
            VerifyStage::Done => "done",
            VerifyStage::Cancelled => "cancelled",
            VerifyStage::Failed => "failed",
        }
    }
}

impl DifferenceKind {
    /// Its name on every surface.
    pub fn name(self) -> &'static str {
        match self {
            DifferenceKind::Changed => "changed",
            DifferenceKind::MissingLeft => "missing_left",
            DifferenceKind::MissingRight => "missing_right",
            DifferenceKind::Refused => "refused",
        }
    }
}

/// The last comparison of each map.
#[derive(Default)]
pub(super) struct Verifications {
    by_map: Mutex<BTreeMap<MapName, Going>>,
}

/// One that goes on or has ended.
#[derive(Clone)]
struct Going {
    shown: Arc<Mutex<Verification>>,
    cancel: watch::Sender<bool>,
}

impl Going {
    fn look(&self) -> Verification {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Verifications {
    fn of(&self, map: &MapName) -> Option<Going> {
        self.by_map.lock().unwrap_or_else(PoisonError::into_inner).get(map).cloned()
    }

    /// Puts one in the place of the last, unless that goes on.
    fn begin(&self, map: &MapName, new: Going) -> bool {
        let mut by_map = self.by_map.lock().unwrap_or_else(PoisonError::into_inner);
        if by_map.get(map).is_some_and(|going| !going.look().stage.is_over()) {
            return false;
        }
        by_map.insert(map.clone(), new);
        true
    }
}

impl Engine {
    /// Begins to compare both tables of a map, and to repair them if that is asked for. Returns when it has begun.
    ///
    /// # Errors
    /// The map is not running (or paused, if nothing is to be repaired), it is being compared already, or the side that is
    /// to be right is none from which the map goes.
    pub async fn verify(&self, request: VerifyRequest) -> Result<Verification, Rejected> {
        let map = request.map.clone();
        let ways = self.ways(&map).await?;
        let to_right = direction(&ways, &request)?;
        let state = if ways.pausing { "pausing" } else { ways.phase.name() };
        let blocked = |needs: &str| {
            let blocker = Blocker { map: map.clone(), state: state.to_owned(), needs: needs.to_owned() };
            Rejected::State(vec![blocker])
        };
        match ways.phase {
            Phase::Running if !ways.pausing => {}
            Phase::Paused if request.repair.is_none() => {}
            Phase::Running | Phase::Paused if request.repair.is_some() => {
                return Err(blocked("a repair needs a running map: resume it first"));
            }
            Phase::Running | Phase::Paused | Phase::NotRunning | Phase::Initializing(_) | Phase::Resuming => {
                return Err(blocked(
                    "verify needs a map that is running or paused: wait for that, or run it",
                ));
            }
        }
        let maps = self.snapshot().maps.clone();
        let (left, right) = (&ways.map.left, &ways.map.right);
        let sides = if to_right { (left, right) } else { (right, left) };
        let rival = shared::rival(maps.iter().map(|view| &view.map), &ways.map, sides);
        if let Some(other) = rival.filter(|_| request.repair.is_some()) {
            let side = if to_right { "right" } else { "left" };
            return Err(blocked(&format!(
                "map {other} writes the same table, and a repair would delete what it has written there: give the {side} \
                 side of map {map} a filter that says which records there are its own"
            )));
        }
        let only = match request.seen {
            None => None,
            Some(began) => Some(self.differing(&map, began, to_right).map_err(|needs| blocked(&needs))?),
        };
        let shown = Verification {
            map: map.clone(),
            stage: VerifyStage::Source,
            to_right,
            repair: request.repair,
            counts: VerifyCounts::default(),
            rows_estimate: None,
            looks_back: true,
            differences: Vec::new(),
            fault: None,
            actor: request.actor.clone(),
            started_at: self.env.wall(),
            ended_at: None,
        };
        let (cancel, cancelled) = watch::channel(false);
        let going = Going { shown: Arc::new(Mutex::new(shown.clone())), cancel };
        if !self.verifications.begin(&map, going.clone()) {
            return Err(blocked("it is being verified: wait for the end, or cancel that"));
        }
        let mut how = match request.repair {
            Some(SideName::Left) => "the right side is made equal to the left one",
            Some(SideName::Right) => "the left side is made equal to the right one",
            None => "nothing is changed",
        }
        .to_owned();
        if let Some(only) = &only {
            how.push_str(&format!(", in the {} records that were found to differ", only.len()));
        }
        if let Err(rejected) = self.note_verify("map.verify", &request, how).await {
            going.shown.lock().unwrap_or_else(PoisonError::into_inner).stage = VerifyStage::Failed;
            return Err(rejected);
        }
        // Ends with the supervisor, and must not hold the folder for longer.
        let engine = Engine { _lock: None, ..self.clone() };
        let walk = Walk::new(engine, request, only, to_right, going.shown, cancelled);
        self.env.spawn("verify", Box::pin(walk.run()));
        Ok(shown)
    }

    /// How the last comparison of a map gets on, or what came of it.
    ///
    /// # Errors
    /// There was none since the engine was started.
    pub fn verification(&self, map: &MapName) -> Result<Verification, Rejected> {
        let going = self.verifications.of(map);
        going.map(|going| going.look()).ok_or_else(|| Rejected::UnknownVerification(map.clone()))
    }

    /// Ends a comparison. Records that are being repaired at this moment are brought to their end.
    ///
    /// # Errors
    /// There is none, or it has ended.
    pub fn cancel_verification(&self, map: &MapName) -> Result<Verification, Rejected> {
        let unknown = || Rejected::UnknownVerification(map.clone());
        let going = self.verifications.of(map).ok_or_else(unknown)?;
        if going.look().stage.is_over() {
            let blocker = Blocker {
                map: map.clone(),
                state: going.look().stage.name().to_owned(),
                needs: "only a verification that goes on can be cancelled".to_owned(),
            };
            return Err(Rejected::State(vec![blocker]));
        }
        // Whoever works on it may have ended just now.
        let _ = going.cancel.send(true);
        Ok(going.look())
    }

    /// The records that differed in a map's last comparison, if that is the one which began then, and has named them all;
    /// else what is in the way.
    fn differing(&self, map: &MapName, began: WallTime, to_right: bool) -> Result<Vec<Suspect>, String> {
        let Some(seen) = self.verifications.of(map).map(|going| going.look()) else {
            return Err("it was not compared since the server started: compare it first".to_owned());
        };
        if seen.started_at != began {
            return Err("it was compared again since: look at what differs now".to_owned());
        }
        if seen.stage != VerifyStage::Done {
            return Err("the comparison that was seen has not come to its end: compare it again".to_owned());
        }
        let (differ, kept) = (seen.counts.differing(), seen.differences.len());
        if differ != kept as u64 {
            return Err(format!(
                "{differ} records differ and {kept} of them are known by name: compare it again with a higher limit \
                 (at most {DIFFERENCES_MAX}), or repair whatever differs"
            ));
        }
        let suspects = seen.differences.into_iter().map(|one| match seen.to_right == to_right {
            true => one.suspect,
            false => Suspect { key: one.suspect.at, at: one.suspect.key },
        });
        Ok(suspects.collect())
    }

    async fn ways(&self, map: &MapName) -> Result<Ways, Rejected> {
        self.ask(|reply| Command::Ways { map: map.clone(), reply }).await?
    }

    async fn note_verify(
        &self,
        event: &'static str,
        of: &VerifyRequest,
        detail: String,
    ) -> Result<(), Rejected> {
        let VerifyRequest { map, actor, reason, .. } = of.clone();
        self.ask(|reply| Command::NoteVerify { map, event, actor, reason, detail, reply }).await?
    }
}

/// Which way a map is compared: from the side that is right, if one is named.
fn direction(ways: &Ways, request: &VerifyRequest) -> Result<bool, Rejected> {
    let (map, direction) = (&request.map, ways.map.direction);
    match (request.repair, direction) {
        (Some(SideName::Right), Direction::ToRight) => Err(Rejected::Senseless(format!(
            "map {map} goes to the right only, so only its left side can be taken for right: --repair left"
        ))),
        (Some(SideName::Left), Direction::ToLeft) => Err(Rejected::Senseless(format!(
            "map {map} goes to the left only, so only its right side can be taken for right: --repair right"
        ))),
        (Some(side), Direction::Both) => Ok(side == SideName::Left),
        (None, Direction::Both) | (Some(SideName::Left) | None, Direction::ToRight) => Ok(true),
        (Some(SideName::Right) | None, Direction::ToLeft) => Ok(false),
    }
}
