//! What the verbs of maps and apps take.

use super::{Common, List, One, duration, moment};
use clap::{Subcommand, ValueEnum};
use jiff::Timestamp;
use std::num::NonZeroU32;
use std::time::Duration;

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
    /// Compare both tables while everything goes on; ends with 7 if records differ
    Verify(Verify),
    /// Show what a map makes of a row; nothing is written
    Try(Try),
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
    /// Go on behind a gap in an app's log: what was changed within it is not known, and its maps stay paused until they
    /// are resumed
    AcceptGap(OneApp),
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
    /// Copy the records that are there first, also of maps that are declared with initial_sync = false.
    #[arg(long, conflicts_with_all = ["no_initial_sync", "without_failed"])]
    pub(crate) initial_sync: bool,
    /// Do not copy the records that are there; only what changes from now on. After an initial sync that ended with
    /// errors: go on without the rows that failed.
    #[arg(long)]
    pub(crate) no_initial_sync: bool,
    /// After an initial sync that ended with errors: copy again, and leave out the rows that failed.
    #[arg(long, conflicts_with = "no_initial_sync")]
    pub(crate) without_failed: bool,
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
pub(crate) struct Verify {
    /// The map.
    pub(crate) map: String,
    /// Make the other side equal to this one: what differs there is written over, what is only there is deleted. A map
    /// that goes one way can be repaired from its source only.
    #[arg(long, value_name = "SIDE", value_parser = ["left", "right"])]
    pub(crate) repair: Option<String>,
    /// Show at most so many differences; all are counted.
    #[arg(long, value_name = "RECORDS")]
    pub(crate) limit: Option<usize>,
    /// Show the rows of both sides, too: they are values of your records.
    #[arg(long)]
    pub(crate) rows: bool,
    /// End the one that goes on, begin none.
    #[arg(long, conflicts_with = "repair")]
    pub(crate) cancel: bool,
    /// Repair only the records that differed in the last comparison, the one that began then ('started_at'); if it is
    /// another one by now, or does not list each of them, do nothing.
    #[arg(long, value_name = "TIME", value_parser = moment, requires = "repair")]
    pub(crate) seen: Option<Timestamp>,
    /// Why, for the activity log.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) reason: String,
    /// Do not ask before a repair, and repair whatever differs by then.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Try {
    /// The map.
    pub(crate) map: String,
    /// The row of the source, by column, such as '{"no": 1, "name": "Ann"}'. Decimals, dates and times are text.
    #[arg(long, value_name = "JSON", value_parser = object)]
    pub(crate) row: serde_json::Map<String, serde_json::Value>,
    /// Where the row goes to; a map that goes one way needs none.
    #[arg(long, value_name = "SIDE", value_parser = ["left", "right"])]
    pub(crate) to: Option<String>,
}

/// A JSON object, as somebody typed it.
fn object(text: &str) -> Result<serde_json::Map<String, serde_json::Value>, String> {
    serde_json::from_str(text).map_err(|why| format!("this is no JSON object: {why}"))
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
