//! What figures are written with: a family at a time, and none that has no figure now.

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use std::fmt::Error;
use tandem_engine::{BUCKET_BOUNDS, Histogram};

/// The labels of one figure.
pub(super) type Labels<'a> = Vec<(&'static str, &'a str)>;

/// A family of figures: its name without the ending that says type and unit, what it is, and its unit.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) unit: Option<Unit>,
}

/// A family whose figures are numbers of something.
pub(super) const fn of(name: &'static str, help: &'static str) -> Family {
    Family { name, help, unit: None }
}

/// A family whose figures are seconds.
pub(super) const fn seconds(name: &'static str, help: &'static str) -> Family {
    Family { name, help, unit: Some(Unit::Seconds) }
}

/// A family whose figures are bytes.
pub(super) const fn bytes(name: &'static str, help: &'static str) -> Family {
    Family { name, help, unit: Some(Unit::Bytes) }
}

/// Where families are written.
pub(super) struct Sheet<'a, 'b>(pub(super) &'a mut DescriptorEncoder<'b>);

impl Sheet<'_, '_> {
    /// Figures that only rise.
    pub(super) fn counters<'l>(
        &mut self,
        family: &Family,
        figures: impl IntoIterator<Item = (Labels<'l>, u64)>,
    ) -> Result<(), Error> {
        self.each(family, MetricType::Counter, figures, |mut metric, count| {
            metric.encode_counter::<NoLabelSet, _, u64>(&count, None)
        })
    }

    /// Figures that rise and fall.
    pub(super) fn gauges<'l>(
        &mut self,
        family: &Family,
        figures: impl IntoIterator<Item = (Labels<'l>, i64)>,
    ) -> Result<(), Error> {
        self.each(family, MetricType::Gauge, figures, |mut metric, level| metric.encode_gauge(&level))
    }

    /// The same, of seconds with their parts.
    pub(super) fn times<'l>(
        &mut self,
        family: &Family,
        figures: impl IntoIterator<Item = (Labels<'l>, f64)>,
    ) -> Result<(), Error> {
        self.each(family, MetricType::Gauge, figures, |mut metric, time| metric.encode_gauge(&time))
    }

    /// How often something took how long.
    pub(super) fn histograms<'l>(
        &mut self,
        family: &Family,
        figures: impl IntoIterator<Item = (Labels<'l>, Histogram)>,
    ) -> Result<(), Error> {
        self.each(family, MetricType::Histogram, figures, |mut metric, Histogram { counts, sum }| {
            let bounds = BUCKET_BOUNDS.iter().map(std::time::Duration::as_secs_f64).chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
            let count = counts.iter().sum();
            metric.encode_histogram::<NoLabelSet>(sum.as_secs_f64(), count, &buckets, None)
        })
    }

    /// A family of figures; nothing at all of one that has none.
    fn each<'l, F>(
        &mut self,
        Family { name, help, unit }: &Family,
        kind: MetricType,
        figures: impl IntoIterator<Item = (Labels<'l>, F)>,
        write: impl Fn(MetricEncoder<'_>, F) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut figures = figures.into_iter().peekable();
        if figures.peek().is_none() {
            return Ok(());
        }
        let mut metric = self.0.encode_descriptor(name, help, unit.as_ref(), kind)?;
        figures.try_for_each(|(labels, figure)| write(metric.encode_family(&labels)?, figure))
    }
}

/// A gauge is signed, and no count comes near the end of that.
pub(super) fn signed(count: u64) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
