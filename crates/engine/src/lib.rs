//! Decides which tasks live, reads the clock, owns the disk: captures, journals, lanes, states.

mod access;
mod capture;
mod copy;
mod declared;
pub mod disk;
mod durations;
mod engine;
pub mod env;
mod failpoint;
mod history;
pub mod journal;
mod reload;
mod request;
mod retry;
pub mod store;
mod stream;
mod supervisor;
mod telling;
mod two_way;
mod view;

pub use access::{
    Answered, Asked, Caller, KEYS_OF_TOKEN_MAX, LOCAL_TOKEN, NewToken, Outcome, SESSION_LIFE, SESSIONS_MAX,
    SESSIONS_OF_TOKEN_MAX, Secret, SessionView, SignedIn, Stranger, TOKENS_MAX, TokenView,
};
pub use durations::{BUCKET_BOUNDS, BUCKETS, Histogram};
pub use engine::{
    ActivityFrom, ActivityQuery, Credential, DIFFERENCES_MAX, Difference, DifferenceKind, Engine,
    ErrorInFull, ErrorPage, Found, QueueFilter, QueueQuery, RecordInFull, Setup, StartError, TOKEN_FILE,
    Verification, VerifyCounts, VerifyRequest, VerifyStage, check,
};
pub use failpoint::{FailPoint, Mistake};
pub use reload::{Change, Declared, How, Reload, Subject};
pub use request::{
    Accepted, Blocker, ErrorRequest, ErrorVerb, ErrorsTaken, GapAccepted, LeftBehind, Planned, PlannedMap,
    Rejected, Request, WindowAsked, WindowEnd,
};
pub use store::{
    Cause, CopyStage, ErrorId, ErrorPick, ErrorQuery, ErrorStatus, FlowId, KeptChange, SetAside,
};
pub use supervisor::Tuning;
pub use telling::{Tell, TellNobody};
pub use two_way::{Conflict, Correction};
pub use view::{
    ActivityEntry, AppView, CatchUpView, Condition, ConditionKind, ErrorStats, FlowView, InitialSyncView,
    Ledger, LimitsView, MapTally, MapView, Page, QueueStats, QueuedRecord, RetryView, RuleOnMap, RuleTest,
    RuleView, Snapshot, StreamView, WindowView,
};
