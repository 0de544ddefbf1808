//! `tandem reload`: shows what would change, and asks before it does. What is agreed to is done, and nothing else: if the file is
//! another one by then, nothing is.

use super::map::actor;
use super::{Desk, Outcome};
use crate::args::Reload as Asked;
use crate::failure::{Exit, Failure};
use crate::output::{can_ask, table};
use comfy_table::Cell;
use std::io::BufRead;
use tandem_server::Shown;
use tandem_server::wire::{ConfigChange, ReloadRequest, Reloaded};

pub(crate) async fn reload(desk: &Desk<'_>, asked: Asked) -> Outcome {
    let request = |dry_run| ReloadRequest { dry_run, reason: asked.reason.clone(), actor: Some(actor()) };
    let Shown { answer: planned, tag } = desk.client.reload(&request(true), None).await?;
    if asked.dry_run || planned.changes.is_empty() {
        show(desk, &planned);
        if planned.changes.is_empty() && desk.output.is_for_people() {
            desk.output.say("nothing to do: what runs is what the config says");
        }
        return Ok(Exit::Ok);
    }
    // Who asks nothing has seen nothing, and means whatever it is.
    let seen = match asked.yes {
        true => None,
        false => {
            agree(desk, &planned)?;
            tag
        }
    };
    let done = desk.client.reload(&request(false), seen.as_deref()).await?;
    show(desk, &done.answer);
    Ok(Exit::Ok)
}

fn show(desk: &Desk<'_>, reloaded: &Reloaded) {
    desk.output.data(reloaded, |reloaded| drawn(&reloaded.changes));
}

fn drawn(changes: &[ConfigChange]) -> String {
    let row = |change: &ConfigChange| {
        [change.subject.clone(), change.name.clone(), change.change.clone(), change.keys.join(", ")]
            .map(Cell::new)
    };
    match changes.is_empty() {
        true => String::new(),
        false => table(["WHAT", "NAME", "CHANGE", "KEYS"], changes.iter().map(row)),
    }
}

fn agree(desk: &Desk<'_>, planned: &Reloaded) -> Result<(), Failure> {
    desk.output.say(&drawn(&planned.changes));
    if !can_ask() {
        return Err(Failure::new(Exit::Usage, "nothing was changed, since nobody can be asked")
            .fix("add --yes if that is what you want, or --dry-run to see it only"));
    }
    desk.output.say("Type yes to go on:");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    match read.is_ok() && answer.trim() == "yes" {
        true => Ok(()),
        false => Err(Failure::new(Exit::Failed, "nothing was changed: it was not agreed to")),
    }
}
