//! The JSON shapes of the API. Each has everything that a client may rely on and nothing else; both sides of
//! the wire use these types, so that a shape is written down once.

mod action;
mod activity;
mod app;
mod conflict;
mod error;
mod finding;
mod history;
mod image;
mod map;
mod mapping;
mod problem;
mod queue;
mod reload;
mod rule;
mod server;
mod session;
mod token;
pub(crate) mod value;
mod verify;

pub(crate) use action::TEXT_MAX;
pub use action::{
    Accepted, ActionRequest, LeftBehind, MapState, PauseRequest, Plan, PlannedMap, ResumeRequest, RunRequest,
    SkipRequest, StopRequest,
};
pub use activity::Activity;
pub use app::{App, GapRequest, Guard, Readiness, Release};
pub use conflict::Conflict;
pub use error::{CancelRequest, ErrorCause, ErrorsRequest, ErrorsTaken, RecordError, RecordErrorInFull};
pub use finding::Finding;
pub use history::{HistoryPoint, HistorySteps, MapHistory};
pub use image::{Image, LookedUp, Tried, TryRequest, Unwritable};
pub use map::{
    CatchUp, Column, Condition, ErrorStats, Flow, Hold, InitialSync, Map, MapLimits, Retry, Side, Window,
};
pub use mapping::{ColumnWay, Lookup, MappedColumn, Mapping, MappingStep, Origin, TwoWay, ValuePair};
pub use problem::{Blocker, Problem};
pub(crate) use queue::name_of;
pub use queue::{QueueStats, QueuedRecord, QueuedRecordInFull};
pub use reload::{ConfigChange, ReloadRequest, Reloaded};
pub use rule::{Firing, Rule, RuleOnMap, RuleTest, SwitchRequest};
pub use server::Server;
pub use session::{Session, SignIn};
pub(crate) use token::names as token_maps;
pub use token::{Access, RevokeRequest, RouteAccess, Token, TokenCreated, TokenRequest};
pub use verify::{Difference, Verification, VerifyRequest};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_core::WallTime;

/// One page of a list.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Page<T> {
    /// The items, in order.
    pub items: Vec<T>,
    /// What `after` brings the next page; null behind the last.
    pub next: Option<String>,
}

/// A moment as the API shows it: RFC 3339, UTC. A moment outside of the calendar is its nearest end.
pub(crate) fn moment(at: WallTime) -> Timestamp {
    Timestamp::from_microsecond(at.0).unwrap_or(if at.0 < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

impl<T> Page<T> {
    /// A page of `limit` out of items of which one more was taken than it shows, if there is one more.
    pub(crate) fn cut(mut items: Vec<T>, limit: usize, name: impl Fn(&T) -> String) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(name) } else { None };
        Self { items, next }
    }
}
