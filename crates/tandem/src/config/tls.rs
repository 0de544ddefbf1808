//! `[server] tls`: the certificate that the server shows, and its key.
//!
//! Both are files, and are read whenever the config is: renewed ones are shown from the next reload on. What is wrong with
//! them is an error of the config like any other, so a server never goes on with half of a new pair.

use super::place::Spanned;
use super::scalar::Reader;
use super::schema::FileReference;
use super::secret::Secrets;
use schemars::JsonSchema;
use serde::Deserialize;
use std::fmt;
use tandem_server::{BadIdentity, Identity};

const WRITE: &str = "write tls = { certificate = \"file:/etc/tandem/tls/server.pem\", key = \"file:/etc/tandem/tls/server.key\" }";

/// The certificate that the server shows.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTls {
    /// A file in PEM: the server's certificate, and behind it those between it and its authority.
    #[schemars(with = "FileReference")]
    certificate: Spanned<String>,
    /// A file in PEM with its key, which nobody may read but the user that runs tandem and its group.
    #[schemars(with = "FileReference")]
    key: Spanned<String>,
}

/// A certificate and its key, read and found good.
pub(crate) struct Tls {
    /// What the server shows.
    pub(crate) identity: Identity,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// The keys of the config behind which there is something else now.
    pub(crate) fn differing(&self, other: &Tls) -> Vec<&'static str> {
        let pairs = [("certificate", self.certificate == other.certificate), ("key", self.key == other.key)];
        pairs.into_iter().filter(|(_, is_same)| !is_same).map(|(key, _)| key).collect()
    }

    /// The certificates, in PEM, which are no secret.
    pub(crate) fn certificate(&self) -> &[u8] {
        &self.certificate
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// Reads both. Of what is wrong only the errors are kept.
pub(super) fn understand(raw: &RawTls, secrets: &Secrets, reader: &mut Reader<'_>) -> Option<Tls> {
    let certificate = path(&raw.certificate, "certificate", reader).and_then(|path| {
        secrets
            .bytes(path)
            .map_err(|why| {
                let why = format!("the certificate in {path} cannot be read: {why}");
                reader.refuse(
                    raw.certificate.span(),
                    why,
                    "name a file in PEM that the user that runs tandem may read",
                );
            })
            .ok()
    });
    let key = path(&raw.key, "key", reader).and_then(|path| {
        secrets
            .private_bytes(path)
            .map_err(|(why, fix)| {
                reader.refuse(raw.key.span(), format!("the key in {path} cannot be used: {why}"), fix);
            })
            .ok()
    });
    let (certificate, key) = (certificate?, key?);
    match Identity::from_pem(&certificate, &key) {
        Ok(identity) => Some(Tls { identity, certificate, key }),
        Err(bad) => {
            let (place, fix) = match bad {
                BadIdentity::Certificate(_) => {
                    (raw.certificate.span(), "name a file in PEM with the server's own certificate first")
                }
                BadIdentity::Key(_) => (
                    raw.key.span(),
                    "name the key that this certificate was made for, in PEM and without a password",
                ),
            };
            reader.refuse(place, format!("this cannot be shown to anybody: {bad}"), fix);
            None
        }
    }
}

fn path<'a>(given: &'a Spanned<String>, what: &str, reader: &mut Reader<'_>) -> Option<&'a str> {
    let path = given.get_ref().strip_prefix("file:").filter(|path| !path.is_empty());
    if path.is_none() {
        reader.refuse(given.span(), format!("the {what} is named by its file"), WRITE);
    }
    path
}
