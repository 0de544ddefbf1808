//! Decides which tasks live, reads the clock, owns the disk: captures, journals, lanes, states.

mod engine;
pub mod env;
mod request;
mod view;

pub use engine::{ActivityQuery, Engine, QueueQuery, Setup, StartError, check};
pub use request::{Accepted, Blocker, Rejected, Request};
pub use view::{
    ActivityEntry, AppView, Condition, ConditionKind, FlowView, MapView, Page, QueueStats, QueuedRecord,
    Snapshot,
};
