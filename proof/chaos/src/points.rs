//! What has to be done for an engine to come to a fail point.

use tandem_engine::FailPoint;

/// What has to be done for a fail point to be passed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Load,
    Pause,
    Resume,
    /// A child that is paused while its parent loses records.
    Split,
    /// A queue that grows for some segments.
    LongPause,
    /// A queue that is preserved, and retried.
    Errors,
}

pub(crate) fn need(point: FailPoint) -> Need {
    let name = point.name();
    match name.split_once('.').map_or(name, |(subject, _)| subject) {
        "pause" | "paused" | "let_go" => Need::Pause,
        "resume" | "caught_up" | "join" | "open" => Need::Resume,
        "split" => Need::Split,
        "skip" | "errors" | "retry" => Need::Errors,
        "shelf" => Need::LongPause,
        _ => Need::Load,
    }
}

/// How often a point is passed before it ends a life, at most: points under load are passed all the time.
pub(crate) fn passes_max(point: FailPoint) -> u64 {
    match point.name().split_once('.').map_or("", |(subject, _)| subject) {
        "journal" | "commit" => 60,
        "progress" | "segment" | "reclaim" | "shelf" => 5,
        _ => 1,
    }
}
