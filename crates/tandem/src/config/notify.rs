//! `[notify.NAME]`: whom rules tell, and how.

use super::check_name;
use super::place::Spanned;
use super::scalar::Reader;
use super::secret::{AppUrl, Secret, Secrets};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The longest name of a target.
const NAME_MAX: usize = 100;
/// The most people that one target tells.
const RECIPIENTS_MAX: usize = 100;
const KINDS: &str = "write smtp = { url = \"smtps://user:${SMTP_PASSWORD}@mail.example.com\", from = \"tandem@example.com\", to = [\"ops@example.com\"] }, or webhook = { url = \"https://hooks.example.com/tandem\", secret = \"${HOOK_SECRET}\" }";

/// Whom rules tell: by e-mail or by a webhook, one of both.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub(crate) struct RawNotify {
    /// By e-mail.
    smtp: Option<Spanned<RawSmtp>>,
    /// By a signed POST.
    webhook: Option<Spanned<RawWebhook>>,
}

/// A mail server, and who is written to.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSmtp {
    /// The mail server: smtps://user:${SMTP_PASSWORD}@host, or smtp:// for one with STARTTLS.
    url: Spanned<String>,
    /// Who it is from.
    from: Spanned<String>,
    /// Who gets it: an address or a list.
    to: Spanned<OneOrMany>,
    /// A file in PEM with the authority to trust in place of those of the system.
    ca: Option<Spanned<String>>,
}

/// An address that is posted to.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawWebhook {
    /// Where to.
    url: Spanned<String>,
    /// What the post is signed with; only by reference.
    secret: Spanned<String>,
    /// A file in PEM with the authority to trust in place of those of the system.
    ca: Option<Spanned<String>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// How a target is told. The connectors make a sender of it.
#[derive(Debug)]
pub(crate) enum Channel {
    /// By e-mail.
    Smtp {
        /// The mail server.
        url: AppUrl,
        /// Who it is from.
        from: String,
        /// Who gets it.
        to: Vec<String>,
        /// The authority to trust in place of those of the system, in PEM.
        ca: Option<Vec<u8>>,
    },
    /// By a signed POST.
    Webhook {
        /// Where to. Often whoever knows it may post there, so it is a secret as a whole.
        url: Secret,
        /// What the post is signed with.
        secret: Secret,
        /// The authority to trust in place of those of the system, in PEM.
        ca: Option<Vec<u8>>,
    },
}

impl Channel {
    /// Whether both mean the same, secrets included.
    pub(crate) fn is_same(&self, other: &Channel) -> bool {
        match (self, other) {
            (
                Channel::Smtp { url, from, to, ca },
                Channel::Smtp { url: other_url, from: other_from, to: other_to, ca: other_ca },
            ) => url.reveal() == other_url.reveal() && (from, to, ca) == (other_from, other_to, other_ca),
            (
                Channel::Webhook { url, secret, ca },
                Channel::Webhook { url: other_url, secret: other_secret, ca: other_ca },
            ) => {
                (url.reveal(), secret.reveal()) == (other_url.reveal(), other_secret.reveal())
                    && ca == other_ca
            }
            (Channel::Smtp { .. }, Channel::Webhook { .. })
            | (Channel::Webhook { .. }, Channel::Smtp { .. }) => false,
        }
    }
}

/// Understands the targets. Of one that is wrong only the errors are kept.
pub(super) fn understand(
    raws: &BTreeMap<Spanned<String>, Spanned<RawNotify>>,
    secrets: &Secrets,
    reader: &mut Reader<'_>,
) -> BTreeMap<String, Channel> {
    let mut channels = BTreeMap::new();
    for (name, given) in raws {
        if let Err(why) = check_name(name.get_ref(), NAME_MAX) {
            let why = format!("'{}' is no name of a target: {why}", name.get_ref());
            reader.refuse(name.span(), why, "name it after who is told: ops");
        }
        let raw = given.get_ref();
        let channel = match (&raw.smtp, &raw.webhook) {
            (Some(smtp), None) => self::smtp(smtp.get_ref(), secrets, reader),
            (None, Some(webhook)) => self::webhook(webhook.get_ref(), secrets, reader),
            (Some(_), Some(second)) => {
                reader.refuse(second.span(), "a target is told in one way", "write a target for each");
                None
            }
            (None, None) => {
                reader.refuse(name.span(), "the target has neither smtp nor webhook", KINDS);
                None
            }
        };
        if let Some(channel) = channel {
            channels.insert(name.get_ref().clone(), channel);
        }
    }
    channels
}

fn smtp(raw: &RawSmtp, secrets: &Secrets, reader: &mut Reader<'_>) -> Option<Channel> {
    let url = match secrets.url(raw.url.get_ref()) {
        Ok(url) if ["smtp://", "smtps://"].iter().any(|scheme| url.reveal().starts_with(scheme)) => Some(url),
        Ok(_) => {
            let fix =
                "write smtps://user:${SMTP_PASSWORD}@mail.example.com, or smtp:// for a server with STARTTLS";
            reader.refuse(raw.url.span(), "this is no address of a mail server", fix);
            None
        }
        Err(refused) => {
            reader.refuse(raw.url.span(), refused.why, refused.fix);
            None
        }
    };
    let from = raw.from.get_ref();
    let to = match raw.to.get_ref() {
        OneOrMany::One(one) => vec![one.clone()],
        OneOrMany::Many(many) => many.clone(),
    };
    if to.is_empty() || to.len() > RECIPIENTS_MAX {
        let why = format!("there are {} recipients", to.len());
        reader.refuse(
            raw.to.span(),
            why,
            format!("write 1 to {RECIPIENTS_MAX}, or a list that the mail server knows"),
        );
        return None;
    }
    let mut sound = true;
    let places = to.iter().map(|address| (address, raw.to.span()));
    for (address, place) in std::iter::once((from, raw.from.span())).chain(places) {
        if !is_mailbox(address) {
            let why = format!("'{address}' is no e-mail address");
            reader.refuse(place, why, "write it as ops@example.com");
            sound = false;
        }
    }
    let ca = ca(raw.ca.as_ref(), secrets, reader)?;
    sound.then_some(Channel::Smtp { url: url?, from: from.clone(), to, ca })
}

fn webhook(raw: &RawWebhook, secrets: &Secrets, reader: &mut Reader<'_>) -> Option<Channel> {
    let url = match secrets.text(raw.url.get_ref()) {
        Ok(url) if ["https://", "http://"].iter().any(|scheme| url.reveal().starts_with(scheme)) => Some(url),
        Ok(_) => {
            let fix = "write https://hooks.example.com/tandem";
            reader.refuse(raw.url.span(), "this is no address of a webhook", fix);
            None
        }
        Err(refused) => {
            reader.refuse(raw.url.span(), refused.why, refused.fix);
            None
        }
    };
    let secret = match secrets.secret(raw.secret.get_ref()) {
        Ok(secret) => Some(secret),
        Err(refused) => {
            reader.refuse(raw.secret.span(), refused.why, refused.fix);
            None
        }
    };
    let ca = ca(raw.ca.as_ref(), secrets, reader)?;
    Some(Channel::Webhook { url: url?, secret: secret?, ca })
}

/// The certificates of an authority, if one is named. `None` if they cannot be read.
fn ca(
    given: Option<&Spanned<String>>,
    secrets: &Secrets,
    reader: &mut Reader<'_>,
) -> Option<Option<Vec<u8>>> {
    let Some(given) = given else { return Some(None) };
    match secrets.bytes(given.get_ref()) {
        Ok(pem) => Some(Some(pem)),
        Err(why) => {
            let why = format!("the certificates in {} cannot be read: {why}", given.get_ref());
            reader.refuse(given.span(), why, "name a file in PEM that the user that runs tandem may read");
            None
        }
    }
}

/// Whether it can be an address: the mail server has the last word.
fn is_mailbox(text: &str) -> bool {
    let plain = text.chars().all(|c| !c.is_whitespace() && !c.is_control() && !matches!(c, '<' | '>' | ','));
    plain && text.rsplit_once('@').is_some_and(|(who, host)| !who.is_empty() && !host.is_empty())
}
