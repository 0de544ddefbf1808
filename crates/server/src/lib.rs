//! The only code that knows HTTP and JSON shapes: the API under `/api/v1`, its problems, and the typed client
//! that the command line is written on.
//!
//! What the core and the engine know is never serialized to a client as it is: [`wire`] has a shape of its own
//! for each thing that is shown, so that a field renamed inside breaks nobody outside. A handler reads its
//! input, makes one call of the engine, and converts; it decides nothing.
//!
//! Whoever asks sends a token, or a browser the cookie of a session that stands for one, and every route says which role it needs.
//! Without TLS the server answers on the loopback address only, and refuses what a page in a browser could send there
//! behind its user's back.
#![deny(clippy::indexing_slicing)]

mod certificate;
mod client;
mod connections;
mod console;
mod events;
mod fence;
mod gate;
mod handlers;
mod headers;
mod input;
mod limits;
mod once;
mod openapi;
mod patience;
mod problem;
mod requests;
mod router;
mod session;
mod sight;
mod tls;
pub mod wire;

pub use certificate::Validity;
pub use client::{ActivityWay, Client, ClientError, ErrorSearch, Insecure, QueueSearch, Shown};
pub use handlers::metrics::MetricsAccess;
pub use handlers::reload::{ReloadAsked, ReloadRefused, Reloader, Reloading};
pub use router::{Serving, serve};
pub use tls::{BadIdentity, Identity};

/// The most items that one page of a list has.
pub const PAGE_MAX: usize = 500;
/// The items of a page when nobody says how many.
pub const PAGE_DEFAULT: usize = 50;
/// The longest that one request waits for a state, in seconds; who wants to wait longer asks again.
pub const WAIT_MAX_SECONDS: u64 = 300;
/// The most bytes that the body of a request has. Requests are small: names and reasons.
pub const BODY_MAX_BYTES: usize = 64 * 1024;
