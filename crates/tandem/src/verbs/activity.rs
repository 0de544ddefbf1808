//! `tandem activity`

use super::{Desk, Outcome};
use crate::args::Activity as Asked;
use crate::failure::Exit;
use crate::output::moment;
use std::time::Duration;
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
    let page = desk.client.activity(map, asked.page.after.as_deref(), asked.page.limit).await?;
    desk.output.data(&page, |page| page.items.iter().map(line).collect::<Vec<_>>().join("\n"));
    Ok(Exit::Ok)
}

/// Ends when it is interrupted, or when the server does.
async fn follow(desk: &Desk<'_>, asked: Asked) -> Outcome {
    let map = asked.map.as_deref();
    let mut after = asked.page.after;
    if after.is_none() {
        let limit = asked.page.limit.unwrap_or(PAST);
        let mut past = desk.client.activity(map, None, Some(limit)).await?.items;
        past.sort_by_key(|entry| entry.id);
        past.iter().for_each(|entry| desk.output.entry(entry, line));
        after = Some(past.last().map_or(0, |entry| entry.id).to_string());
    }
    loop {
        let page = desk.client.activity(map, after.as_deref(), None).await?;
        for entry in &page.items {
            desk.output.entry(entry, line);
        }
        match page.items.last() {
            Some(last) => after = Some(last.id.to_string()),
            None => tokio::time::sleep(LOOK_EVERY).await,
        }
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
