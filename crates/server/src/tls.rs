//! The certificate that the server shows, and the handshake in which it does.
//!
//! TLS 1.2 and 1.3, HTTP/1.1 and nothing else. A handshake goes with the certificate that is shown when it begins: another one
//! may take its place at any time, and whoever is connected stays so.
//!
//! Whoever speaks plain HTTP to us is told to speak TLS, in plain HTTP, since nothing else would be understood. A browser
//! or `curl` would show nothing but a broken connection.

use crate::certificate::Validity;
use crate::problem::Refusal;
use axum::http::StatusCode;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{InconsistentKeys, ServerConfig};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// What the first byte of a TLS connection is: a record with a message of a handshake.
const HANDSHAKE_RECORD: u8 = 0x16;
/// How much of a plain request is read before the connection is closed, so that its answer arrives.
const PLAIN_MAX_BYTES: u64 = 64 * 1024;

/// A certificate with its key, ready to be shown to whoever connects.
#[derive(Clone)]
pub struct Identity {
    config: Arc<ServerConfig>,
    validity: Option<Validity>,
}

/// Why a certificate and a key are no identity. Holds nothing of the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadIdentity {
    /// The certificates cannot be used.
    #[error("{0}")]
    Certificate(String),
    /// The key cannot be used.
    #[error("{0}")]
    Key(String),
}

impl Identity {
    /// Out of texts in PEM: the server's own certificate first, then those between it and its authority.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, BadIdentity> {
        let bad = |why: &str| BadIdentity::Certificate(why.to_owned());
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
        let chain = chain.map_err(|why| bad(&format!("the certificates are no PEM: {why}")))?;
        if chain.is_empty() {
            return Err(bad("there is no certificate in it (-----BEGIN CERTIFICATE-----)"));
        }
        let validity = chain.first().and_then(|own| Validity::of(own));
        // What the parser says of a key may not be repeated.
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
            BadIdentity::Key("there is no private key in it (-----BEGIN PRIVATE KEY-----)".to_owned())
        })?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|why| bad(&why.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, key);
        let mut config = config.map_err(|why| match why {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                BadIdentity::Key("the key is another one than that of the first certificate".to_owned())
            }
            rustls::Error::InvalidCertificate(why) => bad(&format!("the first certificate is none: {why}")),
            _ => BadIdentity::Key("the key is of a kind that is not known: RSA, ECDSA or Ed25519".to_owned()),
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), validity })
    }

    /// From when until when the server's own certificate is good; none if it does not say so in a way that is understood.
    pub fn validity(&self) -> Option<Validity> {
        self.validity
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

/// Shows an identity to who has connected. None: no connection came of it, in time or at all.
pub(crate) async fn greet(stream: TcpStream, identity: Identity) -> Option<TlsStream<TcpStream>> {
    tokio::time::timeout(HANDSHAKE_WITHIN, shake(stream, identity)).await.ok().flatten()
}

async fn shake(mut stream: TcpStream, Identity { config, .. }: Identity) -> Option<TlsStream<TcpStream>> {
    let mut first = [0; 1];
    if stream.peek(&mut first).await.ok()? == 0 {
        return None;
    }
    if first != [HANDSHAKE_RECORD] {
        // Whoever does not take the answer does not need it.
        let _ = refuse_plain(&mut stream).await;
        return None;
    }
    match TlsAcceptor::from(config).accept(stream).await {
        Ok(stream) => Some(stream),
        Err(why) => {
            tracing::debug!(%why, "a TLS handshake failed");
            None
        }
    }
}

async fn refuse_plain(stream: &mut TcpStream) -> std::io::Result<()> {
    let detail = "the request came in the open, and this server speaks TLS only; nothing of it was read";
    let problem = Refusal::new(StatusCode::BAD_REQUEST, "tls_required", "The server speaks TLS", detail)
        .fix("write the server's address as https://; if a token was in the request, revoke it: tandem token revoke NAME")
        .to_json();
    let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nConnection: close\r\n";
    let answer = format!("{head}Content-Length: {}\r\n\r\n{problem}", problem.len());
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // Closed with something unread, the connection would be reset, and the answer with it.
    copy(&mut stream.take(PLAIN_MAX_BYTES), &mut sink()).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// A key and its certificate for `localhost`, in PEM.
    fn pair(kind: &str) -> (Vec<u8>, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let arguments = format!(
            "req -x509 -newkey {kind} -nodes -days 2 -subj /CN=localhost -keyout key.pem -out certificate.pem"
        );
        let made =
            Command::new("openssl").args(arguments.split(' ')).current_dir(folder.path()).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
        (read("certificate.pem"), read("key.pem"))
    }

    #[test]
    fn a_certificate_and_another_key_are_told_apart_and_nothing_of_the_key_is_told() {
        let (certificate, key) = pair("rsa:2048");
        let (elliptic, other) = pair("ec -pkeyopt ec_paramgen_curve:prime256v1");
        assert!(Identity::from_pem(&certificate, &key).is_ok());
        assert!(Identity::from_pem(&elliptic, &other).is_ok());
        let chain = [certificate.clone(), elliptic.clone()].concat();
        assert!(Identity::from_pem(&chain, &key).is_ok(), "the server's own comes first");
        let check = |certificates: &[u8], key: &[u8], said: &str| {
            let seen = Identity::from_pem(certificates, key).unwrap_err();
            assert!(seen.to_string().contains(said), "{seen}");
            seen
        };
        let is_key = |seen: BadIdentity| matches!(seen, BadIdentity::Key(_));
        assert!(is_key(check(&certificate, &other, "another one than that of the first certificate")));
        assert!(is_key(check(&certificate, &certificate, "no private key")));
        assert!(is_key(check(&certificate, b"", "no private key")));
        assert!(!is_key(check(&key, &key, "no certificate")));
        assert!(!is_key(check(b"", &key, "no certificate")));
        let torn: Vec<u8> = key.iter().copied().filter(|byte| *byte != b'A').collect();
        let seen = Identity::from_pem(&certificate, &torn).unwrap_err().to_string();
        let digits = String::from_utf8(key).unwrap();
        let line = digits.lines().nth(1).unwrap();
        assert!(!seen.contains(line.get(..8).unwrap()), "{seen}");
    }
}
