//! The PostgreSQL connector on real servers: what the conformance suite does not ask, since only PostgreSQL has it.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "postgres/apply.rs"]
mod apply;
#[path = "postgres/capture.rs"]
mod capture;
#[path = "postgres/check.rs"]
mod check;
#[path = "postgres/guard.rs"]
mod guard;
#[path = "postgres/reads.rs"]
mod reads;
#[path = "postgres/tls.rs"]
mod tls;
#[path = "postgres/world.rs"]
mod world;
