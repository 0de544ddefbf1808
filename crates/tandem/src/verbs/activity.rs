//! `tandem activity`

use super::{Desk, Outcome};
use crate::args::Activity as Asked;
use crate::failure::Exit;
use crate::output::moment;
use std::time::Duration;
use tandem_server::ActivityWay as Way;
use tandem_server::wire::Activity;

/// How often following looks for more.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How much of the past following begins with.
const PAST: usize = 10;

pub(crate) async fn activity(desk: &Desk<'_>, asked: Asked) -> Outcome {
    if asked.follow {
        return follow(desk, asked).await;
    }
    let map = asked.map.as_deref();
    let page =
        desk.client.activity(map, way(asked.after.as_deref(), asked.since.as_deref()), asked.limit).await?;
    desk.output.data(&page, |page| page.items.iter().map(line).collect::<Vec<_>>().join("\n"));
    Ok(Exit::Ok)
}

/// Ends when it is interrupted, or when the server does.
async fn follow(desk: &Desk<'_>, asked: Asked) -> Outcome {
    let map = asked.map.as_deref();
    let mut since = asked.since;
    if since.is_none() {
        let limit = asked.limit.unwrap_or(PAST);
        let mut past = desk.client.activity(map, Way::Newest, Some(limit)).await?.items;
        past.reverse();
        past.iter().for_each(|entry| desk.output.entry(entry, line));
        since = Some(past.last().map_or(0, |entry| entry.id).to_string());
    }
    loop {
        let page = desk.client.activity(map, way(None, since.as_deref()), None).await?;
        for entry in &page.items {
            desk.output.entry(entry, line);
        }
        match page.items.last() {
            Some(last) => since = Some(last.id.to_string()),
            None => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

fn way<'a>(after: Option<&'a str>, since: Option<&'a str>) -> Way<'a> {
    match (after, since) {
        (Some(after), _) => Way::Back(after),
        (None, Some(since)) => Way::On(since),
        (None, None) => Way::Newest,
    }
}

fn line(entry: &Activity) -> String {
    let map = entry.map.as_ref().map(|map| format!(" {map}")).unwrap_or_default();
    let change = match (&entry.from, &entry.to) {
        (Some(from), Some(to)) => format!(" {from} → {to}"),
        (None, Some(to)) => format!(" → {to}"),
        (Some(_) | None, None) => String::new(),
    };
    let more = [&entry.reason, &entry.detail].into_iter().filter(|text| !text.is_empty());
    let more: String = more.map(|text| format!(": {text}")).collect();
    format!("{:>6}  {}  {}{map}{change} by {}{more}", entry.id, moment(entry.at), entry.event, entry.actor)
}
