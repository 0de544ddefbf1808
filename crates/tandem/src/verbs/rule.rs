//! `tandem rule …`

use super::map::actor;
use super::{Desk, Outcome};
use crate::args::{OneRule, SwitchRule, TestRule};
use crate::failure::Exit;
use crate::output::{moment, table};
use comfy_table::Cell;
use jiff::{SignedDuration, Timestamp};
use tandem_server::wire::{Firing, Rule};

pub(crate) async fn list(desk: &Desk<'_>) -> Outcome {
    let page = desk.client.rules().await?;
    desk.output.data(&page, |page| {
        table(["RULE", "STATE", "WHEN", "THEN", "HOLDS", "LAST FIRED"], page.items.iter().map(row))
    });
    Ok(Exit::Ok)
}

fn row(rule: &Rule) -> [Cell; 6] {
    let holds = rule.maps.iter().filter(|on_map| on_map.holds).map(|on_map| match on_map.resumes_left {
        Some(0) => format!("{} (no resume left this hour)", on_map.map),
        _ => on_map.map.clone(),
    });
    let fired = rule.maps.iter().filter_map(|on_map| on_map.fired_at).max();
    let then = match (rule.action.as_str(), rule.resumes_per_hour) {
        ("none", _) => "tell".to_owned(),
        (action, Some(per_hour)) => format!("{action}, resume up to {per_hour} times an hour"),
        (action, None) => action.to_owned(),
    };
    [
        Cell::new(&rule.name),
        Cell::new(if rule.enabled { "enabled" } else { "disabled" }),
        Cell::new(&rule.when),
        Cell::new(then),
        Cell::new(holds.collect::<Vec<_>>().join(", ")),
        Cell::new(fired.map(moment).unwrap_or_default()),
    ]
}

pub(crate) async fn enable(desk: &Desk<'_>, asked: SwitchRule) -> Outcome {
    switch(desk, asked, true).await
}

pub(crate) async fn disable(desk: &Desk<'_>, asked: SwitchRule) -> Outcome {
    switch(desk, asked, false).await
}

async fn switch(desk: &Desk<'_>, asked: SwitchRule, enabled: bool) -> Outcome {
    let SwitchRule { one: OneRule { rule }, reason } = asked;
    let rule = desk.client.switch_rule(&rule, enabled, reason, actor()).await?;
    desk.output.data(&rule, |rule| {
        format!("{} is {}", rule.name, if rule.enabled { "enabled" } else { "disabled" })
    });
    let held: Vec<&str> =
        rule.maps.iter().filter(|on_map| on_map.holds).map(|on_map| on_map.map.as_str()).collect();
    if !enabled && !held.is_empty() {
        let held = held.join(" ");
        desk.output.say(&format!("it still holds {held}; a person resumes: tandem map resume {held}"));
    }
    Ok(Exit::Ok)
}

pub(crate) async fn test(desk: &Desk<'_>, asked: TestRule) -> Outcome {
    let back = SignedDuration::try_from(asked.since).unwrap_or(SignedDuration::MAX);
    let since = Timestamp::now().saturating_sub(back).unwrap_or(Timestamp::MIN);
    let tested = desk.client.test_rule(&asked.one.rule, since).await?;
    desk.output.data(&tested, |tested| {
        let row =
            |firing: &Firing| [moment(firing.at), firing.map.clone(), firing.why.clone()].map(Cell::new);
        match tested.items.is_empty() {
            true => String::new(),
            false => table(["AT", "MAP", "WHY"], tested.items.iter().map(row)),
        }
    });
    if desk.output.is_for_people() {
        let (times, since) = (tested.items.len(), moment(tested.since));
        let times = if times == 1 { "once".to_owned() } else { format!("{times} times") };
        desk.output.say(&format!("it would have fired {times} since {since}"));
        tested.unknown.iter().for_each(|unknown| desk.output.say(&format!("not known: {unknown}")));
    }
    Ok(Exit::Ok)
}
