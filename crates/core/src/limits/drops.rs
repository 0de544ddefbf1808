//! When records are dropped, once a limit that was chosen to lose some demands it.
//!
//! Each time is told in the activity log, with its count. So it is done for many records at once: each minute, or when a
//! sixteenth of the limit has come together. The queue is over its limit by so much at most, and the log grows with what
//! is lost and not with time alone.
//!
//! For the same reason *what comes now is lost* does not end with the first byte that is free again, but with a
//! sixteenth of the limit: what is kept and what is lost would alternate with every record otherwise.

use super::{Demand, Judgement, Level, Limits, WhenFull};
use std::time::Duration;

/// At the latest.
const EVERY: Duration = Duration::from_secs(60);
/// The part of a limit that is worth it.
const PART: u32 = 16;

/// Whether it is time to drop what is to be dropped. `since_last`: none if nothing was dropped in this pause yet.
pub fn drop_is_due(limits: &Limits, judgement: &Judgement, since_last: Option<Duration>) -> bool {
    let Some(since_last) = since_last else { return true };
    let ages = [limits.max_pause_age, limits.queue_retention].into_iter().flatten();
    let every = ages.map(|age| age / PART).fold(EVERY, Duration::min);
    let many = judgement.bytes.is_some_and(|full| {
        let over = full.used.saturating_sub(full.max);
        over > 0 && over >= full.max / u64::from(PART)
    });
    since_last >= every || many
}

/// Whether what comes is to be dropped on, of a map of which it was.
pub fn drops_on(limits: &Limits, judgement: &Judgement) -> bool {
    let nearly_full = |full: crate::Fullness| full.used >= full.max - full.max / u64::from(PART);
    match judgement.level {
        Level::Hard { demand, .. } => matches!(demand, Demand::DropNewest { .. }),
        Level::Below | Level::Soft(_) => {
            limits.when_full == WhenFull::DropNewLosesData && judgement.bytes.is_some_and(nearly_full)
        }
    }
}
