//! Private database servers for tests: each has its own data folder, its own loopback port and its own user, and
//! is gone when the test process is gone, also when that was killed. Nothing of a server that is installed on
//! the machine is used but its programs, so tests run beside anything.
//!
//! A missing server is a failure with the command that installs it, never a skipped test.

mod certificates;
mod postgres;

pub use certificates::{certificate, certificate_between, certificates};
pub use postgres::{PostgresOptions, PostgresServer, Rows};
