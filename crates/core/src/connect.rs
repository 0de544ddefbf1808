//! The seam to apps: what a connector must be able to do, and what it promises. Every connector passes one
//! conformance suite that holds it to the promises written here.
//!
//! Six small traits. [`Connector`] is an app that may be reached; it hands out the other five, each of which
//! is one connection with one owner: [`Source`] puts tables into capture and takes them out, [`Capture`] reads
//! the log, [`Reads`] reads tables as they stand, [`Apply`] writes, [`Guards`] refuses what users write. Nothing of the
//! engine's policy is in here: a connector decides no retry, sets no record aside, and never compares a Seq except in
//! the compare-and-set of the watermark.

mod reads;

pub use reads::{Chunk, ChunkLimit, KeyedTable, Reads};

use crate::{
    BarrierId, Epoch, Fault, Finding, Fragment, Guard, JournalId, LaneId, Position, Seq, TableName,
    TableSchema, Write,
};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// A boxed future: the price of `dyn` at the seam, paid per batch and never per record.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who works on the app: one data folder, in its n-th start. A connector keeps it in the app, next to what it
/// left there, so that a second engine or an older copy of the data folder is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The data folder.
    pub journal: JournalId,
    /// Its start.
    pub epoch: Epoch,
}

/// One app that may be reached. Cheap to keep; connects only when asked.
pub trait Connector: Send + Sync {
    /// Reads the schemas of the named tables; `None` for one that is not there (or that we may not see).
    fn describe<'a>(
        &'a self,
        tables: &'a [TableName],
    ) -> BoxFuture<'a, Result<Vec<Option<TableSchema>>, Fault>>;

    /// Says what in the app stands against the needs, with what mends it. An app that cannot be reached is a
    /// fault, not a finding.
    fn check<'a>(&'a self, needs: &'a Needs) -> BoxFuture<'a, Result<Vec<Finding>, Fault>>;

    /// Opens the connection that changes what is captured. At most one owner at a time: a second is refused
    /// with [`FaultClass::Fenced`](crate::FaultClass::Fenced) as long as the first lives.
    fn open_source(&self, owner: Owner) -> BoxFuture<'_, Result<Box<dyn Source>, Fault>>;

    /// Opens the log behind `from`. Delivers everything committed after `from` and nothing else, or fails with
    /// [`FaultClass::Gap`](crate::FaultClass::Gap) if the log no longer has it, has jumped ahead, or is not the
    /// log that `from` was taken from.
    fn open_capture<'a>(
        &'a self,
        owner: Owner,
        from: &'a Position,
    ) -> BoxFuture<'a, Result<Box<dyn Capture>, Fault>>;

    /// Opens one connection for writing, on which nothing is written yet.
    fn open_apply<'a>(
        &'a self,
        owner: Owner,
        stream: &'a str,
    ) -> BoxFuture<'a, Result<Box<dyn Apply>, Fault>>;

    /// Opens a connection that reads tables.
    fn open_reads(&self) -> BoxFuture<'_, Result<Box<dyn Reads>, Fault>>;

    /// Sees to it that the numbers which the app gives by itself in these columns go on behind those that are there:
    /// records that were written with their numbers did not move what gives them. Nothing to do for an app that looks
    /// at its records for the next number.
    fn number_on<'a>(
        &'a self,
        table: &'a TableName,
        columns: &'a [Arc<str>],
    ) -> BoxFuture<'a, Result<(), Fault>> {
        let (_, _) = (table, columns);
        Box::pin(async { Ok(()) })
    }

    /// Opens the connection that arms and disarms guards. Several may be open at once; a later start of our data
    /// folder, or another data folder that has taken the app over, fences it.
    fn open_guards(&self, owner: Owner) -> BoxFuture<'_, Result<Box<dyn Guards>, Fault>>;

    /// What a person runs in the app to free it of everything of ours, with the engine gone for good: guards
    /// first, then what capturing and applying left. Changes nothing, and asks the app only where it has no SQL
    /// that finds our things by itself.
    fn release_sql(&self) -> BoxFuture<'_, Result<String, Fault>>;
}

/// What maps need of an app: the question of [`Connector::check`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Tables to capture.
    pub captured: Vec<CaptureNeed>,
    /// Tables to write.
    pub written: Vec<WriteNeed>,
}

/// A table to capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureNeed {
    /// The table.
    pub table: TableName,
    /// The integration key: old rows must name it.
    pub key: Vec<Arc<str>>,
    /// Other columns that old rows must name: those that the map's filter reads; of a map that goes both ways, all that
    /// it maps, since only a whole row can win a conflict.
    pub also: Vec<Arc<str>>,
}

/// A table to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteNeed {
    /// The table.
    pub table: TableName,
    /// The columns that are written, the integration key included.
    pub columns: Vec<Arc<str>>,
    /// The integration key: must be unique there.
    pub key: Vec<Arc<str>>,
}

/// Puts tables into capture and takes them out.
pub trait Source: Send {
    /// Puts `tables` into capture and writes `barrier` into the log so that *every* change of them committed
    /// after the barrier is delivered, transactions that were open included, and none is delivered in part.
    /// Makes what capture needs in the app if it is not there. May be repeated after a crash. Returns where a
    /// capture begins that has no position yet; a capture from there sees the barrier.
    fn enter<'a>(
        &'a mut self,
        tables: &'a [TableName],
        barrier: BarrierId,
    ) -> BoxFuture<'a, Result<Position, Fault>>;

    /// Takes `tables` out of capture, and every guard of ours off them; with the last table everything of ours
    /// goes that capture and guards had put into the app. Tables that are not captured are passed over. No
    /// capture may be open when the last one leaves.
    fn leave<'a>(&'a mut self, tables: &'a [TableName]) -> BoxFuture<'a, Result<(), Fault>>;

    /// Writes barriers into the log, all of them durable when it returns, each with a place of its own: whatever was
    /// committed before the call lies before them. Something must be in capture.
    fn mark<'a>(&'a mut self, barriers: &'a [BarrierId]) -> BoxFuture<'a, Result<(), Fault>>;

    /// The tables in capture now.
    fn captured(&mut self) -> BoxFuture<'_, Result<Vec<TableName>, Fault>>;

    /// How many bytes of its log the app keeps for us, because we have not acknowledged them; `None` if it cannot say, or
    /// keeps nothing that would be gone without us.
    fn retained(&mut self) -> BoxFuture<'_, Result<Option<u64>, Fault>> {
        Box::pin(async { Ok(None) })
    }
}

/// Reads an app's committed transactions in commit order.
pub trait Capture: Send {
    /// Waits for the log and returns what there is, up to a batch. Dropping the future loses nothing.
    fn next(&mut self) -> BoxFuture<'_, Result<Captured, Fault>>;

    /// Everything at or before `position` is durable with us: the app may let go of it. Called only with
    /// positions that this capture delivered, in that order.
    fn acknowledge<'a>(&'a mut self, position: &'a Position) -> BoxFuture<'a, Result<(), Fault>>;
}

/// Refuses what users of an app write, on behalf of maps that are paused or full.
///
/// A guard stands in the app and not in the engine: it outlives us, and whoever meets it is told by the app's own
/// error what it is for ([`Guard::reason`], [`Guard::way_out`]). It binds every user, however privileged, and every
/// transaction, however old; writes of an engine's own [`Apply`] pass. A table without one bears nothing of ours
/// that its users would feel.
///
/// None of the calls waits for longer than the app needs to settle a lock: each is one try, and whoever stands in
/// the way is named in a fault of class [`FaultClass::Conflict`](crate::FaultClass::Conflict). Whether and when to
/// try again is the engine's decision.
pub trait Guards: Send {
    /// Makes the guard stand, and writes `barrier` into the log at that very place: whatever it refuses and was
    /// committed all the same lies before the barrier. Arming what is armed renews it: its time, its key, and what
    /// somebody has taken off the table meanwhile.
    ///
    /// The table must be in capture, since a barrier means nothing without a log. Without the right to guard it the
    /// fault is of class [`FaultClass::Permission`](crate::FaultClass::Permission) and says what grants it.
    fn arm<'a>(&'a mut self, guard: &'a Guard, barrier: BarrierId) -> BoxFuture<'a, Result<(), Fault>>;

    /// Takes a guard off its table, and leaves others standing; with the last one everything goes that guards had
    /// put into the app. One that does not stand is passed over, and so is one whose table is gone.
    fn disarm<'a>(&'a mut self, guard: &'a Guard) -> BoxFuture<'a, Result<(), Fault>>;

    /// The guards of ours that stand now, whole, as the app has them: the truth after a restart. One that somebody
    /// has tampered with is not among them, nor one whose table has changed so that it no longer covers it.
    fn armed(&mut self) -> BoxFuture<'_, Result<Vec<Guard>, Fault>>;
}

/// What [`Capture::next`] returned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured {
    /// Pieces of transactions, in order.
    pub fragments: Vec<Fragment>,
    /// Set if the log went on behind `fragments` with nothing for us, and no transaction is open: resuming
    /// here loses nothing.
    pub idle: Option<Position>,
    /// Names that captured tables had until now, and have no more: what is written to them comes under another name, or
    /// not at all.
    pub renamed: Vec<TableName>,
}

/// Writes to an app, in transactions that carry the watermark.
///
/// The watermark of a lane is one row: stream, lane, journal id, epoch, Seq, source position. It is compared
/// and set in the same transaction as the data, so that each change takes effect exactly once.
pub trait Apply: Send {
    /// Fences every older start of the same data folder, and returns the stream's watermarks, those of other
    /// data folders included. Fails with [`FaultClass::Fenced`](crate::FaultClass::Fenced) if a later start of
    /// our data folder was here.
    fn fence(&mut self) -> BoxFuture<'_, Result<Vec<Watermark>, Fault>>;

    /// What the marks of transactions that begin from now on say besides. With a note every transaction leaves a mark
    /// in the app's log, if that is read, also one that wrote nothing.
    fn set_note(&mut self, note: Arc<str>);

    /// Does one part of a destination transaction; see [`Part`].
    fn apply<'a>(&'a mut self, part: Part<'a>) -> BoxFuture<'a, Result<Applied, ApplyFault>>;

    /// Rolls the open transaction back, if one is open.
    fn rollback(&mut self) -> BoxFuture<'_, Result<(), Fault>>;

    /// Removes the watermarks of lanes that are no more. With the stream's last one, everything of ours goes
    /// that applying had put into the app, if no other stream uses it.
    fn retire<'a>(&'a mut self, lanes: &'a [LaneId]) -> BoxFuture<'a, Result<(), Fault>>;
}

/// A part of a destination transaction. One that fits is a single part with both `begin` and `commit`; a larger
/// one begins in its first part and commits in its last.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    /// Starts the transaction. Its first statement compares and locks the watermark.
    pub begin: Option<Begin>,
    /// What is written, in source order.
    pub writes: &'a [Write],
    /// How.
    pub plan: Plan,
    /// Sets the watermark and commits.
    pub commit: Option<Advance>,
}

/// The start of a destination transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// The lane whose watermark this transaction moves.
    pub lane: LaneId,
    /// Where the watermark must stand. If it does not (or its epoch is not ours), nothing is written and the
    /// fault is [`FaultClass::Fenced`](crate::FaultClass::Fenced).
    pub from: Seq,
    /// The lane may have no watermark yet: then it is made, at `from`.
    pub first: bool,
}

/// The end of a destination transaction: where the watermark goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advance {
    /// The last Seq that is settled with this commit.
    pub to: Seq,
    /// The source's position at that Seq, for a person who has only the destination left.
    pub position: Position,
}

/// How the writes of a part are done. The engine tries `Fast`, `Exact` and `Single` in this order, and sets a record
/// aside only when it failed in the last. Rows that were read from a table are tried by `Load` or `Copy` first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Plan {
    /// As the connector does it best: only the last of several writes of a record, grouped by table. May refuse
    /// a history that is valid; then nothing of the part has been kept.
    Fast,
    /// In exact source order, each source transaction in a savepoint of its own that ends with all deferred
    /// constraints checked. A fault names the write at which it stopped.
    Exact,
    /// Upserts of one table, each record once: what is so already is not written, and [`Applied::copied`] says what was.
    /// May refuse like `Fast`.
    Copy,
    /// As `Copy`, for records of which none is believed to be there: as fast as the app takes them. Refuses the part if
    /// one is there after all.
    Load,
    /// As `Exact`, and additionally each write in a savepoint of its own: one that is refused is left out and
    /// reported in [`Applied::refused`], and the others stand. The last source transaction ends with the part, also if
    /// that is not committed yet: what it has put off is checked.
    Single,
    /// As `Single`, for a source transaction that goes on in the next part.
    SingleOpen,
}

impl Plan {
    /// Whether what is refused is left out.
    pub fn leaves_out(self) -> bool {
        matches!(self, Plan::Single | Plan::SingleOpen)
    }
}

/// What came of a part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// With [`Plan::Single`] and [`Plan::SingleOpen`]: the writes that were left out, by their place in the part, and why.
    pub refused: Vec<(usize, Fault)>,
    /// With [`Plan::Copy`] and [`Plan::Load`]: what became of the records.
    pub copied: Copied,
}

/// What became of the records of a part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// They were not there.
    pub inserted: u64,
    /// They were there with other values.
    pub updated: u64,
    /// They were there as they are to be.
    pub unchanged: u64,
}

/// A part that was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyFault {
    /// Why.
    pub fault: Fault,
    /// The write at which it stopped, by its place in the part, where the app says so.
    pub write: Option<usize>,
    /// Whether the transaction took effect all the same.
    pub outcome: Outcome,
}

/// What became of a destination transaction that reported a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing of it was kept.
    RolledBack,
    /// The connection broke inside COMMIT: the watermark tells, once it can be read.
    Unknown,
}

/// A lane's watermark as the destination has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    /// The lane.
    pub lane: LaneId,
    /// The data folder that wrote it.
    pub journal: JournalId,
    /// Its start.
    pub epoch: Epoch,
    /// The last Seq that took effect.
    pub seq: Seq,
}
