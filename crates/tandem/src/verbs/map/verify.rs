//! `tandem map verify`

use super::{actor, typed};
use crate::args::Verify;
use crate::failure::{Exit, Failure};
use crate::output::{age, can_ask, count, table, value, watches};
use crate::verbs::record::key;
use crate::verbs::{Desk, Outcome};
use comfy_table::Cell;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use serde_json::{Map as Object, Value as Json};
use std::time::Duration;
use tandem_server::wire::{Difference, Verification, VerifyRequest};

/// How often it is looked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(crate) async fn verify(desk: &Desk<'_>, asked: Verify) -> Outcome {
    if asked.cancel {
        show(desk, &desk.client.cancel_verify(&asked.map).await?);
        return Ok(Exit::Ok);
    }
    let seen = match &asked.repair {
        Some(side) if !asked.yes => Some(agree(desk, &asked.map, side, asked.seen).await?),
        Some(_) | None => asked.seen,
    };
    let request = VerifyRequest {
        repair: asked.repair,
        seen,
        limit: asked.limit,
        reason: asked.reason,
        actor: Some(actor()),
    };
    desk.client.verify(&asked.map, &request).await?;
    let bar = watches().then(bar);
    let ended = loop {
        let seen = desk.client.verification(&asked.map, false).await?;
        if !seen.goes_on() {
            break desk.client.verification(&asked.map, asked.rows).await?;
        }
        if let Some(bar) = &bar {
            draw(bar, &seen);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    show(desk, &ended);
    match ended.state.as_str() {
        "done" => {}
        "cancelled" => return Err(Failure::new(Exit::Failed, "somebody has ended it")),
        _ => {
            let why = ended.fault.unwrap_or_else(|| "the engine does not say why".to_owned());
            return Err(Failure::new(Exit::Failed, why).fix("what was found until then is shown above"));
        }
    }
    if ended.queued > 0 {
        desk.output.say(&format!(
            "{} records have queued changes and were not compared: resume the map, then verify again",
            count(ended.queued)
        ));
    }
    if ended.moving > 0 {
        desk.output.say(&format!(
            "{} records were changed each time that they were looked at: verify again when less is going on",
            count(ended.moving)
        ));
    }
    if ended.has_error > 0 {
        desk.output.say(&format!(
            "{} records have open errors: tandem error list {}",
            count(ended.has_error),
            ended.map
        ));
    }
    if !ended.looks_back {
        desk.output.say(
            "records that only the destination has were not looked for: the map changes the key on its way there",
        );
    }
    Ok(if ended.left_differing() > 0 { Exit::Differs } else { Exit::Ok })
}

/// A person at a terminal agrees to repair what the last comparison has found, and nothing else. Says which one that is.
async fn agree(
    desk: &Desk<'_>,
    map: &str,
    side: &str,
    seen: Option<Timestamp>,
) -> Result<Timestamp, Failure> {
    let other = if side == "left" { "right" } else { "left" };
    let effect = format!("writes over and deletes what differs on the {other} side of {map}");
    if !can_ask() {
        return Err(Failure::new(Exit::Usage, format!("--repair {side} {effect}"))
            .fix("look at the differences without --repair first, then add --yes if that is what you want"));
    }
    let found = desk.client.verification(map, false).await?;
    if seen.is_some_and(|seen| seen != found.started_at) || found.goes_on() {
        return Err(Failure::new(Exit::Refused, "nothing was changed: it was compared again since")
            .fix(format!("look at what differs now: tandem map verify {map}")));
    }
    show(desk, &found);
    desk.output.say(&format!(
        "The comparison that began {} ago found {} records that differ. --repair {side} {effect}: these records and no others. \
         Type the map's name to go on:",
        age(found.started_at),
        count(found.differing),
    ));
    typed(map)?;
    Ok(found.started_at)
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{bar:30} {percent} %  {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn draw(bar: &ProgressBar, seen: &Verification) {
    if let Some(estimate) = seen.rows_estimate {
        bar.set_length(estimate.max(seen.rows_read));
    }
    bar.set_position(seen.rows_read);
    let waits = seen.fault.as_ref().map(|fault| format!(", waits: {fault}")).unwrap_or_default();
    bar.set_message(format!("{} rows read, {} differ{waits}", count(seen.rows_read), count(seen.differing)));
}

fn show(desk: &Desk<'_>, seen: &Verification) {
    desk.output.data(seen, |seen| {
        let figures = [
            ("equal", seen.equal),
            ("changed", seen.changed),
            ("missing on the left", seen.missing_left),
            ("missing on the right", seen.missing_right),
            ("refused by the map", seen.refused),
            ("repaired", seen.repaired),
            ("left out by a filter", seen.left_out),
            ("queued", seen.queued),
            ("with an open error", seen.has_error),
            ("moving", seen.moving),
        ];
        let always =
            |name: &str| matches!(name, "equal" | "changed" | "missing on the left" | "missing on the right");
        let told = figures.into_iter().filter(|(name, records)| *records > 0 || always(name));
        let rows = told.map(|(name, records)| [Cell::new(name), Cell::new(count(records))]);
        let mut said = table(["RECORDS", "COUNT"], rows);
        if !seen.differences.is_empty() {
            said.push_str("\n\n");
            // A side that has no record is a dash; where nobody asked for rows, each would be one.
            said.push_str(
                &match seen.differences.iter().any(|one| one.left.is_some() || one.right.is_some()) {
                    true => table(["KEY", "DIFFERENCE", "LEFT", "RIGHT"], seen.differences.iter().map(line)),
                    false => table(["KEY", "DIFFERENCE"], seen.differences.iter().map(short)),
                },
            );
        }
        said
    });
}

fn line(one: &Difference) -> [Cell; 4] {
    let [key, kind] = short(one);
    [key, kind, Cell::new(row(one.left.as_ref())), Cell::new(row(one.right.as_ref()))]
}

fn short(one: &Difference) -> [Cell; 2] {
    let repaired = match one.repaired {
        Some(true) => ", repaired",
        Some(false) => ", not repaired",
        None => "",
    };
    [Cell::new(key(Some(&one.key))), Cell::new(format!("{}{repaired}", one.kind))]
}

fn row(row: Option<&Object<String, Json>>) -> String {
    let Some(row) = row else { return "-".to_owned() };
    row.iter().map(|(name, part)| format!("{name}={}", value(part))).collect::<Vec<_>>().join(" ")
}
