//! Decides which tasks live, reads the clock, owns the disk: captures, journals, lanes, states.

mod capture;
mod declared;
pub mod disk;
mod engine;
pub mod env;
mod failpoint;
mod history;
pub mod journal;
mod request;
mod retry;
pub mod store;
mod stream;
mod supervisor;
mod telling;
mod view;

pub use engine::{
    ActivityFrom, ActivityQuery, Engine, ErrorInFull, QueueFilter, QueueQuery, RecordInFull, Setup,
    StartError, check,
};
pub use failpoint::{FailPoint, Mistake};
pub use request::{
    Accepted, Blocker, LeftBehind, Planned, PlannedMap, Rejected, Request, WindowAsked, WindowEnd,
};
pub use store::{ErrorQuery, KeptChange, SetAside};
pub use supervisor::Tuning;
pub use telling::{Tell, TellNobody};
pub use view::{
    ActivityEntry, AppView, CatchUpView, Condition, ConditionKind, FlowView, MapView, Page, QueueStats,
    QueuedRecord, RuleOnMap, RuleTest, RuleView, Snapshot, WindowView,
};
