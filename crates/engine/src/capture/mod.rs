//! One app's log, into the journals of the streams that begin there.
//!
//! One capture per app, whatever the number of maps and streams: it reads transactions in commit order, gives each
//! stream the changes of its tables, and acknowledges a position only when every journal that it concerns has it
//! on disk. Pausing a map does nothing here, and that is the point: reading goes on.
//!
//! What stops reading is our own disk: a failed write or fsync (for good, until a restart), or too little room (until
//! there is room again); and a full map, of an app for which that was chosen. The source then keeps what we did not
//! acknowledge.

mod actor;
mod bypass;
mod guarding;
mod line;
mod marking;
mod place;
mod route;
mod source;

pub(crate) use actor::{AppActor, AppParts};
pub(crate) use bypass::{Bypassed, Watch};
pub(crate) use marking::Marks;
pub(crate) use place::Place;

use crate::stream::JournalHandle;
use crate::two_way::Tables;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tandem_core::{BarrierId, Fault, Guard, MapName, Seq, StreamName, TableName};

/// What is wanted of an app's capture.
#[derive(Clone, Default)]
pub(crate) struct AppPlan {
    /// Rises with each change.
    pub(crate) version: u64,
    /// The streams that begin here, with their tables.
    pub(crate) sinks: BTreeMap<StreamName, Sink>,
    /// Tables that are to enter capture, with the barrier that says when they have.
    pub(crate) entering: BTreeMap<BarrierId, TableName>,
    /// What the app is to refuse.
    pub(crate) guards: Vec<Guard>,
    /// Of these, the ones that refuse deletes: it is told what gets past them.
    pub(crate) watched: Vec<Watch>,
    /// It is not to be read: a map that it feeds is full.
    pub(crate) held: bool,
    /// The gap that people have accepted last, if any.
    pub(crate) accepted: Option<Arc<AcceptedGap>>,
    /// The engine shuts down.
    pub(crate) shutdown: bool,
}

/// A gap in an app's log that people have accepted: what lies in it is not known, and the log is taken up behind it.
///
/// It is asked for once and kept nowhere: whatever comes between leaves the gap as it was, to be accepted again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AcceptedGap {
    /// Says in the log where it goes on, and tells one gap from the next.
    pub(crate) barrier: BarrierId,
    /// For two-way maps, by number: how far the opposite flow had written when it was accepted. Its echoes may lie in the
    /// gap, and whoever changes a record behind the gap had them in sight.
    pub(crate) seen: Vec<(u64, Seq)>,
}

/// Where the changes of some tables go.
#[derive(Clone)]
pub(crate) struct Sink {
    pub(crate) journal: Arc<JournalHandle>,
    pub(crate) tables: BTreeSet<TableName>,
    /// Those of two-way maps.
    pub(crate) both_ways: Tables,
}

impl AppPlan {
    /// Every table that is to be captured.
    fn tables(&self) -> BTreeSet<TableName> {
        self.sinks.values().flat_map(|sink| sink.tables.iter().cloned()).collect()
    }
}

/// How an app's capture stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct AppStatus {
    /// Whether the log is being read.
    pub(crate) capturing: bool,
    /// The fault that the app stands in.
    pub(crate) fault: Option<Fault>,
    /// What no waiting mends: a gap, a failed disk of ours.
    pub(crate) broken: Option<Fault>,
    /// Why a table does not enter capture.
    pub(crate) entering: Option<Fault>,
    /// Whether the app has said which tables are in capture.
    pub(crate) looked: bool,
    /// The tables that are known to be in capture.
    pub(crate) captured: BTreeSet<TableName>,
    /// Tables that have left capture, though nobody has taken them out.
    pub(crate) missing: BTreeSet<TableName>,
    /// Bytes of its log that the app keeps for us, as of the last look; `None` if it cannot say.
    pub(crate) retained: Option<u64>,
    /// What the app refuses now on our behalf.
    pub(crate) guards: Vec<Guard>,
    /// Why a guard does not stand that should, or stands that should not.
    pub(crate) guard_fault: Option<Fault>,
    /// What got past guards against deletes.
    pub(crate) bypassed: BTreeMap<(MapName, StreamName), Bypassed>,
    /// Barriers that are durable in a journal, with their Seq in that one.
    pub(crate) barriers: BTreeMap<(BarrierId, StreamName), Seq>,
    /// For two-way maps, by stream and number: rows of ours that came back changed once too often.
    pub(crate) ping_pong: BTreeMap<(StreamName, u64), u64>,
    /// It has ended: nothing of ours is left in the app that capture had put there.
    pub(crate) ended: bool,
}
