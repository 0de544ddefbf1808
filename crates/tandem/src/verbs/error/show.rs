//! `tandem error show`

use crate::args::ErrorShow as Asked;
use crate::failure::Exit;
use crate::output::{moment, printable};
use crate::verbs::{Desk, Outcome, record};
use tandem_server::wire::{RecordError, RecordErrorInFull};

pub(crate) async fn show(desk: &Desk<'_>, asked: Asked) -> Outcome {
    let found = desk.client.error(&asked.id).await?;
    desk.output.data(&found, text);
    Ok(Exit::Ok)
}

fn status(error: &RecordError) -> String {
    match error.superseded_by {
        Some(seq) => format!("{} by Seq {seq}", error.status),
        None => error.status.clone(),
    }
}

fn text(found: &RecordErrorInFull) -> String {
    let error = &found.error;
    let code = error.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
    let tried = match error.attempts {
        0 => "never: it was not tried".to_owned(),
        1 => format!("once, {}", moment(error.last_at)),
        more => format!("{more} times, {} to {}", moment(error.first_at), moment(error.last_at)),
    };
    let mut lines = vec![
        ("error", error.id.clone()),
        ("map", error.map.clone()),
        ("status", status(error)),
        ("class", format!("{}{code}", error.class)),
        ("message", format!("{}: {}", error.operation, printable(&error.message))),
        ("fix", printable(error.fix.as_deref().unwrap_or("-"))),
        ("refused", tried),
        ("seq", error.seq.to_string()),
        ("op", error.op.clone().unwrap_or_else(|| "?".to_owned())),
        ("key", record::key(error.key.as_ref())),
        ("table", error.table.clone().unwrap_or_else(|| "?".to_owned())),
        ("transaction", record::or_dash(&error.transaction)),
    ];
    let Some(committed) = error.committed_at else {
        lines.push(("record", "not kept".to_owned()));
        return record::facts(&lines);
    };
    lines.push(("committed", moment(committed)));
    let source = record::source(error.old.as_ref(), error.new.as_ref());
    let destination = record::destination(found.image.as_ref(), found.unwritable.as_ref());
    format!("{}\n\n{source}\n\n{destination}", record::facts(&lines))
}
