//! Why something does not go on now, and when it is tried again.

use std::time::Duration;
use tandem_core::Fault;

/// First wait before something that failed is tried again; doubled each time.
const WAIT_MIN: Duration = Duration::from_millis(50);
/// Last wait.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// A fault that waiting may mend. The default is *no fault*.
#[derive(Debug, Default, Clone)]
pub(crate) struct Retry {
    fault: Option<Fault>,
    since: Duration,
    at: Duration,
    wait: Duration,
}

impl Retry {
    /// It failed, for the first time or again.
    pub(crate) fn failed(&mut self, fault: Fault, now: Duration) {
        self.failed_since(fault, now, now);
    }

    /// It failed in an attempt that began earlier.
    pub(crate) fn failed_since(&mut self, fault: Fault, since: Duration, now: Duration) {
        if self.fault.is_none() {
            self.since = since;
        }
        self.wait = if self.wait.is_zero() { WAIT_MIN } else { (self.wait * 2).min(WAIT_MAX) };
        self.at = now + self.wait;
        self.fault = Some(fault);
    }

    /// The last fault.
    pub(crate) fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// Whether it may be tried now.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        self.fault.is_none() || now >= self.at
    }

    /// When it is tried again.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.fault.is_some().then_some(self.at)
    }

    /// For how long it has failed.
    pub(crate) fn lasts(&self, now: Duration) -> Duration {
        if self.fault.is_some() { now.saturating_sub(self.since) } else { Duration::ZERO }
    }
}
