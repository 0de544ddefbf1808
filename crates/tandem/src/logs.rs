//! Logs: events of the engine and the server, for people on a terminal or as JSON lines. Never a value of a
//! record, never a secret: what is logged is made of our own words, names, counts and Seqs.
//!
//! Drivers do not know that law: what they tell below a warning holds statements with their parameters. It is
//! left out whatever level is asked for.

use crate::args::LogFormat;
use std::io::IsTerminal;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

/// The variable that says what is logged.
const VARIABLE: &str = "TANDEM_LOG";
/// Where drivers log from.
const DRIVERS: [&str; 2] = ["tokio_postgres", "pgwire_replication"];

/// Starts logging to stderr.
pub(crate) fn to_stderr(format: LogFormat) {
    let lines = fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Human => start(lines.with_ansi(std::io::stderr().is_terminal()).with_target(false)),
        LogFormat::Json => start(lines.json().flatten_event(true)),
    }
}

/// Starts logging to a file, where the terminal is taken by a view.
pub(crate) fn to_file(file: std::fs::File) {
    start(fmt::layer().with_ansi(false).with_writer(std::sync::Mutex::new(file)));
}

fn start<L>(lines: L)
where
    L: Layer<Registry> + Send + Sync,
{
    let wanted = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::registry().with(lines).with(wanted).with(filter_fn(is_ours_or_a_warning));
    // A second subscriber in one process is refused; the first one stays, which is what is wanted.
    let _ = logs.try_init();
}

fn is_ours_or_a_warning(event: &Metadata<'_>) -> bool {
    *event.level() <= Level::WARN || !DRIVERS.iter().any(|driver| event.target().starts_with(driver))
}
