//! What must go on in a state.

use super::{Initializing, MapState, Phase};

/// What the engine must see to for a map, as long as it is in its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Duties {
    /// Its source table is to be in capture, and its changes are journaled.
    pub capture: bool,
    /// Its source table has not been seen to enter capture yet: make it, and wait for the barrier.
    pub enter: bool,
    /// Its records are to be copied.
    pub copy: bool,
    /// It is to be a member of a lane: its queue is applied, and then what comes.
    pub apply: bool,
    /// Its source is to refuse deletes, if the map wants that: it is held.
    pub refuse_deletes: bool,
}

/// The duties of a state.
pub fn duties(state: &MapState) -> Duties {
    let capture = Duties { capture: true, ..Duties::default() };
    match state.phase {
        Phase::NotRunning => Duties::default(),
        Phase::Initializing(Initializing::Entering | Initializing::EnteringToCopy) => {
            Duties { enter: true, ..capture }
        }
        Phase::Initializing(Initializing::Copying) => Duties { copy: true, apply: true, ..capture },
        Phase::Initializing(Initializing::Failed) => capture,
        Phase::Running => {
            let held = !state.holds.is_empty();
            Duties { apply: !held, refuse_deletes: held, ..capture }
        }
        Phase::Paused => Duties { refuse_deletes: true, ..capture },
        Phase::Resuming => Duties { apply: true, ..capture },
    }
}
