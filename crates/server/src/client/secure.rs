//! What stands between a client and a server over TLS, told apart: each has another fix.
//!
//! A library says them all as *error sending request*, with the cause somewhere inside. We look for the cause and say what
//! it is of: the certificate, its name, its authority, or that the other side does not speak TLS at all.

use jiff::Timestamp;
use reqwest::Certificate;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error as Tls, PeerIncompatible};
use std::error::Error;
use std::fmt;
use std::io;

/// Why there is no connection that can be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Insecure {
    /// The certificate is from an authority that is not trusted here.
    UnknownAuthority,
    /// The certificate is for other names.
    OtherName {
        /// Those that it is for.
        names: Vec<String>,
    },
    /// The certificate is no longer valid.
    Expired {
        /// Since when, if it is known.
        since: Option<String>,
    },
    /// The certificate is not valid yet.
    NotYet,
    /// The certificate is that of an authority itself.
    Authority,
    /// The certificate is wrong otherwise, or the connection is.
    Broken(String),
    /// The other side does not speak TLS.
    Plain,
    /// The other side speaks a version of TLS that is too old, or refuses ours.
    OldVersion,
    /// The other side does not speak HTTP in the open.
    NotHttp,
}

impl Insecure {
    /// What was the matter, if it was about this.
    pub(super) fn found_in(failed: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(failed);
        while let Some(cause) = next {
            if let Some(found) = cause.downcast_ref::<Tls>() {
                return Some(Self::of(found));
            }
            if cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
                return Some(Insecure::NotHttp);
            }
            // An I/O error hides what it was made of from those who ask for its source.
            let within = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            next = match within {
                Some(within) => Some(within as &(dyn Error + 'static)),
                None => cause.source(),
            };
        }
        None
    }

    fn of(failed: &Tls) -> Self {
        let certificate = match failed {
            Tls::InvalidCertificate(certificate) => certificate,
            Tls::InvalidMessage(_) => return Insecure::Plain,
            Tls::AlertReceived(AlertDescription::ProtocolVersion)
            | Tls::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ) => return Insecure::OldVersion,
            other => return Insecure::Broken(other.to_string()),
        };
        match certificate {
            CertificateError::UnknownIssuer => Insecure::UnknownAuthority,
            CertificateError::NotValidForName => Insecure::OtherName { names: Vec::new() },
            CertificateError::NotValidForNameContext { presented, .. } => {
                Insecure::OtherName { names: presented.clone() }
            }
            CertificateError::Expired => Insecure::Expired { since: None },
            CertificateError::ExpiredContext { not_after, .. } => {
                Insecure::Expired { since: moment(*not_after) }
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Insecure::NotYet,
            // The library has no variant of its own for it, and it is what `openssl req -x509` makes.
            CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
                Insecure::Authority
            }
            other => Insecure::Broken(other.to_string()),
        }
    }

    /// What a person can do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            Insecure::UnknownAuthority => {
                "if it is a private authority, name its certificate: --ca FILE or TANDEM_CA. If it is not known to you, this may be \
                 another server"
            }
            Insecure::OtherName { .. } => "write --server with a name that the certificate is for",
            Insecure::Expired { .. } => {
                "put a new certificate in its place and have the server read it: tandem reload on its machine, or \
                 systemctl reload tandem"
            }
            Insecure::NotYet => "look at the clocks of both machines",
            Insecure::Authority => {
                "make a certificate for the server itself: basicConstraints=CA:FALSE, and subjectAltName with its name"
            }
            Insecure::Broken(_) => {
                "look at the server's certificate, and at what stands between here and there"
            }
            Insecure::Plain => {
                "write --server http:// if it is on this machine; otherwise give the server a certificate: [server] tls"
            }
            Insecure::OldVersion => "look at what listens there: a Tandem server speaks TLS 1.2 and 1.3",
            Insecure::NotHttp => "write --server https:// if the server has a certificate",
        }
    }
}

impl fmt::Display for Insecure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Insecure::UnknownAuthority => {
                f.write_str("its certificate is from an authority that is not trusted here")
            }
            Insecure::OtherName { names } if names.is_empty() => {
                f.write_str("its certificate is for another name")
            }
            Insecure::OtherName { names } => {
                write!(f, "its certificate is for another name: {}", names.join(", "))
            }
            Insecure::Expired { since: Some(since) } => write!(f, "its certificate has expired at {since}"),
            Insecure::Expired { since: None } => f.write_str("its certificate has expired"),
            Insecure::NotYet => f.write_str("its certificate is not valid yet"),
            Insecure::Authority => {
                f.write_str("its certificate is that of an authority, and was not made for a server")
            }
            Insecure::Broken(why) => f.write_str(why),
            Insecure::Plain => f.write_str("what answers there does not speak TLS"),
            Insecure::OldVersion => {
                f.write_str("what answers there speaks no version of TLS that is safe: 1.2 or 1.3")
            }
            Insecure::NotHttp => f.write_str("what answers there does not speak plain HTTP"),
        }
    }
}

fn moment(at: UnixTime) -> Option<String> {
    let seconds = i64::try_from(at.as_secs()).ok()?;
    Timestamp::from_second(seconds).ok().map(|at| at.to_string())
}

/// The authorities of a text in PEM; an error is what is wrong with it.
pub(super) fn authorities(pem: &[u8]) -> Result<Vec<Certificate>, String> {
    let found = Certificate::from_pem_bundle(pem).map_err(|_| "it is no PEM".to_owned())?;
    match found.is_empty() {
        true => Err("there is no certificate in it (-----BEGIN CERTIFICATE-----)".to_owned()),
        false => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_matter_is_found_however_deep_it_is() {
        let deep = |cause: Tls| io::Error::other(io::Error::other(cause));
        let check = |cause: Tls, expected: Insecure| {
            assert_eq!(Insecure::found_in(&deep(cause)), Some(expected));
        };
        check(Tls::InvalidCertificate(CertificateError::UnknownIssuer), Insecure::UnknownAuthority);
        check(
            Tls::InvalidCertificate(CertificateError::NotValidForName),
            Insecure::OtherName { names: Vec::new() },
        );
        let (time, not_after) = [2_000_000_000, 1_900_000_000]
            .map(|seconds| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
            .into();
        check(
            Tls::InvalidCertificate(CertificateError::ExpiredContext { time, not_after }),
            Insecure::Expired { since: Some("2030-03-17T17:46:40Z".to_owned()) },
        );
        check(Tls::InvalidMessage(rustls::InvalidMessage::InvalidContentType), Insecure::Plain);
        check(Tls::AlertReceived(AlertDescription::ProtocolVersion), Insecure::OldVersion);
        check(Tls::DecryptError, Insecure::Broken(Tls::DecryptError.to_string()));
        assert_eq!(Insecure::found_in(&io::Error::from(io::ErrorKind::ConnectionRefused)), None);
    }

    #[test]
    fn an_authority_is_read_or_it_is_said_why_not() {
        assert!(authorities(b"nothing").unwrap_err().contains("no certificate"));
        assert!(authorities(b"").unwrap_err().contains("no certificate"));
    }
}
