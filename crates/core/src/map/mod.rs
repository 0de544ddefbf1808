//! Table maps: what is declared, what a run made of it, and how a change becomes a write.
//!
//! Three stages, each a type of its own so that none can be taken for another. [`TableMap`] is what a person
//! declared. [`FlowSpec`] is one direction of it, resolved against both schemas when the map was run. A
//! [`Projection`] binds a flow to one relation of the log, by column *name*: a record that was queued before a
//! column was added or renamed is bound to the columns that it has.

mod column;
mod compare;
mod content;
mod declare;
mod expression;
mod fit;
mod lookup;
mod pointer;
mod project;
mod refusal;
mod resolve;
mod shape;
pub(crate) mod transform;

pub use crate::decimal::Rounding;
pub use column::{BadColumn, ColumnPair, Made, Through, Transforms};
pub use compare::{Comparer, LookedUpColumn, Verdict, Wanted};
pub use content::{row_hash, written_hash};
pub use declare::{Columns, Deletes, Direction, InitialSync, OnLeave, Side, TableMap};
pub use expression::{BadExpression, EvaluationError, Expression};
pub use fit::given;
pub use lookup::LookedUp;
pub use pointer::{Pointer, Reference};
pub use project::{Projected, Projection};
pub use refusal::Refusal;
pub use resolve::{FlowColumn, FlowSpec, resolve};
pub use shape::{Misfit, Shape, drift, misfit};
pub use transform::{Case, Origin, Step, StepError, UnknownZone, Unmapped, ValueMap, Zone};
