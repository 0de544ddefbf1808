//! `tandem map try`

use crate::args::Try;
use crate::failure::Exit;
use crate::verbs::{Desk, Outcome, record};
use tandem_server::wire::TryRequest;

/// Ends with 1 if the row would be set aside.
pub(crate) async fn try_row(desk: &Desk<'_>, asked: Try) -> Outcome {
    let request = TryRequest { row: asked.row, to: asked.to };
    let tried = desk.client.try_row(&asked.map, &request).await?;
    desk.output.data(&tried, |tried| record::destination(tried.image.as_ref(), tried.unwritable.as_ref()));
    Ok(if tried.unwritable.is_none() { Exit::Ok } else { Exit::Failed })
}
