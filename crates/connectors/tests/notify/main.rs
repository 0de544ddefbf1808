//! Notifications against servers that listen on real sockets and do what a test tells them.

#![allow(clippy::unwrap_used, reason = "tests")]

mod servers;
mod smtp;
mod webhook;

use tandem_connectors::notify::Notification;
use tandem_core::WallTime;

const NOW: WallTime = WallTime(1_795_305_600_000_000);

fn notification() -> Notification {
    Notification {
        id: "n-1".to_owned(),
        subject: "customers is paused".to_owned(),
        lines: vec!["crm-down: the destination has not been reached for 10 s".to_owned()],
        map: Some("customers".into()),
        rule: Some("crm-down".into()),
        at: NOW,
    }
}
