//! By a signed POST.
//!
//! The body is JSON. `Tandem-Signature: t=…,v1=…` holds the time of sending in seconds since 1970 and, in hex, the
//! HMAC-SHA256 of `t`, a dot and the body, by the secret. Whoever gets it computes the same over the bytes that
//! came, compares in constant time, and refuses what is older than some minutes: then nobody else can have sent
//! it, and nobody can send it again. `Tandem-Id` is the same at every try.

use super::address::{self, CheckedNames};
use super::{Notification, SEND_WITHIN, authorities, bad, unreachable, within};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{CONTENT_TYPE, HeaderName};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, StatusCode, Url};
use serde::Serialize;
use sha2::Sha256;
use tandem_core::{Fault, FaultClass, WallTime};

const OPERATION: &str = "read the settings of a webhook";
const FORM: &str = "write https://hooks.example.com/tandem";
const SIGNATURE: HeaderName = HeaderName::from_static("tandem-signature");
const ID: HeaderName = HeaderName::from_static("tandem-id");

/// How to post.
pub struct Webhook<'a> {
    /// Where to: `https://…`, and on this machine `http://…` as well.
    pub url: &'a str,
    /// What the post is signed with.
    pub secret: &'a str,
    /// The authority to trust, in PEM, in place of those of the system.
    pub ca: Option<&'a [u8]>,
}

pub(super) struct WebhookSender {
    client: Client,
    url: Url,
    host: String,
    key: Hmac<Sha256>,
}

/// What is posted.
#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    at: String,
    subject: &'a str,
    lines: &'a [String],
    map: Option<&'a str>,
    rule: Option<&'a str>,
}

impl WebhookSender {
    pub(super) fn new(settings: &Webhook<'_>) -> Result<Self, Fault> {
        // What the parser says of an address may repeat it.
        let url = Url::parse(settings.url).map_err(|_| bad(OPERATION, "this is no address").fix(FORM))?;
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| bad(OPERATION, "the address names no host").fix(FORM))?.to_owned();
        match url.scheme() {
            "https" => {}
            "http" if address::is_this_machine(&host) => {}
            "http" => {
                let why = "http:// is for this machine only: over a network anybody could read it";
                return Err(bad(OPERATION, why).fix("write https://"));
            }
            other => {
                return Err(bad(OPERATION, format!("'{other}://' is no address of a webhook")).fix(FORM));
            }
        }
        if let Some(why) = address::literal(&host).and_then(address::refused) {
            return Err(bad(OPERATION, format!("nothing is posted to {host}: {why}")).fix(FORM));
        }
        let key = Hmac::<Sha256>::new_from_slice(settings.secret.as_bytes())
            .map_err(|_| bad(OPERATION, "nothing can be signed with this secret"))?;
        let mut client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .dns_resolver(CheckedNames)
            .connect_timeout(SEND_WITHIN)
            .user_agent(concat!("tandem/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = settings.ca {
            let trusted = Certificate::from_pem_bundle(authorities(OPERATION, pem)?)
                .map_err(|why| unreachable(OPERATION, &why.without_url()))?;
            client = client.tls_certs_only(trusted);
        }
        let client = client.build().map_err(|why| unreachable(OPERATION, &why.without_url()))?;
        Ok(Self { client, url, host, key })
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) async fn send(&self, notification: &Notification, now: WallTime) -> Result<(), Fault> {
        let operation = format!("post to the webhook at {}", self.host);
        let internal = |why: &dyn std::error::Error| {
            Fault::new(FaultClass::Internal, &operation, format!("the message cannot be written: {why}"))
        };
        let at = jiff::Timestamp::from_microsecond(notification.at.0).map_err(|why| internal(&why))?;
        let body = serde_json::to_vec(&Body {
            id: &notification.id,
            at: at.to_string(),
            subject: &notification.subject,
            lines: &notification.lines,
            map: notification.map.as_ref().map(|map| map.as_str()),
            rule: notification.rule.as_deref(),
        })
        .map_err(|why| internal(&why))?;
        let signature = self.signature(now.0.div_euclid(1_000_000), &body);
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(SIGNATURE, signature)
            .header(ID, &notification.id)
            .body(body);
        within(&operation, async {
            let answer = request.send().await.map_err(|why| unreachable(&operation, &why.without_url()))?;
            taken(&operation, answer.status())
        })
        .await
    }

    fn signature(&self, seconds: i64, body: &[u8]) -> String {
        let mut mac = self.key.clone();
        mac.update(format!("{seconds}.").as_bytes());
        mac.update(body);
        let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("t={seconds},v1={hex}")
    }
}

/// Whether the answer says that it was taken over.
fn taken(operation: &str, status: StatusCode) -> Result<(), Fault> {
    let (class, fix) = match status.as_u16() {
        0..300 => return Ok(()),
        300..400 => (FaultClass::Setup, "redirects are not followed: write the address that it leads to"),
        401 => (FaultClass::Auth, "check the address and the secret"),
        403 => (FaultClass::Permission, "let the receiver take it from this machine"),
        404 | 405 | 410 => (FaultClass::Setup, "check the address: nothing takes a POST there"),
        408 => (FaultClass::Unavailable, "the receiver was too slow; it is worth another try"),
        429 => (FaultClass::Throttled, "give the rules a longer cooldown"),
        400..500 => (FaultClass::Application, "look into the receiver's log: it does not take this message"),
        500.. => (FaultClass::Unavailable, "look into the receiver's log"),
    };
    Err(Fault::new(class, operation, format!("the answer is {status}")).code(status.as_str()).fix(fix))
}
