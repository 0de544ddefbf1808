//! Logs: events of the engine and the server, for people on a terminal or as JSON lines. Never a value of a
//! record, never a secret: what is logged is made of our own words, names, counts and Seqs.

use crate::args::LogFormat;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// The variable that says what is logged.
const VARIABLE: &str = "TANDEM_LOG";
/// What is logged when nobody says so: drivers repeat every notice of a server, which helps nobody.
const DEFAULT: &str = "info,tokio_postgres=warn,pgwire_replication=warn";

/// Starts logging to stderr.
pub(crate) fn to_stderr(format: LogFormat) {
    let logs = tracing_subscriber::fmt().with_env_filter(filter()).with_writer(std::io::stderr);
    // A second subscriber in one process is refused; the first one stays, which is what is wanted.
    let _ = match format {
        LogFormat::Human => logs.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
        LogFormat::Json => logs.json().flatten_event(true).with_target(true).try_init(),
    };
}

/// Starts logging to a file, where the terminal is taken by a view.
pub(crate) fn to_file(file: std::fs::File) {
    let logs = tracing_subscriber::fmt().with_env_filter(filter()).with_ansi(false);
    let _ = logs.with_writer(std::sync::Mutex::new(file)).try_init();
}

fn filter() -> EnvFilter {
    EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(DEFAULT))
}
