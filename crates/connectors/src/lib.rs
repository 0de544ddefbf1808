//! Connectors: the only code that knows a driver or a wire format.
//!
//! Each folder is one kind of app, and keeps the promises of [`tandem_core::connect`]; the conformance suite in
//! `tests/conformance` holds every one of them to the same words. Read [`memory`] first: it is the smallest
//! connector that keeps all of them.
//!
//! [`notify`] is no connector but knows wire formats all the same: it tells people what rules have to say.

pub mod memory;
#[cfg(feature = "notifications")]
pub mod notify;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;
