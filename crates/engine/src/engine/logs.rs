//! Reading what was recorded: activity and conflicts, a page at a time.

use super::{ActivityFrom, Engine};
use crate::env::blocking;
use crate::request::Rejected;
use crate::view::{ActivityEntry, Page};
use tandem_core::MapName;

/// Which activity to list.
#[derive(Debug, Clone, Default)]
pub struct ActivityQuery {
    /// Only entries about this map.
    pub map: Option<MapName>,
    /// Where to begin, and which way to go.
    pub from: ActivityFrom,
    /// At most so many.
    pub limit: usize,
}

impl Engine {
    /// The activity log.
    pub async fn activity(&self, query: ActivityQuery) -> Result<Page<ActivityEntry>, Rejected> {
        let store = self.store.clone();
        let read =
            blocking(&*self.env, move || store.activity(query.map.as_ref(), query.from, query.limit + 1));
        let mut items = read.await.map_err(|error| Rejected::Disk(error.to_string()))?;
        let more = items.len() > query.limit;
        items.truncate(query.limit);
        let next = items.last().filter(|_| more).map(|entry| entry.id);
        Ok(Page { items, next })
    }

    /// The conflicts of a map, or of all, the newest first; before this number, if it is given.
    pub async fn conflicts(
        &self,
        map: Option<MapName>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Page<(u64, crate::Conflict)>, Rejected> {
        let store = self.store.clone();
        let read = blocking(&*self.env, move || store.conflicts(map.as_ref(), before, limit + 1));
        let mut items = read.await.map_err(|error| Rejected::Disk(error.to_string()))?;
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|(id, _)| *id);
        Ok(Page { items, next })
    }
}
