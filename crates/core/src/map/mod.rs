//! Table maps: what is declared, what a run made of it, and how a change becomes a write.
//!
//! Three stages, each a type of its own so that none can be taken for another. [`TableMap`] is what a person
//! declared. [`FlowSpec`] is one direction of it, resolved against both schemas when the map was run. A
//! [`Projection`] binds a flow to one relation of the log, by column *name*: a record that was queued before a
//! column was added or renamed is bound to the columns that it has.

mod content;
mod declare;
mod project;
mod resolve;

pub use content::{projected_row, row_hash};
pub use declare::{ColumnPair, Columns, Deletes, Direction, Side, TableMap};
pub use project::{Projection, Refusal};
pub use resolve::{FlowSpec, resolve};
