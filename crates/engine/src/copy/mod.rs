//! The initial sync: rows that are there already, brought to the destination while everybody goes on writing.
//!
//! A *window* is a barrier in the source's log, a read of rows, and another barrier. Its rows take their place in the
//! stream behind the second barrier, less each record that the log names since the first: what is left is as it is to
//! be at that place, whatever was going on. So live changes are applied from the beginning, in order, and nothing is
//! locked, no snapshot is kept, and no row is in the journal.
//!
//! - [`reader`] reads: one task per flow, a window ahead of what is being written.
//! - [`desk`] is where a window waits for the lane of its flow; it keeps the progress, too.
//! - `stream::copying` writes: the lane takes a window when it stands behind its second barrier.
//!
//! A change that cannot be written because the copy has not come to its record yet is no error: the record is noted, and
//! looked at again when every chunk is written, in rounds as long as a round gets some of them through. What is refused
//! in the last round is an error.

mod desk;
mod reader;

pub(crate) use desk::{Desk, Kind, Window};
pub(crate) use reader::{Reader, read};

use std::time::Duration;

/// Rows that one chunk may hold, unless an engine is tuned otherwise.
pub(crate) const CHUNK_ROWS: usize = 10_000;
/// Bytes that one chunk may hold.
const CHUNK_BYTES: usize = 8 << 20;
/// Records that are looked at again in one window: each may need a place of its own in the log.
const AGAIN_AT_ONCE: usize = 500;
/// Windows that wait to be written.
const AHEAD: usize = 2;
/// How long a read that failed waits before it is tried again, at first and at last.
const WAIT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
