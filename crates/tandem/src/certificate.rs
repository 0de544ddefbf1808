//! Saying in the log, in good time, that the server's certificate is about to expire: a server runs for months, and nobody
//! looks at `check` or the console as long as all goes well.

use jiff::Timestamp;
use std::time::{Duration, Instant};
use tandem_server::Identity;
use tokio::sync::watch;

/// How often it is said of one certificate.
const EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// Looks at what is shown for as long as it is.
pub(crate) async fn watch_over(mut shown: watch::Receiver<Identity>) {
    let mut said = None;
    loop {
        let validity = shown.borrow_and_update().validity();
        let finding = validity.and_then(|validity| validity.finding(Timestamp::now()));
        // A reload may show the same one again.
        let is_due = said.is_none_or(|(of, at): (_, Instant)| of != validity || at.elapsed() >= EVERY);
        if let Some(finding) = finding.filter(|_| is_due) {
            tracing::warn!(fix = finding.fix.unwrap_or_default(), "{}", finding.message);
            said = Some((validity, Instant::now()));
        }
        tokio::select! {
            changed = shown.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
