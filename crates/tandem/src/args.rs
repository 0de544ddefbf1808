//! The command line: the contract with people and scripts, in one place.

use crate::quantity;
use clap::{Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

/// Keeps the records of two apps in step, and lets either one go down without losing a change.
#[derive(Debug, Parser)]
#[command(name = "tandem", version, about, propagate_version = true, after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Where the server is.
    #[arg(
        long,
        global = true,
        env = "TANDEM_SERVER",
        default_value = "http://127.0.0.1:7070",
        value_name = "URL"
    )]
    pub(crate) server: String,
    /// How data is written to stdout.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const EXIT_CODES: &str = "Exit codes: 0 ok, 1 failed, 2 usage or config, 3 refused by a state or by findings, \
4 not allowed, 5 not found, 6 timed out, 7 difference found, 8 no server";

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show Tandem at work: two SQLite apps, traffic, a live view; nothing to install
    Demo(Demo),
    /// Run the engine and its API in one process
    Serve(Serve),
    /// Check the config, and the maps against their apps, without a server
    Check(Check),
    /// Table maps: list, show, run, pause, resume, stop, wait
    #[command(subcommand)]
    Map(MapVerb),
    /// Apps: list, and pause, resume or stop all maps of one
    #[command(subcommand)]
    App(AppVerb),
    /// What the sources refuse on behalf of maps: list, release
    #[command(subcommand)]
    Guard(GuardVerb),
    /// What is captured and not applied: list, show, stats, export
    #[command(subcommand)]
    Queue(QueueVerb),
    /// Catch-up errors: list, show, export, retry, cancel, delete
    #[command(subcommand)]
    Error(ErrorVerb),
    /// Rules: list, enable, disable, and test when one would have fired
    #[command(subcommand)]
    Rule(RuleVerb),
    /// What was done, by whom and why
    Activity(Activity),
    /// Say which version this is
    Version,
    /// Print a completion script for a shell
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// Keep the demo's files in this folder instead of a temporary one.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// End by itself after so many seconds, compare both sides, and say whether they are equal.
    #[arg(long, value_name = "N")]
    pub(crate) seconds: Option<u64>,
    /// Where the demo's server listens; another port is taken if this one is in use.
    #[arg(long, default_value = crate::config::LISTEN_DEFAULT, value_name = "ADDRESS")]
    pub(crate) listen: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// The config file.
    #[arg(short, long, default_value = "tandem.toml", value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// How logs are written to stderr. TANDEM_LOG says which, such as info or tandem_engine=debug.
    #[arg(long, value_enum, default_value_t = LogFormat::Human)]
    pub(crate) log_format: LogFormat,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// A line for people, with colour on a terminal.
    Human,
    /// A JSON object a line.
    Json,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// The config file.
    #[arg(short, long, default_value = "tandem.toml", value_name = "FILE")]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MapVerb {
    /// List the maps
    List(List),
    /// Show a map
    Show(One),
    /// Show what an action would do, and what stands in its way; nothing is changed
    Plan(Plan),
    /// Start maps
    Run(Run),
    /// Queue changes instead of applying them; dependents pause, too
    Pause(Pause),
    /// Apply what was queued, in order, and go on
    Resume(Resume),
    /// Go live at once while resuming, and leave the rest of the queue behind
    Skip(Skip),
    /// End maps
    Stop(Stop),
    /// Wait until a map is in a state
    Wait(Wait),
}

#[derive(Debug, Subcommand)]
pub(crate) enum AppVerb {
    /// List the apps
    List,
    /// Pause every map of an app: it goes down for maintenance, or what is on its other side does
    Pause(PauseApp),
    /// Resume every map of an app
    Resume(ResumeApp),
    /// End every map of an app
    Stop(StopApp),
}

#[derive(Debug, clap::Args)]
pub(crate) struct OneApp {
    /// The app.
    pub(crate) app: String,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PauseApp {
    #[command(flatten)]
    pub(crate) window: Window,
    #[command(flatten)]
    pub(crate) app: OneApp,
}

#[derive(Debug, clap::Args)]
pub(crate) struct StopApp {
    #[command(flatten)]
    pub(crate) end: End,
    #[command(flatten)]
    pub(crate) app: OneApp,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ResumeApp {
    #[command(flatten)]
    pub(crate) pace: Pace,
    #[command(flatten)]
    pub(crate) along: Along,
    #[command(flatten)]
    pub(crate) app: OneApp,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GuardVerb {
    /// List what is refused now
    List,
    /// Print what frees an app of everything of ours, without a server: for the day when Tandem is gone
    Release(Release),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Release {
    /// Print the SQL; nothing is changed. There is no other way to release.
    #[arg(long, required = true)]
    pub(crate) sql: bool,
    /// Only of this app.
    pub(crate) app: Option<String>,
    /// The config file.
    #[arg(short, long, default_value = "tandem.toml", value_name = "FILE")]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QueueVerb {
    /// List queued records, oldest first
    List(QueueList),
    /// Show one queued record in full, and what would be written
    Show(QueueShow),
    /// Show how much is queued
    Stats(One),
    /// Write every record that is queued now to stdout, in order: a JSON object a line
    Export(One),
}

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

#[derive(Debug, Subcommand)]
pub(crate) enum RuleVerb {
    /// List the rules, and what they have done
    List,
    /// Let a rule act, at once and after a restart
    Enable(SwitchRule),
    /// Let a rule count only, at once and after a restart; what it holds stays until a person resumes it
    Disable(SwitchRule),
    /// Say when a rule would have fired, as far as what is recorded tells
    Test(TestRule),
}

#[derive(Debug, clap::Args)]
pub(crate) struct OneRule {
    /// The rule.
    pub(crate) rule: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SwitchRule {
    #[command(flatten)]
    pub(crate) one: OneRule,
    /// Why; it stands in the activity log.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) reason: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TestRule {
    #[command(flatten)]
    pub(crate) one: OneRule,
    /// How far to look back.
    #[arg(long, default_value = "7d", value_parser = duration, value_name = "DURATION")]
    pub(crate) since: Duration,
}

#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// The map.
    pub(crate) map: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// At most so many.
    #[arg(long)]
    pub(crate) limit: Option<usize>,
    /// Only what comes after this: 'next' of the page before.
    #[arg(long)]
    pub(crate) after: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// Why; it stands in the activity log.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) reason: String,
    /// Return when it has taken effect.
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long --wait waits.
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Ask nothing: agree to what loses data.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// The action.
    #[arg(value_parser = ["run", "pause", "resume", "skip", "stop"])]
    pub(crate) action: String,
    /// The maps.
    #[arg(required = true)]
    pub(crate) maps: Vec<String>,
    /// How a paused map would go on.
    #[arg(long, value_enum)]
    pub(crate) mode: Option<Mode>,
    /// What would become of the queue: a stop or a skip may need it.
    #[arg(long, value_enum)]
    pub(crate) queue: Option<Fate>,
    #[command(flatten)]
    pub(crate) along: Along,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// The maps: all of them, or none.
    #[arg(required = true)]
    pub(crate) maps: Vec<String>,
    /// Do not copy the records that are there; only what changes from now on.
    #[arg(long)]
    pub(crate) no_initial_sync: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Pause {
    /// The maps: all of them, or none.
    #[arg(required = true)]
    pub(crate) maps: Vec<String>,
    #[command(flatten)]
    pub(crate) window: Window,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Resume {
    /// The maps: all of them, or none.
    #[arg(required = true)]
    pub(crate) maps: Vec<String>,
    /// What becomes of the queue.
    #[arg(long, value_enum, default_value_t = Mode::CatchUp)]
    pub(crate) mode: Mode,
    /// Do nothing if another number of records is queued by now, all maps together.
    #[arg(long, value_name = "RECORDS")]
    pub(crate) expected: Option<u64>,
    #[command(flatten)]
    pub(crate) pace: Pace,
    #[command(flatten)]
    pub(crate) along: Along,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// When a pause is planned to end.
#[derive(Debug, clap::Args)]
pub(crate) struct Window {
    /// The pause is planned to last so long; when it is over it is told of. Of a map that you have paused already,
    /// the end is moved.
    #[arg(long = "for", value_parser = duration, value_name = "DURATION", conflicts_with = "until")]
    pub(crate) lasts: Option<Duration>,
    /// The pause is planned to last until then, such as 2026-11-22T23:00:00Z.
    #[arg(long, value_parser = moment, value_name = "TIME")]
    pub(crate) until: Option<Timestamp>,
    /// Resume the maps when the time is over, as 'resume' does, unless a limit blocks them or something else holds
    /// them, too.
    #[arg(long)]
    pub(crate) then_resume: bool,
}

/// Which other maps go along.
#[derive(Debug, clap::Args)]
pub(crate) struct Along {
    /// Resume the maps that these depend on as well, where they are paused, whoever paused them: you are asking for
    /// it. Their queues are always caught up with.
    #[arg(long)]
    pub(crate) with_parents: bool,
}

/// How fast a queue is applied.
#[derive(Debug, clap::Args)]
pub(crate) struct Pace {
    /// Apply at most so many records a second until the maps are live: for a destination that people are back on.
    /// Maps between the same two apps share it. A source transaction is never torn for it.
    #[arg(long, value_name = "RECORDS")]
    pub(crate) rate: Option<NonZeroU32>,
}

/// How a paused map goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// The queue first, in order; then live.
    CatchUp,
    /// Live at once; the queue becomes catch-up errors.
    SkipPreserve,
    /// Live at once; the queue is dropped.
    SkipDiscard,
}

#[derive(Debug, clap::Args)]
#[group(id = "fate", required = true)]
pub(crate) struct Skipped {
    /// The queue becomes catch-up errors.
    #[arg(long, group = "fate")]
    pub(crate) preserve: bool,
    /// The queue is dropped.
    #[arg(long, group = "fate")]
    pub(crate) discard: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Skip {
    /// The maps: all of them, or none.
    #[arg(required = true)]
    pub(crate) maps: Vec<String>,
    #[command(flatten)]
    pub(crate) fate: Skipped,
    /// Do nothing if another number of records is queued by now, all maps together.
    #[arg(long, value_name = "RECORDS")]
    pub(crate) expected: Option<u64>,
    #[command(flatten)]
    pub(crate) along: Along,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Stop {
    /// The maps: all of them, or none.
    #[arg(required = true)]
    pub(crate) maps: Vec<String>,
    #[command(flatten)]
    pub(crate) end: End,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// How maps are ended.
#[derive(Debug, clap::Args)]
pub(crate) struct End {
    /// What becomes of the queue: a map that is paused or resuming needs it.
    #[arg(long, value_enum)]
    pub(crate) queue: Option<Fate>,
    /// For an app that is gone for good: drop what is queued, wait some seconds for the apps that answer, give up the
    /// others, and say what is left behind in them and what removes it. Needs no --wait.
    #[arg(long)]
    pub(crate) force: bool,
}

impl Mode {
    /// Its name in the API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::CatchUp => "catch_up",
            Mode::SkipPreserve => "skip_preserve",
            Mode::SkipDiscard => "skip_discard",
        }
    }
}

/// What becomes of a queue that is not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fate {
    /// Its records become catch-up errors.
    Preserve,
    /// Its records are dropped.
    Discard,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Wait {
    /// The map.
    pub(crate) map: String,
    /// The state.
    #[arg(long = "for", value_name = "STATE", value_parser = ["not_running", "initializing", "running", "paused", "resuming"])]
    pub(crate) state: String,
    /// How long.
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, clap::Args)]
pub(crate) struct QueueList {
    /// The map.
    pub(crate) map: String,
    /// Only the record with this integration key; several columns as a|b.
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Only records whose integration key begins so, in its first column. Looks through the whole queue.
    #[arg(long, conflicts_with = "key")]
    pub(crate) prefix: Option<String>,
    #[command(flatten)]
    pub(crate) page: List,
}

#[derive(Debug, clap::Args)]
pub(crate) struct QueueShow {
    /// The map.
    pub(crate) map: String,
    /// The record's number, as 'queue list' shows it.
    pub(crate) seq: u64,
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

#[derive(Debug, clap::Args)]
pub(crate) struct ErrorRetry {
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
    /// Ask nothing: agree to what loses data.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Activity {
    /// Only what is about this map.
    #[arg(long)]
    pub(crate) map: Option<String>,
    /// Go on with what comes, until it is interrupted.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// At most so many.
    #[arg(long)]
    pub(crate) limit: Option<usize>,
    /// Only what is older than this: 'next' of the page before.
    #[arg(long, value_name = "ID", conflicts_with_all = ["since", "follow"])]
    pub(crate) after: Option<String>,
    /// What came after this entry, oldest first.
    #[arg(long, value_name = "ID")]
    pub(crate) since: Option<String>,
}

/// `90`, `90s`, `5m`, `1h30m`, `1d`: a number alone is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    quantity::duration(text).ok_or_else(|| "write it as 60s, 5m or 1h30m".to_owned())
}

/// `2026-11-22T23:00:00Z`, or with another offset.
fn moment(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "write it as 2026-11-22T23:00:00Z or 2026-11-23T00:00:00+01:00".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [("90", Some(90)), ("60s", Some(60)), ("5m", Some(300)), ("1h30m", Some(5400))]
        {
            assert_eq!(duration(text).ok().map(|d| d.as_secs()), seconds, "{text}");
        }
        assert!(duration("-5s").is_err() && duration("soon").is_err());
    }
}
