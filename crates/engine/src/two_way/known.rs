//! What is known of the changes that were looked up last.
//!
//! A record that both sides change all the time is judged against every change of the other side within the lag: a
//! hundred of them, again for each of its own. To read each of them in the journal takes a thousand times as long as to
//! compare it. What the comparison needs of a committed change never changes, and is small; so it is remembered, of so
//! many changes as fit.

use crate::store::FlowId;
use std::collections::HashMap;
use std::sync::Arc;
use tandem_core::{IntegrationKey, Seq, Stamp, WallTime};

/// So many are remembered of one journal at least, and twice as many at most.
const REMEMBERED: usize = 8_192;

/// What a comparison needs of a committed change.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) stamp: Option<Stamp>,
    pub(crate) committed_at: WallTime,
    /// The records that it touches: one, or two if it changes the key.
    pub(crate) keys: Vec<IntegrationKey>,
}

/// See the module. Those that were asked for last stay: when the young are as many as fit, the old are forgotten, and
/// the young become the old.
#[derive(Debug, Default)]
pub(crate) struct KnownChanges {
    young: HashMap<(FlowId, Seq), Arc<Known>>,
    old: HashMap<(FlowId, Seq), Arc<Known>>,
}

impl KnownChanges {
    /// What is known of a change, if it is.
    pub(crate) fn get(&mut self, flow: FlowId, seq: Seq) -> Option<Arc<Known>> {
        if let Some(known) = self.young.get(&(flow, seq)) {
            return Some(known.clone());
        }
        let known = self.old.remove(&(flow, seq))?;
        self.put(flow, seq, known.clone());
        Some(known)
    }

    /// Remembers a change.
    pub(crate) fn put(&mut self, flow: FlowId, seq: Seq, known: Arc<Known>) {
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert((flow, seq), known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_what_is_not_goes() {
        let mut changes = KnownChanges::default();
        let known = || Arc::new(Known { stamp: None, committed_at: WallTime(0), keys: Vec::new() });
        let flow = FlowId(1);
        for seq in 1..=5 * REMEMBERED as u64 {
            changes.put(flow, Seq(seq), known());
            assert!(changes.get(flow, Seq(1)).is_some(), "asked for all the time");
            assert!(changes.young.len() + changes.old.len() <= 2 * REMEMBERED);
        }
        assert!(changes.get(flow, Seq(2)).is_none(), "nobody has asked for it");
    }
}
