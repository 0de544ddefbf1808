//! `[[rules]]`.

use super::check_name;
use super::place::Spanned;
use super::scalar::{Reader, Scalar};
use super::schedule;
use super::schema::{Count, ErrorClass, Name, Part, Period, names};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tandem_core::rules::{
    BadRule, COOLDOWN_DEFAULT, COUNT_MAX, ErrorClasses, MapSelection, OF_LAST_MAX, RESUMES_PER_HOUR_DEFAULT,
    RESUMES_PER_HOUR_MAX, ResumeBy, Rule, RuleAction, Then, When,
};
use tandem_core::{FaultClass, MapName};

/// The longest name of a rule: it stands in the reason of a pause.
const RULE_NAME_MAX: usize = 100;
/// What `when` may be, for messages.
const WHENS: &str = "write one of { count = 10, within = \"15m\" }, { ratio = 0.05, of_last = 500 }, { queue_full = 0.9 }, { lag = \"5m\" }, { destination_unreachable = \"10s\" }, { source_unreachable = \"1m\" }, { schedule = \"Sun 02:00 Europe/Prague\", lasting = \"2h\" }";
const ACTIONS: [(&str, RuleAction); 3] =
    [("none", RuleAction::Nothing), ("pause", RuleAction::Pause(ResumeBy::Hand)), ("stop", RuleAction::Stop)];
/// Whether a rule resumes what it has paused.
const RESUMES: [(&str, bool); 2] = [("when_healthy", true), ("by_hand", false)];
/// What stands for every map.
const ALL_MAPS: &str = "*";

/// A rule: when something happens, something is done.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRule {
    /// Its name in commands and reasons; unique.
    #[schemars(with = "Name")]
    name: Spanned<String>,
    /// The maps that it watches; all of them without it, or with "*".
    maps: Option<Vec<Spanned<String>>>,
    /// When it fires.
    when: Spanned<RawWhen>,
    /// What happens then.
    then: Spanned<RawThen>,
    /// How long it does not fire again.
    #[schemars(with = "Option<Period>")]
    cooldown: Option<Spanned<Scalar>>,
    /// Whether it acts; yes without it.
    #[schemars(extend("default" = true))]
    enabled: Option<bool>,
}

/// One reason to fire, with what belongs to it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
pub(crate) struct RawWhen {
    /// Beside count: only errors of these classes.
    #[schemars(with = "Option<Vec<ErrorClass>>")]
    error_class: Option<Vec<Spanned<String>>>,
    /// So many errors within a time.
    #[schemars(with = "Option<Count>", extend("maximum" = COUNT_MAX))]
    count: Option<Spanned<Scalar>>,
    /// Beside count: the time.
    #[schemars(with = "Option<Period>")]
    within: Option<Spanned<Scalar>>,
    /// The part of the last records that failed.
    #[schemars(with = "Option<Part>")]
    ratio: Option<Spanned<Scalar>>,
    /// Beside ratio: how many records.
    #[schemars(with = "Option<Count>", extend("maximum" = OF_LAST_MAX))]
    of_last: Option<Spanned<Scalar>>,
    /// The part of a limit that the queue has reached.
    #[schemars(with = "Option<Part>")]
    queue_full: Option<Spanned<Scalar>>,
    /// How far a running map is behind.
    #[schemars(with = "Option<Period>")]
    lag: Option<Spanned<Scalar>>,
    /// For how long the destination has not answered.
    #[schemars(with = "Option<Period>")]
    destination_unreachable: Option<Spanned<Scalar>>,
    /// For how long the source has not answered.
    #[schemars(with = "Option<Period>")]
    source_unreachable: Option<Spanned<Scalar>>,
    /// A time of the week: "Sun 02:00 Europe/Prague", "Mon-Fri 22:30".
    schedule: Option<Spanned<String>>,
    /// Beside schedule: how long.
    #[schemars(with = "Option<Period>")]
    lasting: Option<Spanned<Scalar>>,
}

/// What a rule does.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
pub(crate) struct RawThen {
    /// What it does to its maps; none without it.
    #[schemars(extend("enum" = names(&ACTIONS)))]
    action: Option<Spanned<String>>,
    /// Whether it resumes by itself what it has paused.
    #[schemars(extend("enum" = names(&RESUMES), "default" = "by_hand"))]
    resume: Option<Spanned<String>>,
    /// How often it may do so.
    #[schemars(with = "Option<Count>", extend("maximum" = RESUMES_PER_HOUR_MAX))]
    resumes_per_hour: Option<Spanned<Scalar>>,
    /// Whom it tells, by their names in [notify].
    #[serde(default)]
    notify: Vec<Spanned<String>>,
}

/// What a rule may speak of.
pub(super) struct Known<'a> {
    pub(super) maps: &'a BTreeSet<MapName>,
    pub(super) targets: &'a [String],
}

/// Understands the rules. Of one that is wrong only the errors are kept.
pub(super) fn understand(raws: &[RawRule], known: &Known<'_>, reader: &mut Reader<'_>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for raw in raws {
        let name = raw.name.get_ref();
        if let Err(why) = check_name(name, RULE_NAME_MAX) {
            let why = format!("'{name}' is no name of a rule: {why}");
            reader.refuse(raw.name.span(), why, "name it after what it watches: crm-down");
        }
        if rules.iter().any(|other| *other.name == **name) {
            let why = format!("there is another rule named '{name}'");
            reader.refuse(raw.name.span(), why, "give each rule a name of its own");
        }
        rules.extend(one(raw, known, reader));
    }
    rules
}

fn one(raw: &RawRule, known: &Known<'_>, reader: &mut Reader<'_>) -> Option<Rule> {
    let maps = maps(raw.maps.as_deref(), known, reader);
    let when = when(&raw.when, reader);
    let then = then(&raw.then, known, reader);
    let cooldown = match &raw.cooldown {
        Some(given) => reader.duration("cooldown", given),
        None => Some(COOLDOWN_DEFAULT),
    };
    let rule = Rule {
        name: raw.name.get_ref().as_str().into(),
        maps,
        when: when?,
        then: then?,
        cooldown: cooldown?,
        enabled: raw.enabled.unwrap_or(true),
    };
    match rule.check() {
        Ok(()) => return Some(rule),
        Err(why @ BadRule::NeverWell) => {
            let place = raw.then.get_ref().resume.as_ref().map_or(raw.then.span(), Spanned::span);
            reader.refuse(place, why.to_string(), "take resume out; a person resumes such a map");
        }
        Err(why @ BadRule::Idle) => {
            let fix = "write action = \"pause\", or notify = [\"ops\"] with [notify.ops]";
            reader.refuse(raw.then.span(), why.to_string(), fix);
        }
    }
    None
}

fn maps(given: Option<&[Spanned<String>]>, known: &Known<'_>, reader: &mut Reader<'_>) -> MapSelection {
    let Some(given) = given else { return MapSelection::All };
    if given.iter().any(|map| map.get_ref() == ALL_MAPS) {
        return MapSelection::All;
    }
    let mut maps = BTreeSet::new();
    for map in given {
        let name = MapName::from(map.get_ref().as_str());
        if !known.maps.contains(&name) {
            let all: Vec<&str> = known.maps.iter().map(MapName::as_str).collect();
            let all = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
            reader.refuse(map.span(), format!("there is no map '{name}'"), format!("the maps are {all}"));
        }
        maps.insert(name);
    }
    MapSelection::Only(maps)
}

fn when(given: &Spanned<RawWhen>, reader: &mut Reader<'_>) -> Option<When> {
    let raw = given.get_ref();
    let kinds = [
        raw.count.as_ref().map(Spanned::span),
        raw.ratio.as_ref().map(Spanned::span),
        raw.queue_full.as_ref().map(Spanned::span),
        raw.lag.as_ref().map(Spanned::span),
        raw.destination_unreachable.as_ref().map(Spanned::span),
        raw.source_unreachable.as_ref().map(Spanned::span),
        raw.schedule.as_ref().map(Spanned::span),
    ];
    let mut kinds = kinds.into_iter().flatten();
    if let (Some(_), Some(second)) = (kinds.next(), kinds.next()) {
        reader.refuse(second, "a rule has one reason to fire", "write a rule for each");
        return None;
    }
    companions(raw, reader)?;
    if let Some(count) = &raw.count {
        let within = needed(raw.within.as_ref(), "within", "count", count.span(), reader);
        let count = reader.count("count", count, 1..=COUNT_MAX);
        let within = within.and_then(|within| reader.duration("within", within));
        let classes = classes(raw.error_class.as_deref(), reader);
        return Some(When::Errors { classes: classes?, count: count?, within: within? });
    }
    if let Some(ratio) = &raw.ratio {
        let of_last = needed(raw.of_last.as_ref(), "of_last", "ratio", ratio.span(), reader);
        let ratio = reader.share("ratio", ratio);
        let of_last = of_last.and_then(|of_last| reader.count("of_last", of_last, 1..=OF_LAST_MAX));
        return Some(When::FailedShare { ratio: ratio?, of_last: of_last? });
    }
    if let Some(queue_full) = &raw.queue_full {
        return reader.share("queue_full", queue_full).map(When::QueueFull);
    }
    if let Some(schedule) = &raw.schedule {
        let lasting = needed(raw.lasting.as_ref(), "lasting", "schedule", schedule.span(), reader);
        return schedule::understand(schedule, lasting?, reader).map(When::Schedule);
    }
    type OfTime = fn(Duration) -> When;
    let times: [(&str, &Option<Spanned<Scalar>>, OfTime); 3] = [
        ("lag", &raw.lag, When::Lag),
        ("destination_unreachable", &raw.destination_unreachable, When::DestinationUnreachable),
        ("source_unreachable", &raw.source_unreachable, When::SourceUnreachable),
    ];
    for (key, time, make) in times {
        if let Some(time) = time {
            return reader.duration(key, time).map(make);
        }
    }
    reader.refuse(given.span(), "the rule does not say when it fires", WHENS);
    None
}

/// Refuses a key that stands without the one that it goes with: it would mean nothing.
fn companions(raw: &RawWhen, reader: &mut Reader<'_>) -> Option<()> {
    let classes = raw.error_class.as_ref().map(|classes| classes.first().map_or(0..0, Spanned::span));
    let span = |given: &Option<Spanned<Scalar>>| given.as_ref().map(Spanned::span);
    let mut sound = Some(());
    for (key, place, leader, there) in [
        ("error_class", classes, "count", raw.count.is_some()),
        ("within", span(&raw.within), "count", raw.count.is_some()),
        ("of_last", span(&raw.of_last), "ratio", raw.ratio.is_some()),
        ("lasting", span(&raw.lasting), "schedule", raw.schedule.is_some()),
    ] {
        if let (Some(place), false) = (place, there) {
            reader.refuse(place, format!("'{key}' goes with '{leader}'"), WHENS);
            sound = None;
        }
    }
    sound
}

fn needed<'a>(
    given: Option<&'a Spanned<Scalar>>,
    key: &str,
    leader: &str,
    place: Range<usize>,
    reader: &mut Reader<'_>,
) -> Option<&'a Spanned<Scalar>> {
    if given.is_none() {
        reader.refuse(place, format!("'{leader}' needs '{key}' beside it"), WHENS);
    }
    given
}

fn classes(given: Option<&[Spanned<String>]>, reader: &mut Reader<'_>) -> Option<ErrorClasses> {
    let Some(given) = given else { return Some(ErrorClasses::Any) };
    let names = FaultClass::ALL.map(|class| (class, class.to_string()));
    let words: Vec<(&str, FaultClass)> = names.iter().map(|(class, name)| (name.as_str(), *class)).collect();
    let read: Vec<Option<FaultClass>> =
        given.iter().map(|word| reader.word("error_class", word, &words)).collect();
    let classes = read.into_iter().collect::<Option<BTreeSet<FaultClass>>>()?;
    Some(if classes.is_empty() { ErrorClasses::Any } else { ErrorClasses::Only(classes) })
}

fn then(given: &Spanned<RawThen>, known: &Known<'_>, reader: &mut Reader<'_>) -> Option<Then> {
    let raw = given.get_ref();
    let mut notify: Vec<Arc<str>> = Vec::new();
    for target in &raw.notify {
        let name = target.get_ref();
        if !known.targets.contains(name) {
            let all = if known.targets.is_empty() { "none".to_owned() } else { known.targets.join(", ") };
            let fix = format!("the targets are {all}; add [notify.{name}] with smtp or webhook");
            reader.refuse(target.span(), format!("there is nobody to notify named '{name}'"), fix);
        }
        notify.push(name.as_str().into());
    }
    let action = match &raw.action {
        Some(action) => reader.word("action", action, &ACTIONS)?,
        None => RuleAction::Nothing,
    };
    let Some(resume) = &raw.resume else {
        if let Some(stray) = &raw.resumes_per_hour {
            let fix = "write resume = \"when_healthy\" beside it, or take it out";
            reader.refuse(stray.span(), "'resumes_per_hour' goes with 'resume'", fix);
        }
        return Some(Then { notify, action });
    };
    let by_rule = reader.word("resume", resume, &RESUMES)?;
    if action != RuleAction::Pause(ResumeBy::Hand) {
        let fix = "write action = \"pause\", or take resume out";
        reader.refuse(resume.span(), "only what was paused can be resumed", fix);
        return None;
    }
    let per_hour = match &raw.resumes_per_hour {
        Some(given) => reader.count("resumes_per_hour", given, 1..=RESUMES_PER_HOUR_MAX)?,
        None => RESUMES_PER_HOUR_DEFAULT,
    };
    let by = if by_rule { ResumeBy::Rule { per_hour } } else { ResumeBy::Hand };
    Some(Then { notify, action: RuleAction::Pause(by) })
}
