//! `tandem queue show`

use crate::args::QueueShow as Asked;
use crate::failure::Exit;
use crate::output::{bytes, moment};
use crate::verbs::{Desk, Outcome, record};
use tandem_server::wire::QueuedRecordInFull;

pub(crate) async fn show(desk: &Desk<'_>, asked: Asked) -> Outcome {
    let found = desk.client.queued_record(&asked.map, asked.seq).await?;
    desk.output.data(&found, text);
    Ok(Exit::Ok)
}

fn text(found: &QueuedRecordInFull) -> String {
    let queued = &found.record;
    let facts = record::facts(&[
        ("seq", queued.seq.to_string()),
        ("op", queued.op.clone()),
        ("key", record::key(queued.key.as_ref())),
        ("table", queued.table.clone()),
        ("transaction", record::or_dash(&queued.transaction)),
        ("committed", moment(queued.committed_at)),
        ("captured", moment(queued.captured_at)),
        ("size", bytes(u64::from(queued.bytes))),
    ]);
    let source = record::source(queued.old.as_ref(), queued.new.as_ref());
    let destination = record::destination(found.image.as_ref(), found.unwritable.as_ref());
    format!("{facts}\n\n{source}\n\n{destination}")
}
