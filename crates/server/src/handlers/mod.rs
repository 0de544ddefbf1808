//! The handlers: read the input, make one call of the engine, convert. Nothing is decided here.

pub(crate) mod actions;
pub(crate) mod activity;
pub(crate) mod apps;
pub(crate) mod conflicts;
pub(crate) mod errors;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod maps;
pub(crate) mod metrics;
pub(crate) mod queue;
pub(crate) mod reload;
pub(crate) mod rules;
pub(crate) mod server;
pub(crate) mod session;
pub(crate) mod tokens;
pub(crate) mod verify;
