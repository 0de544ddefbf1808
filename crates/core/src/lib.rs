//! What Tandem decides, and the words in which it does: records, keys, positions, maps, states, the seam to
//! apps. No I/O, no runtime, no clock, no randomness: the same input gives the same answer, always.

mod access;
mod canonical;
mod catch_up;
mod change;
mod check;
pub mod connect;
mod decimal;
mod dependents;
mod fault;
mod guard;
mod key;
pub mod lifecycle;
pub mod limits;
pub mod map;
mod name;
mod net;
mod position;
mod row;
pub mod rules;
mod schema;
mod share;
mod trend;
pub mod two_way;
mod value;
mod write;

pub use access::{Role, Scope};
pub use canonical::{Comparison, RowHash};
pub use catch_up::{CatchUp, OUTRUN_SPAN, Outrun, Progress, Rate, RateCap};
pub use change::{BarrierId, Change, Commit, Entry, Fragment, Mark, Op, OpKind, Stamp};
pub use check::{Finding, Severity};
pub use dependents::Dependents;
pub use fault::{Fault, FaultClass};
pub use guard::{Guard, Refusal};
pub use key::{IntegrationKey, KeyHash};
pub use name::{AppName, BadTableName, MapName, StreamName, TableName};
pub use net::{Net, NetTable, net};
pub use position::{Epoch, JournalId, LaneId, Position, Seq, WallTime};
pub use row::{Cell, Row};
pub use schema::{ColumnSchema, ForeignKey, Relation, RelationColumn, TableSchema, UniqueKey};
pub use share::{Fullness, Share};
pub use trend::{Backlog, Trend, TrendPoint, TrendSteps};
pub use value::{Kind, Value};
pub use write::{Lookup, Target, Write, WriteOp};
