//! Barriers on request: a place in the log for whoever reads a table beside it.
//!
//! Whoever asks is answered when every barrier that they asked for has come back through the capture and is durable in
//! the journal of their stream: with its Seq there. A barrier is written again as long as it is not known to be; twice
//! in the log it counts where it came first, which is no later than it was asked for.

use std::collections::{BTreeMap, BTreeSet};
use tandem_core::connect::Owner;
use tandem_core::{BarrierId, Seq, StreamName};
use tokio::sync::{mpsc, oneshot};

/// What tells these barriers from those of maps, and of guards: the two highest bits.
const KIND: u64 = 0b01 << 62;
/// Barriers that one request may ask for.
const MARKS_MAX: usize = 1_000;

/// A request for barriers.
pub(crate) struct MarkRequest {
    stream: StreamName,
    count: usize,
    reply: oneshot::Sender<Vec<Seq>>,
}

/// Asks an app's capture for barriers.
#[derive(Debug, Clone)]
pub(crate) struct Marks {
    requests: mpsc::Sender<MarkRequest>,
}

impl Marks {
    /// The asking side, and the one that the capture answers.
    pub(crate) fn channel() -> (Self, mpsc::Receiver<MarkRequest>) {
        let (requests, asked) = mpsc::channel(16);
        (Self { requests }, asked)
    }

    /// Writes barriers into the log, at most [`MARKS_MAX`], and waits for them to come back: their Seqs in the stream's
    /// journal, rising. `None` if the capture has ended.
    pub(crate) async fn mark(&self, stream: &StreamName, count: usize) -> Option<Vec<Seq>> {
        let (reply, answer) = oneshot::channel();
        let count = count.clamp(1, MARKS_MAX);
        self.requests.send(MarkRequest { stream: stream.clone(), count, reply }).await.ok()?;
        answer.await.ok()
    }
}

/// The barriers that were asked for and have not come back.
#[derive(Default)]
pub(super) struct Marking {
    asked: BTreeMap<BarrierId, Asked>,
    /// Written, as far as we know.
    written: BTreeSet<BarrierId>,
    numbered: u32,
}

/// A request, under the first of its barriers.
struct Asked {
    stream: StreamName,
    /// Its barriers; those that have come back with their Seq.
    seqs: BTreeMap<BarrierId, Option<Seq>>,
    reply: oneshot::Sender<Vec<Seq>>,
}

impl Marking {
    /// Takes in a request.
    pub(super) fn ask(&mut self, request: MarkRequest, owner: Owner) {
        let MarkRequest { stream, count, reply } = request;
        let mut ids = Vec::with_capacity(count);
        for _ in 0..count {
            self.numbered += 1;
            ids.push(BarrierId(KIND | (owner.epoch.0 & 0x3fff_ffff) << 32 | u64::from(self.numbered)));
        }
        if let Some(first) = ids.first().copied() {
            let seqs = ids.into_iter().map(|id| (id, None)).collect();
            self.asked.insert(first, Asked { stream, seqs, reply });
        }
    }

    /// The barriers of one request that are to be written next.
    pub(super) fn next(&mut self) -> Option<Vec<BarrierId>> {
        self.asked.retain(|_, asked| !asked.reply.is_closed());
        let (_, asked) = self.asked.iter().find(|(first, _)| !self.written.contains(first))?;
        Some(asked.seqs.keys().copied().collect())
    }

    /// What was written does not come back: the log is another one.
    pub(super) fn write_again(&mut self) {
        self.written.clear();
    }

    /// They are in the log.
    pub(super) fn written(&mut self, barriers: &[BarrierId]) {
        self.written.extend(barriers.first());
    }

    /// Whether a barrier is one of these, of this start or an earlier one.
    pub(super) fn is_mark(barrier: BarrierId) -> bool {
        barrier.0 >> 62 == KIND >> 62
    }

    /// A barrier is durable in a journal.
    pub(super) fn seen(&mut self, barrier: BarrierId, stream: &StreamName, seq: Seq) {
        let found = self.asked.range_mut(..=barrier).next_back();
        let Some((first, asked)) = found.filter(|(_, asked)| asked.stream == *stream) else { return };
        if let Some(place) = asked.seqs.get_mut(&barrier) {
            place.get_or_insert(seq);
        }
        if asked.seqs.values().all(Option::is_some) {
            let first = *first;
            self.written.remove(&first);
            if let Some(Asked { seqs, reply, .. }) = self.asked.remove(&first) {
                let mut seqs: Vec<Seq> = seqs.into_values().flatten().collect();
                seqs.sort_unstable();
                // Whoever asked may have been told to stop.
                let _ = reply.send(seqs);
            }
        }
    }
}
