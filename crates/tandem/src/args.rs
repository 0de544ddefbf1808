//! The command line: the contract with people and scripts, in one place.

mod error;
mod map;

pub(crate) use error::*;
pub(crate) use map::*;

use crate::quantity;
use clap::{Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use std::path::PathBuf;
use std::time::Duration;
use tandem_core::Role;

/// Keeps the records of two apps in step, and lets either one go down without losing a change.
#[derive(Debug, Parser)]
#[command(name = "tandem", version, propagate_version = true, after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Where the server is: https://HOST:PORT, or http:// on this machine.
    #[arg(
        long,
        global = true,
        env = "TANDEM_SERVER",
        default_value = "http://127.0.0.1:7070",
        value_name = "URL",
        help_heading = EVERYWHERE
    )]
    pub(crate) server: String,
    /// A file in PEM with the authority that signed the server's certificate, to trust in place of those of the system.
    #[arg(long, global = true, env = "TANDEM_CA", value_name = "FILE", help_heading = EVERYWHERE)]
    pub(crate) ca: Option<PathBuf>,
    /// A file with the token to ask with. Without it: TANDEM_TOKEN, or the token of a server that this user runs.
    #[arg(long, global = true, env = "TANDEM_TOKEN_FILE", value_name = "FILE", help_heading = EVERYWHERE)]
    pub(crate) token_file: Option<PathBuf>,
    /// How data is written to stdout.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table, help_heading = EVERYWHERE)]
    pub(crate) output: Format,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What every verb takes stands behind what it takes itself.
const EVERYWHERE: &str = "Everywhere";

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
    /// Print the JSON Schema of the config, for editors
    Schema(Schema),
    /// Have the server read its config again, after showing what that changes
    Reload(Reload),
    /// Write what others need to help into one file, without records and secrets
    Bundle(Bundle),
    /// Show all maps, live: state, queue, rate, lag, errors
    Top(Top),
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
    /// What both sides of a two-way map have changed at once: list
    #[command(subcommand)]
    Conflict(ConflictVerb),
    /// Rules: list, enable, disable, and test when one would have fired
    #[command(subcommand)]
    Rule(RuleVerb),
    /// What was done, by whom and why
    Activity(Activity),
    /// Tokens, and what they may do: create, list, revoke
    #[command(subcommand)]
    Token(TokenVerb),
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

#[derive(Debug, clap::Args)]
pub(crate) struct Schema {
    /// That of a file in the folder maps/ instead.
    #[arg(long)]
    pub(crate) map_file: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Reload {
    /// Only show what would change.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Ask nothing.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Why; it stands in the activity log.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) reason: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Bundle {
    /// The file that is written. It must not be there.
    #[arg(default_value = "tandem-bundle.json", value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The config file, which is put in as it is if a server would take it.
    #[arg(short, long, default_value = "tandem.toml", value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Also check the maps against their apps.
    #[arg(long)]
    pub(crate) check: bool,
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

#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Make a token and write it to stdout: it is never shown again
    Create(CreateToken),
    /// List the tokens, and when each was used last
    List,
    /// Take a token back, at once
    Revoke(RevokeToken),
}

#[derive(Debug, clap::Args)]
pub(crate) struct CreateToken {
    /// Its name: who did it, in the activity log.
    pub(crate) name: String,
    /// What it may do: viewer sees states and figures, operator sees records and acts on maps, admin does everything.
    #[arg(long, value_parser = role)]
    pub(crate) role: Role,
    /// Only this map; may be given several times.
    #[arg(long = "map", value_name = "MAP")]
    pub(crate) maps: Vec<String>,
    /// How long it is good for; for ever without.
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub(crate) expires: Option<Duration>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RevokeToken {
    /// The token's name.
    pub(crate) name: String,
    /// Do nothing if the name stands for another token than the one that was made then, as 'token list -o json' has it.
    #[arg(long, value_parser = moment, value_name = "TIME")]
    pub(crate) created_at: Option<Timestamp>,
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
pub(crate) struct QueueList {
    /// The map.
    pub(crate) map: String,
    /// Only the record with this integration key; several columns as a|b.
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Only records whose integration key begins so, in its first column. Looks through the whole queue.
    #[arg(long, conflicts_with = "key")]
    pub(crate) prefix: Option<String>,
    /// Only what happened so. Looks through the whole queue.
    #[arg(long, value_enum)]
    pub(crate) op: Option<Op>,
    /// Only what the source committed then or later: a time, or how long ago, such as 2h. Looks through the whole queue.
    #[arg(long, value_parser = past, value_name = "TIME")]
    pub(crate) since: Option<Timestamp>,
    /// Only what the source committed before: a time, or how long ago. Looks through the whole queue.
    #[arg(long, value_parser = past, value_name = "TIME")]
    pub(crate) until: Option<Timestamp>,
    #[command(flatten)]
    pub(crate) page: List,
}

/// What happened to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Op {
    Insert,
    Update,
    Delete,
    Truncate,
}

impl Op {
    /// Its name in the API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Op::Insert => "insert",
            Op::Update => "update",
            Op::Delete => "delete",
            Op::Truncate => "truncate",
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct QueueShow {
    /// The map.
    pub(crate) map: String,
    /// The record's number, as 'queue list' shows it.
    pub(crate) seq: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConflictVerb {
    /// Conflicts, the newest first
    List(ConflictList),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ConflictList {
    /// Only those of this map.
    pub(crate) map: Option<String>,
    /// At most so many.
    #[arg(long)]
    pub(crate) limit: Option<usize>,
    /// Only what is older than this: 'next' of the page before.
    #[arg(long, value_name = "ID")]
    pub(crate) after: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Top {
    /// Show it once and end, after the second that a rate takes.
    #[arg(long)]
    pub(crate) once: bool,
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

fn role(text: &str) -> Result<Role, String> {
    Role::named(text).ok_or_else(|| format!("there are {}", Role::ALL.map(Role::name).join(", ")))
}

/// `2026-11-22T23:00:00Z`, or with another offset.
fn moment(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "write it as 2026-11-22T23:00:00Z or 2026-11-23T00:00:00+01:00".to_owned())
}

/// A moment, or one so long ago: `2h`.
fn past(text: &str) -> Result<Timestamp, String> {
    match quantity::duration(text).map(|ago| Timestamp::now().checked_sub(ago)) {
        Some(Ok(then)) => Ok(then),
        Some(Err(_)) => Err("that is before all time".to_owned()),
        None => moment(text).map_err(|why| format!("{why}, or how long ago: 90s, 5m, 2h")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn help_begins_with_what_it_is_for() {
        let help = <Args as clap::CommandFactory>::command().render_help().to_string();
        assert!(help.starts_with("Keeps the records of two apps in step"), "{help}");
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
