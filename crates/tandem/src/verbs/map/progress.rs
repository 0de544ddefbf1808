//! How a catch-up or an initial sync gets on, in words, and as a bar while somebody waits for its end.
//!
//! The bar is for a person who watches: it is drawn on stderr, only on a terminal, and leaves nothing behind. What
//! a script waits for looks the same with it and without it.

use crate::output::{bytes, count, watches};
use crate::verbs::Desk;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;
use tandem_server::wire::{CatchUp, InitialSync, Map};

/// How often the bar looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Watches a map's catch-up or initial sync as long as nobody drops it; nothing at all unless somebody looks on.
pub(super) async fn watch(desk: &Desk<'_>, map: &str) {
    if !watches() {
        return std::future::pending().await;
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{prefix} [{bar:30}] {percent} % {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar.set_prefix(map.to_owned());
    let bar = Wiped(bar);
    loop {
        // Who cannot be asked now is asked again; whoever waits hears of it in another way.
        match desk.client.map(map).await {
            Ok(Map { catch_up: Some(catch_up), .. }) => {
                bar.0.set_length(catch_up.applied + catch_up.records);
                bar.0.set_position(catch_up.applied);
                bar.0.set_message(left(&catch_up));
            }
            Ok(Map { initial_sync: Some(copy), .. }) if copy.ended_at.is_none() => {
                bar.0.set_length(copy.rows_total_estimate.unwrap_or(0).max(copy.rows_done));
                bar.0.set_position(copy.rows_done);
                bar.0.set_message(copied(&copy));
            }
            _ => {}
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A bar that is wiped from the terminal when it is dropped, whenever that is.
struct Wiped(ProgressBar);

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// How much of a catch-up is done, in hundredths.
pub(super) fn percent(catch_up: &CatchUp) -> u64 {
    let whole = catch_up.applied.saturating_add(catch_up.records);
    let part = u128::from(catch_up.applied) * 100;
    part.checked_div(u128::from(whole)).map_or(100, |percent| u64::try_from(percent).unwrap_or(100))
}

/// What is left, how fast it goes and how long it takes.
pub(super) fn left(catch_up: &CatchUp) -> String {
    format!(
        "{} left ({}), {}, {}",
        count(catch_up.records),
        bytes(catch_up.bytes),
        rates(catch_up),
        eta(catch_up)
    )
}

/// What an initial sync has done, how fast it goes and how long it takes.
pub(super) fn copied(copy: &InitialSync) -> String {
    let of = copy.rows_total_estimate.map(|all| format!(" of about {}", count(all))).unwrap_or_default();
    let rate = copy.rows_per_second.map(|rate| format!(", {rate:.0}/s")).unwrap_or_default();
    let eta = copy.eta_seconds.map(|seconds| format!(", done in {}", long(seconds))).unwrap_or_default();
    format!("{} rows{of}{rate}{eta}", count(copy.rows_done))
}

/// How fast it goes, and how fast more comes.
pub(super) fn rates(catch_up: &CatchUp) -> String {
    let cap = catch_up.rate_cap.map(|cap| format!(" (at most {cap}/s)")).unwrap_or_default();
    match (catch_up.rate, catch_up.arrival_rate) {
        (Some(rate), Some(arrivals)) => format!("{rate:.1}/s applied{cap}, {arrivals:.1}/s coming"),
        _ => format!("rate not known yet{cap}"),
    }
}

/// How long it takes.
pub(super) fn eta(catch_up: &CatchUp) -> String {
    match (catch_up.eta_seconds, catch_up.rate) {
        (Some(seconds), _) => format!("done in {}", long(seconds)),
        (None, Some(_)) => "never done at this pace".to_owned(),
        (None, None) => "end not known yet".to_owned(),
    }
}

/// A time in its largest unit.
pub(in crate::verbs) fn long(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catch_up(applied: u64, records: u64, rates: Option<(f64, f64)>, eta_seconds: Option<u64>) -> CatchUp {
        CatchUp {
            since: jiff::Timestamp::UNIX_EPOCH,
            applied,
            records,
            bytes: records * 100,
            rate: rates.map(|rates| rates.0),
            arrival_rate: rates.map(|rates| rates.1),
            rate_cap: (applied == 10).then_some(1),
            eta_seconds,
        }
    }

    #[test]
    fn a_catch_up_is_told_as_people_read_it() {
        for (seen, done, said) in [
            (catch_up(0, 50, None, None), 0, "50 left (5.0 kB), rate not known yet, end not known yet"),
            (
                catch_up(300, 12_480, Some((512.04, 40.0)), Some(26)),
                2,
                "12 480 left (1.2 MB), 512.0/s applied, 40.0/s coming, done in 26 s",
            ),
            (
                catch_up(10, 10, Some((1.0, 2.0)), None),
                50,
                "10 left (1.0 kB), 1.0/s applied (at most 1/s), 2.0/s coming, never done at this pace",
            ),
            (catch_up(0, 0, None, Some(0)), 100, "0 left (0 B), rate not known yet, done in 0 s"),
        ] {
            assert_eq!((percent(&seen), left(&seen)), (done, said.to_owned()));
        }
    }
}
