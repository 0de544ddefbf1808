//! Looking at what was set aside.

use super::Engine;
use crate::env::blocking;
use crate::request::Rejected;
use crate::store::{ErrorQuery, SetAside};
use crate::view::Page;
use tandem_core::Write;
use tandem_core::map::{Projection, Refusal};

/// An error, and what would be written if its change were applied now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorInFull {
    /// The error, with its change.
    pub error: SetAside,
    /// What the map makes of the change as the map stands now, or why it cannot be written. `None` if the change was
    /// not kept, or nothing follows the map's source now.
    pub image: Option<Result<Write, Refusal>>,
}

impl Engine {
    /// A page of the errors that a query asks for, in the order in which they were noted. It may have fewer than its
    /// limit if their records are large; `next` says whether there may be more.
    pub async fn errors(&self, query: ErrorQuery) -> Result<Page<SetAside>, Rejected> {
        let store = self.store.clone();
        let read = blocking(&*self.env, move || store.errors(&query));
        read.await.map_err(|error| Rejected::Disk(error.to_string()))
    }

    /// One error, with what would be written.
    pub async fn error(&self, id: u64) -> Result<ErrorInFull, Rejected> {
        let store = self.store.clone();
        let read = blocking(&*self.env, move || store.error(id));
        let read = read.await.map_err(|error| Rejected::Disk(error.to_string()))?;
        let error = read.ok_or(Rejected::UnknownError(id))?;
        // A map that is gone has no flow any more; its errors are shown until they go, too.
        let located = self.locate(&error.map).await.unwrap_or_default();
        let image = error.kept.as_ref().and_then(|kept| {
            let at = located.iter().find(|at| at.flow == error.flow)?;
            Some(Projection::once(&at.spec, &kept.change, error.seq, kept.transaction))
        });
        Ok(ErrorInFull { error, image })
    }
}
