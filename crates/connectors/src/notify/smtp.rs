//! By e-mail.

use super::{Notification, SEND_WITHIN, address, authorities, bad, unreachable, within};
use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, SinglePart};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use reqwest::Url;
use std::time::{Duration, SystemTime};
use tandem_core::{Fault, FaultClass, WallTime};

/// The ports that mail is submitted to: with STARTTLS, with TLS from the first byte, and on this machine.
const PORT_STARTTLS: u16 = 587;
const PORT_TLS: u16 = 465;
const PORT_PLAIN: u16 = 25;
const OPERATION: &str = "read the settings of a mail server";

/// How to send e-mail.
pub struct Smtp<'a> {
    /// `smtps://user:password@host` is TLS from the first byte, `smtp://…` is STARTTLS, without which nothing is
    /// sent. On this machine `smtp://` is plain, unless `?tls=required` stands behind it.
    pub url: &'a str,
    /// Who it is from.
    pub from: &'a str,
    /// Who gets it.
    pub to: &'a [String],
    /// The authority to trust, in PEM, in place of those of the system.
    pub ca: Option<&'a [u8]>,
}

pub(super) struct SmtpSender {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    host: String,
    from: Mailbox,
    to: Vec<Mailbox>,
}

/// Says that no person wrote it, so that no machine answers.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

impl SmtpSender {
    pub(super) fn new(settings: &Smtp<'_>) -> Result<Self, Fault> {
        let form = "write smtps://user:password@mail.example.com, or smtp:// for a server with STARTTLS";
        // What the parser says of an address may repeat it.
        let url = Url::parse(settings.url).map_err(|_| bad(OPERATION, "this is no address").fix(form))?;
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| bad(OPERATION, "the address names no host").fix(form))?.to_owned();
        let (tls, port) = tls(&url, &host, settings.ca)?;
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&host)
            .port(url.port().unwrap_or(port))
            .tls(tls)
            .timeout(Some(SEND_WITHIN));
        if let Some(password) = url.password() {
            let decoded = |text: &str| {
                percent_decoded(text).ok_or_else(|| {
                    let why = "the user or the password is not percent-encoded UTF-8";
                    bad(OPERATION, why).fix("encode what is special in it: %40 for @")
                })
            };
            transport = transport.credentials(Credentials::new(decoded(url.username())?, decoded(password)?));
        }
        let mailbox = |text: &str| {
            text.parse::<Mailbox>().map_err(|why| {
                bad(OPERATION, format!("'{text}' is no e-mail address: {why}"))
                    .fix("write it as ops@example.com")
            })
        };
        Ok(Self {
            transport: transport.build(),
            host,
            from: mailbox(settings.from)?,
            to: settings.to.iter().map(|to| mailbox(to)).collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) async fn send(&self, notification: &Notification) -> Result<(), Fault> {
        let operation = format!("send e-mail through {}", self.host);
        let message = self.message(notification).map_err(|why| {
            Fault::new(FaultClass::Internal, &operation, format!("the message cannot be written: {why}"))
        })?;
        within(&operation, async {
            self.transport.send(message).await.map(drop).map_err(|failed| fault(&operation, &failed))
        })
        .await
    }

    fn message(&self, notification: &Notification) -> Result<Message, lettre::error::Error> {
        let domain = self.from.email.domain();
        let mut message = Message::builder()
            .from(self.from.clone())
            .subject(format!("[Tandem] {}", notification.subject))
            .date(system_time(notification.at))
            .message_id(Some(format!("<{}@{domain}>", notification.id)))
            .header(AutoSubmitted);
        for to in &self.to {
            message = message.to(to.clone());
        }
        let mut body = notification.lines.join("\n");
        body.push_str("\n\n");
        for (what, which) in [
            ("map", notification.map.as_ref().map(ToString::to_string)),
            ("rule", notification.rule.as_ref().map(ToString::to_string)),
        ] {
            if let Some(which) = which {
                body.push_str(&format!("{what}: {which}\n"));
            }
        }
        message.singlepart(SinglePart::plain(body))
    }
}

/// How the connection is protected, and the port for it if none is named.
fn tls(url: &Url, host: &str, ca: Option<&[u8]>) -> Result<(Tls, u16), Fault> {
    let mut required = false;
    for (key, value) in url.query_pairs() {
        match (&*key, &*value) {
            ("tls", "required") => required = true,
            _ => {
                return Err(bad(OPERATION, format!("'{key}' is not known in the address"))
                    .fix("write ?tls=required, or nothing"));
            }
        }
    }
    match url.scheme() {
        "smtps" => Ok((Tls::Wrapper(parameters(host, ca)?), PORT_TLS)),
        "smtp" if required || !address::is_this_machine(host) => {
            Ok((Tls::Required(parameters(host, ca)?), PORT_STARTTLS))
        }
        "smtp" => Ok((Tls::None, PORT_PLAIN)),
        other => Err(bad(OPERATION, format!("'{other}://' is no address of a mail server"))
            .fix("write smtps:// or smtp://")),
    }
}

fn parameters(host: &str, ca: Option<&[u8]>) -> Result<TlsParameters, Fault> {
    let failed = |why: Error| {
        let fix = "install the certificates of authorities (ca-certificates), or name one with ca";
        bad(OPERATION, format!("certificates cannot be verified: {why}")).fix(fix)
    };
    let builder = TlsParameters::builder(host.to_owned());
    let builder = match ca {
        None => builder,
        Some(pem) => builder
            .certificate_store(CertificateStore::None)
            .add_root_certificate(Certificate::from_pem(authorities(OPERATION, pem)?).map_err(failed)?),
    };
    builder.build().map_err(failed)
}

/// What the server's answer means. Its own words are kept: they say what it does not like.
fn fault(operation: &str, failed: &Error) -> Fault {
    let Some(code) = failed.status() else {
        if failed.is_client() || failed.is_tls() {
            let fix = "use smtps://, or a server that has STARTTLS and a way to sign in that is known";
            return bad(operation, chain(failed)).fix(fix);
        }
        return unreachable(operation, failed);
    };
    let code = code.to_string();
    let (class, fix) = match code.as_str() {
        "530" | "534" | "535" | "538" | "454" => {
            (FaultClass::Auth, Some("check the user and the password in the address"))
        }
        _ if code.starts_with('4') => (FaultClass::Unavailable, None),
        "550" | "551" | "553" => (FaultClass::Application, Some("check the addresses in from and to")),
        _ => (FaultClass::Application, None),
    };
    let fault = Fault::new(class, operation, chain(failed)).code(code);
    match fix {
        Some(fix) => fault.fix(fix),
        None => fault,
    }
}

/// What an error says, with its causes.
fn chain(failed: &Error) -> String {
    let mut text = failed.to_string();
    let mut cause = std::error::Error::source(failed);
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = inner.source();
    }
    text
}

fn system_time(at: WallTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(at.0).unwrap_or(0))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}
