//! Telling people: by e-mail, and by a signed POST.
//!
//! A [`Notifier`] sends one [`Notification`] and says what became of it, as a [`Fault`] with a class: a transient
//! one is worth another try, which is the caller's to make, with the same `id`, so that whoever gets it twice can
//! see that. It tries once, within [`SEND_WITHIN`], and keeps nothing: no connection, no queue.
//!
//! What it keeps to:
//!
//! - A message holds what it was given and nothing else: whoever makes a notification puts no value of a record
//!   into it. A fault names the host and never a password, a secret, or the path of a webhook, which is one.
//! - Over a network everything is encrypted, and the other side shows a certificate that is valid for its name.
//!   A password is never sent before that. Only on this machine it goes without.
//! - A webhook goes to the address in the config and nowhere else: redirects are not followed, proxies of the
//!   environment not asked, and the answer is not read.
//!
//! A TLS provider must have been installed for the process before a notifier is made.

mod address;
mod smtp;
mod webhook;

pub use smtp::Smtp;
pub use webhook::Webhook;

use smtp::SmtpSender;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tandem_core::{Fault, FaultClass, MapName, WallTime};
use webhook::WebhookSender;

/// How long sending one notification may take, from the name of the host to the answer.
pub const SEND_WITHIN: Duration = Duration::from_secs(10);
/// The longest subject, in characters; the rest is cut.
const SUBJECT_MAX: usize = 200;
/// The most lines; the rest is counted.
const LINES_MAX: usize = 500;

/// Something that people are to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Its own name, the same at every try: a letter, a digit, `-`, `_` or `.` each.
    pub id: String,
    /// In a few words.
    pub subject: String,
    /// In sentences.
    pub lines: Vec<String>,
    /// The map that it is about, if it is about one.
    pub map: Option<MapName>,
    /// The rule that fired, if one did.
    pub rule: Option<Arc<str>>,
    /// When it happened.
    pub at: WallTime,
}

/// Tells people in one way. Made once from the config, used for every notification.
pub struct Notifier {
    way: Way,
}

enum Way {
    Smtp(Box<SmtpSender>),
    Webhook(Box<WebhookSender>),
}

impl Notifier {
    /// Tells by e-mail. Nothing is connected yet. Fails with [`FaultClass::Setup`] if the settings cannot work.
    pub fn smtp(settings: &Smtp<'_>) -> Result<Self, Fault> {
        Ok(Self { way: Way::Smtp(Box::new(SmtpSender::new(settings)?)) })
    }

    /// Tells by a signed POST. Nothing is connected yet. Fails with [`FaultClass::Setup`] if the settings cannot
    /// work.
    pub fn webhook(settings: &Webhook<'_>) -> Result<Self, Fault> {
        Ok(Self { way: Way::Webhook(Box::new(WebhookSender::new(settings)?)) })
    }

    /// Sends one notification. `now` is for the signature, by which whoever gets it knows how old it is. When it
    /// returns without a fault, the other side has taken it over.
    pub async fn send(&self, notification: &Notification, now: WallTime) -> Result<(), Fault> {
        let notification = notification.within_bounds();
        match &self.way {
            Way::Smtp(sender) => sender.send(&notification).await,
            Way::Webhook(sender) => sender.send(&notification, now).await,
        }
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.way {
            Way::Smtp(sender) => write!(f, "smtp at {}", sender.host()),
            Way::Webhook(sender) => write!(f, "webhook at {}", sender.host()),
        }
    }
}

impl Notification {
    /// What is sent of it: on lines of their own what stands on them, and no more than a person reads.
    fn within_bounds(&self) -> Notification {
        let one_line =
            |text: &str| -> String { text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect() };
        let safe = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let mut lines: Vec<String> = self.lines.iter().take(LINES_MAX).map(|line| one_line(line)).collect();
        if let Some(more @ 1..) = self.lines.len().checked_sub(LINES_MAX) {
            lines.push(format!("… and {more} more"));
        }
        Notification {
            id: self.id.chars().filter(safe).take(SUBJECT_MAX).collect(),
            subject: one_line(&self.subject).chars().take(SUBJECT_MAX).collect(),
            lines,
            map: self.map.clone(),
            rule: self.rule.clone(),
            at: self.at,
        }
    }
}

/// Settings that cannot work.
fn bad(operation: &str, why: impl Into<String>) -> Fault {
    Fault::new(FaultClass::Setup, operation, why)
}

/// The authorities to trust, if there are any in it: a library would trust nobody and say so at each sending.
fn authorities<'a>(operation: &str, pem: &'a [u8]) -> Result<&'a [u8], Fault> {
    let begins = b"-----BEGIN CERTIFICATE-----";
    if pem.windows(begins.len()).any(|part| part == begins) {
        return Ok(pem);
    }
    Err(bad(operation, "ca holds no certificate").fix("name a file in PEM: -----BEGIN CERTIFICATE----- …"))
}

/// A sending, within its time.
async fn within<T>(operation: &str, sending: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    match tokio::time::timeout(SEND_WITHIN, sending).await {
        Ok(sent) => sent,
        Err(_) => Err(Fault::new(
            FaultClass::Unavailable,
            operation,
            format!("no answer within {} s", SEND_WITHIN.as_secs()),
        )),
    }
}

/// A failed connection, told by its innermost cause: the one that a person knows, and without an address.
fn unreachable(operation: &str, failed: &dyn Error) -> Fault {
    let mut cause = failed;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let message = cause.to_string();
    // The libraries do not tell a certificate that is no good from a broken line; waiting mends only the latter.
    if message.contains("certificate") || message.contains("UnknownIssuer") {
        return bad(operation, message).fix(
            "let the server show a certificate for its name, from an authority that this machine trusts, or name one with ca",
        );
    }
    Fault::new(FaultClass::Connection, operation, message)
}
