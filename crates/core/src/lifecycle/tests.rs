//! The whole state × event table, and the sentences behind it.

use super::*;

const NOW: WallTime = WallTime(1_000);

fn note() -> HoldNote {
    HoldNote { since: NOW, actor: "ann".into(), reason: "upgrade".into() }
}

fn state(phase: Phase, holds: &[Hold]) -> MapState {
    MapState { phase, since: WallTime(0), holds: holds.iter().map(|hold| (hold.clone(), note())).collect() }
}

fn shown(state: &MapState) -> String {
    let phase = match state.phase {
        Phase::Initializing(how) => format!("initializing/{how:?}"),
        other => other.name().to_owned(),
    };
    let holds: Vec<String> = state.holds.keys().map(ToString::to_string).collect();
    if holds.is_empty() { phase } else { format!("{phase}[{}]", holds.join(",")) }
}

fn states() -> Vec<MapState> {
    let parent = || Hold::Parent("customers".into());
    vec![
        state(Phase::NotRunning, &[]),
        state(Phase::Initializing(Initializing::Entering), &[]),
        state(Phase::Initializing(Initializing::EnteringToCopy), &[]),
        state(Phase::Initializing(Initializing::Copying), &[]),
        state(Phase::Initializing(Initializing::Failed), &[]),
        state(Phase::Running, &[]),
        state(Phase::Running, &[Hold::User]),
        state(Phase::Paused, &[Hold::User]),
        state(Phase::Paused, &[parent()]),
        state(Phase::Paused, &[Hold::User, parent()]),
        state(Phase::Paused, &[Hold::Limit]),
        state(Phase::Resuming, &[]),
    ]
}

fn events() -> Vec<(String, Event)> {
    let mut events: Vec<(String, Event)> = Action::all()
        .into_iter()
        .filter(|action| *action != Action::Pause)
        .map(|action| (format!("{action:?}"), Event::Act(action)))
        .collect();
    events.push(("Pause".into(), Event::Hold(Hold::User, note())));
    events.push(("Hold(parent)".into(), Event::Hold(Hold::Parent("customers".into()), note())));
    events.push(("Hold(limit)".into(), Event::Hold(Hold::Limit, note())));
    events.push(("Lift(parent)".into(), Event::Lift(Hold::Parent("customers".into()))));
    events.push(("Entered".into(), Event::Entered));
    events.push(("Copied(clean)".into(), Event::Copied { clean: true }));
    events.push(("Copied(errors)".into(), Event::Copied { clean: false }));
    events.push(("LetGo".into(), Event::LetGo));
    events.push(("CaughtUp".into(), Event::CaughtUp));
    events
}

/// The table is a file beside this one, so that a change of behaviour is seen as a change of a table.
#[test]
fn the_whole_table_is_as_written_down() {
    let mut table = String::new();
    for from in states() {
        table.push_str(&format!("{}\n", shown(&from)));
        for (name, event) in events() {
            let to = match step(&from, event, NOW) {
                Ok(next) if next == from => continue,
                Ok(next) => shown(&next),
                Err(refused) => format!("refused: {refused}"),
            };
            table.push_str(&format!("    {name:<34} {to}\n"));
        }
    }
    let written = include_str!("table.txt");
    if table != written {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/lifecycle/table.txt.new");
        std::fs::write(path, &table).unwrap();
        panic!("the table is not as written down in table.txt; the new one is in {path}");
    }
}

#[test]
fn every_state_allows_what_the_design_says() {
    let names = |phase, holds: &[Hold]| {
        let mut names: Vec<&str> = allowed(&state(phase, holds)).into_iter().map(Action::name).collect();
        names.dedup();
        names
    };
    assert_eq!(names(Phase::NotRunning, &[]), ["run", "edit", "delete"]);
    assert_eq!(names(Phase::Initializing(Initializing::Copying), &[]), ["stop"]);
    assert_eq!(names(Phase::Initializing(Initializing::Failed), &[]), ["rerun", "skip_initial_sync", "stop"]);
    assert_eq!(names(Phase::Running, &[]), ["pause", "stop"]);
    assert_eq!(names(Phase::Paused, &[Hold::User]), ["resume", "stop", "edit"]);
    assert_eq!(names(Phase::Resuming, &[]), ["pause", "skip", "stop"]);
}

#[test]
fn a_map_runs_again_by_itself_only_when_its_last_hold_is_lifted() {
    let parent = Hold::Parent("customers".into());
    let both = state(Phase::Paused, &[Hold::User, parent.clone()]);
    let user_left = step(&both, Event::Lift(parent.clone()), NOW).unwrap();
    assert_eq!(shown(&user_left), "paused[user]");
    let parent_only = state(Phase::Paused, std::slice::from_ref(&parent));
    assert_eq!(shown(&step(&parent_only, Event::Lift(parent), NOW).unwrap()), "resuming");
}

#[test]
fn a_map_that_is_held_by_a_parent_names_it_when_it_refuses_to_resume() {
    let held = state(Phase::Paused, &[Hold::Parent("customers".into())]);
    let refused = step(&held, Event::Act(Action::Resume(ResumeMode::CatchUp)), NOW).unwrap_err();
    assert!(refused.to_string().contains("customers"), "{refused}");
}

#[test]
fn nothing_of_a_held_map_may_be_applied() {
    for state in states() {
        let duties = duties(&state);
        assert!(state.holds.is_empty() || !duties.apply, "{}", shown(&state));
        assert_eq!(duties.capture, state.phase != Phase::NotRunning, "{}", shown(&state));
    }
}

#[test]
fn a_window_that_is_over_resumes_only_what_nobody_and_nothing_else_holds() {
    let paused = |holds: &[Hold]| state(Phase::Paused, holds);
    let waits = |why: &str| Due::Waits(why.to_owned());
    let (user, rule) = (Hold::User, Hold::Rule("crm-down".into()));
    for (until, then_resume, state, limit_blocks, expected) in [
        (1_001, true, paused(&[Hold::User]), false, Due::Nothing),
        (1_000, true, paused(&[Hold::User]), false, Due::Resume),
        (999, false, paused(&[Hold::User]), false, Due::Reminder),
        (999, false, paused(&[user.clone(), rule.clone()]), true, Due::Reminder),
        (999, true, state(Phase::Running, &[Hold::User]), false, waits("is still pausing")),
        (
            999,
            true,
            paused(&[Hold::User]),
            true,
            waits("has reached a limit, and only a person resumes it then"),
        ),
        (
            999,
            true,
            paused(&[Hold::User, Hold::Limit]),
            false,
            waits("has reached a limit, and only a person resumes it then"),
        ),
        (999, true, paused(&[user.clone(), rule]), false, waits("is held by others, too (rule crm-down)")),
        (
            999,
            true,
            paused(&[user, Hold::Parent("customers".into())]),
            false,
            waits("depends on customers, which is paused, too"),
        ),
    ] {
        let window = Window { until: WallTime(until), then_resume, told: false };
        assert_eq!(
            window.due(&state, limit_blocks, NOW),
            expected,
            "{until} {then_resume} {}",
            shown(&state)
        );
    }
}
