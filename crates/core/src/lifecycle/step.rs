//! The transitions. One match, whose last arms refuse.

use super::{Action, Hold, HoldNote, Initializing, MapState, Phase, QueueFate, ResumeMode};
use crate::WallTime;

/// Something that happens to a map: somebody asks for an action, or the engine reports a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An action other than pause.
    Act(Action),
    /// A hold is put on it, by a person or by the engine.
    Hold(Hold, HoldNote),
    /// A hold is taken off it by what put it there. Only `resume` takes a user's own hold off.
    Lift(Hold),
    /// Its tables are in capture: everything after a known Seq is ours.
    Entered,
    /// The copy has ended.
    Copied {
        /// Without errors.
        clean: bool,
    },
    /// Its lane has let go of it: nothing of it is being written.
    LetGo,
    /// Its queue is empty and it is a member of the live lane.
    CaughtUp,
}

/// An action that the state does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is {state} and {needs}")]
pub struct Refused {
    /// The state that it is in, as people see it.
    pub state: &'static str,
    /// What would have to be so.
    pub needs: String,
}

/// The state that follows, or a refusal. A fact that comes late (the state has moved on) changes nothing.
pub fn step(state: &MapState, event: Event, now: WallTime) -> Result<MapState, Refused> {
    use Phase::{Initializing as Init, NotRunning, Paused, Resuming, Running};
    let enter = |phase: Phase| Ok(MapState { phase, since: now, holds: state.holds.clone() });
    let free = |phase: Phase| Ok(MapState { phase, since: now, holds: Default::default() });
    let same = || Ok(state.clone());
    match (state.phase, event) {
        (NotRunning, Event::Act(Action::Run { initial_sync: false })) => free(Init(Initializing::Entering)),
        (NotRunning, Event::Act(Action::Run { initial_sync: true })) => {
            free(Init(Initializing::EnteringToCopy))
        }
        (NotRunning, Event::Act(Action::Edit | Action::Delete)) => same(),

        (Init(Initializing::Failed), Event::Act(Action::Rerun { .. })) => enter(Init(Initializing::Copying)),
        (Init(Initializing::Failed), Event::Act(Action::SkipInitialSync)) => enter(Running),
        (Init(_), Event::Act(Action::Stop(_))) => free(NotRunning),
        (Init(Initializing::Entering), Event::Entered) => enter(Running),
        (Init(Initializing::EnteringToCopy), Event::Entered) => enter(Init(Initializing::Copying)),
        (Init(Initializing::Copying), Event::Copied { clean: true }) => enter(Running),
        (Init(Initializing::Copying), Event::Copied { clean: false }) => enter(Init(Initializing::Failed)),

        (Running, Event::Act(Action::Stop(_))) => free(NotRunning),
        (Running | Paused, Event::Hold(hold, note)) => held(state, hold, note),
        (Resuming, Event::Hold(hold, note)) => {
            // A map that catches up is in a lane like a running one, and pauses the same way: it is let go first.
            let state = MapState { phase: Running, since: now, holds: state.holds.clone() };
            held(&state, hold, note)
        }
        (Running, Event::LetGo) if !state.holds.is_empty() => enter(Paused),

        (Running, Event::Lift(hold)) => lifted(state, &hold, now),
        (Paused, Event::Lift(hold)) => lifted(state, &hold, now),
        (Paused, Event::Act(Action::Resume(mode))) => resume(state, mode, now),
        (Paused, Event::Act(Action::Edit)) => same(),
        (Paused | Resuming, Event::Act(Action::Stop(Some(_)))) => free(NotRunning),

        (Resuming, Event::Act(Action::Skip(QueueFate::Preserve | QueueFate::Discard))) => free(Running),
        (Resuming, Event::CaughtUp) => enter(Running),

        (_, Event::Lift(_) | Event::Entered | Event::Copied { .. } | Event::LetGo | Event::CaughtUp) => {
            same()
        }
        (_, Event::Act(action)) => Err(refused(state, action)),
        (_, Event::Hold(..)) => Err(refused(state, Action::Pause)),
    }
}

/// A held map is pausing or paused; a second hold of the same kind says nothing new, and the first keeps its note.
fn held(state: &MapState, hold: Hold, note: HoldNote) -> Result<MapState, Refused> {
    if hold == Hold::User && state.holds.contains_key(&hold) {
        return Err(refused(state, Action::Pause));
    }
    let mut next = state.clone();
    next.holds.entry(hold).or_insert(note);
    Ok(next)
}

/// The last hold taken off by what put it there lets the map go on by itself.
fn lifted(state: &MapState, hold: &Hold, now: WallTime) -> Result<MapState, Refused> {
    let mut next = state.clone();
    if next.holds.remove(hold).is_some() && next.holds.is_empty() && next.phase == Phase::Paused {
        next.phase = Phase::Resuming;
        next.since = now;
    }
    Ok(next)
}

/// A person resumes: their word takes every hold off but those of parents, which are not theirs to take off here.
fn resume(state: &MapState, mode: ResumeMode, now: WallTime) -> Result<MapState, Refused> {
    let parents: Vec<String> = state
        .holds
        .keys()
        .filter_map(|hold| match hold {
            Hold::Parent(map) => Some(map.to_string()),
            Hold::User | Hold::Rule(_) | Hold::Limit | Hold::System(_) => None,
        })
        .collect();
    if !parents.is_empty() {
        return Err(Refused {
            state: "paused",
            needs: format!(
                "depends on {}, which must be live first (--with-parents resumes it, too)",
                parents.join(", ")
            ),
        });
    }
    let phase = match mode {
        ResumeMode::CatchUp => Phase::Resuming,
        ResumeMode::SkipPreserve | ResumeMode::SkipDiscard => Phase::Running,
    };
    Ok(MapState { phase, since: now, holds: Default::default() })
}

fn refused(state: &MapState, action: Action) -> Refused {
    let needs = match action {
        Action::Run { .. } => "run needs a map that is not running",
        Action::Rerun { .. } | Action::SkipInitialSync => "this needs an initial sync that ended with errors",
        Action::Pause if state.is_pausing() => "a pause was already asked for",
        Action::Pause if state.phase == Phase::Paused => "you paused it already",
        Action::Pause => "pause needs a map that is running or resuming",
        Action::Resume(_) if state.is_pausing() => {
            "resume needs a paused map; wait until the pause has taken effect"
        }
        Action::Resume(_) => "resume needs a paused map",
        Action::Skip(_) => "skip needs a map that is resuming",
        Action::Stop(None) if matches!(state.phase, Phase::Paused | Phase::Resuming) => {
            "has a queue: say what becomes of it with --queue preserve or --queue discard"
        }
        Action::Stop(_) => "stop needs a map that was run",
        Action::Edit => "edit needs a map that is not running or paused",
        Action::Delete => "delete needs a map that is not running",
    };
    let state = if state.is_pausing() { "pausing" } else { state.phase.name() };
    Refused { state, needs: needs.to_owned() }
}

/// The actions that the state allows now, for every surface to show.
pub fn allowed(state: &MapState) -> Vec<Action> {
    let note = || HoldNote { since: WallTime(0), actor: "".into(), reason: "".into() };
    let mut actions: Vec<Action> = Action::all()
        .into_iter()
        .filter(|action| {
            let event = match action {
                Action::Pause => Event::Hold(Hold::User, note()),
                other => Event::Act(*other),
            };
            step(state, event, WallTime(0)).is_ok()
        })
        .collect();
    actions.sort();
    actions.dedup();
    actions
}
