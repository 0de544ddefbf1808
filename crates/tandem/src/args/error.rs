//! What the verbs of catch-up errors take.

use super::{List, duration};
use clap::Subcommand;
use std::num::NonZeroU32;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(crate) enum ErrorVerb {
    /// List the records that were set aside, in the order in which they were, and those of preserved queues
    List(ErrorList),
    /// Show one of them in full, and what would be written
    Show(ErrorShow),
    /// Write errors to stdout: a JSON object a line
    Export(ErrorExport),
    /// Try errors of a map again, in source order
    Retry(ErrorRetry),
    /// End what is being retried; what is left stays an error
    Cancel(ErrorCancel),
    /// Delete errors of a map: their changes will never be applied
    Delete(ErrorDelete),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ErrorFilter {
    /// Only of this class, such as application or reference.
    #[arg(long)]
    pub(crate) class: Option<String>,
    /// Only of the record with this integration key; several columns as a|b.
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Only of this source transaction, as the source names it.
    #[arg(long, value_name = "TRANSACTION")]
    pub(crate) tx: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ErrorSelection {
    /// Only of this map.
    pub(crate) map: Option<String>,
    #[command(flatten)]
    pub(crate) filter: ErrorFilter,
    /// Those that stand so: open, waiting, retrying, completed, superseded, deleted; several with commas, or all.
    /// Without it those that something is still to become of.
    #[arg(long)]
    pub(crate) status: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ErrorList {
    #[command(flatten)]
    pub(crate) of: ErrorSelection,
    /// Group them by what was said, the most frequent first.
    #[arg(long, conflicts_with_all = ["class", "key", "tx", "status", "limit", "after"])]
    pub(crate) by_cause: bool,
    #[command(flatten)]
    pub(crate) page: List,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ErrorShow {
    /// What names the error, as 'error list' shows it.
    pub(crate) id: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ErrorExport {
    #[command(flatten)]
    pub(crate) of: ErrorSelection,
}

/// Which errors of a map.
#[derive(Debug, clap::Args)]
#[group(id = "which", required = true, multiple = true)]
pub(crate) struct Which {
    /// This error, as 'error list' names it; may be given several times.
    #[arg(long = "id", value_name = "ID", group = "which", conflicts_with_all = ["class", "key", "tx"])]
    pub(crate) ids: Vec<String>,
    /// All of them, preserved queues included.
    #[arg(long, group = "which", conflicts_with_all = ["ids", "class", "key", "tx"])]
    pub(crate) all: bool,
    /// Those of this class, such as application or reference.
    #[arg(long, group = "which")]
    pub(crate) class: Option<String>,
    /// Those of the record with this integration key; several columns as a|b.
    #[arg(long, group = "which")]
    pub(crate) key: Option<String>,
    /// Those of this source transaction, as the source names it.
    #[arg(long, value_name = "TRANSACTION", group = "which")]
    pub(crate) tx: Option<String>,
}

/// What is asked of which errors, and why.
#[derive(Debug, clap::Args)]
pub(crate) struct Meant {
    /// The map.
    pub(crate) map: String,
    #[command(flatten)]
    pub(crate) which: Which,
    /// Do nothing if another number of errors is meant by now.
    #[arg(long, value_name = "ERRORS")]
    pub(crate) expected: Option<u64>,
    /// Why; it stands in the activity log.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) reason: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ErrorRetry {
    #[command(flatten)]
    pub(crate) meant: Meant,
    /// Write the records as they are in the source now, instead of the changes that were set aside.
    #[arg(long, conflicts_with = "rate")]
    pub(crate) refresh: bool,
    /// At most so many changes a second.
    #[arg(long, value_name = "CHANGES")]
    pub(crate) rate: Option<NonZeroU32>,
    /// Return when it has ended.
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long --wait waits.
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ErrorCancel {
    /// The map.
    pub(crate) map: String,
    /// Why; it stands in the activity log.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) reason: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ErrorDelete {
    #[command(flatten)]
    pub(crate) meant: Meant,
    /// Ask nothing: agree to what loses data.
    #[arg(long)]
    pub(crate) yes: bool,
}
