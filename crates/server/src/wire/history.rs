//! How a map's queue was, as clients see it.

use super::moment;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_core::{Trend, TrendPoint, TrendSteps};

/// How a map's queue was since the server started: the last hour in fine steps, the last day in coarse ones. They are
/// of the same time, and each has points only where the server ran.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct MapHistory {
    /// The finest first.
    pub steps: Vec<HistorySteps>,
}

/// Points at even steps.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct HistorySteps {
    /// How long a step is.
    pub step_seconds: u64,
    /// The points, the oldest first. Of steps in a row that are alike there are the first and the last.
    pub points: Vec<HistoryPoint>,
}

/// The most that was seen within a step.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct HistoryPoint {
    /// When the step began.
    pub at: Timestamp,
    /// Changes that were queued.
    pub records: u64,
    /// Bytes that count for the limit: of changes that waited, and of open errors.
    pub bytes: u64,
    /// How long ago the oldest of the changes had been captured; 0 if none waited.
    pub lag_seconds: f64,
}

impl From<&Trend> for MapHistory {
    fn from(trend: &Trend) -> Self {
        Self { steps: trend.steps().map(HistorySteps::from).into() }
    }
}

impl From<&TrendSteps> for HistorySteps {
    fn from(steps: &TrendSteps) -> Self {
        let points = steps.points().map(HistoryPoint::from).collect();
        Self { step_seconds: steps.every.as_secs(), points }
    }
}

impl From<TrendPoint> for HistoryPoint {
    fn from(point: TrendPoint) -> Self {
        Self {
            at: moment(point.at),
            records: point.most.records,
            bytes: point.most.bytes,
            lag_seconds: point.most.lag.as_secs_f64(),
        }
    }
}
