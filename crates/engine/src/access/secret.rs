//! The secret that a token is, and what of it is kept.

use crate::env::Env;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::fmt::{self, Write as _};

/// What a secret opens. It is the beginning of its text, so that one is never taken for the other, and scanners of
/// leaked secrets have something to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SecretKind {
    /// The API, for programs.
    Token,
    /// A session of a browser, for as long as it lasts.
    Session,
    /// One session, once: it stands in a link that somebody on this machine opens.
    Code,
    /// Nothing by itself: what changes something under a session shows it as well.
    Csrf,
}

impl SecretKind {
    fn prefix(self) -> &'static str {
        match self {
            SecretKind::Token => "tdm_",
            SecretKind::Session => "tds_",
            SecretKind::Code => "tdl_",
            SecretKind::Csrf => "tdc_",
        }
    }
}

/// The most bytes of what is taken for a secret: more is none of ours, and is not looked at.
const LENGTH_MAX: usize = 256;

/// A token as its owner has it. Shown once; it never stands in a log, so it shows nothing of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A new one, of 256 random bits.
    pub(crate) fn new(kind: SecretKind, env: &dyn Env) -> Self {
        let mut text = kind.prefix().to_owned();
        for _ in 0..4 {
            // Writing into a text does not fail.
            let _ = write!(text, "{:016x}", env.random());
        }
        Self(text)
    }

    /// The token itself, for the one who is to have it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether somebody sent this one. Takes as long whatever the answer is.
    pub fn is(&self, sent: &str) -> bool {
        self.digest().is(&Digest(sha2::Sha256::digest(sent.as_bytes()).into()))
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest(sha2::Sha256::digest(self.0.as_bytes()).into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What is kept of a token: its SHA-256.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of what somebody sent; `None` if it cannot be a secret of that kind.
    pub(crate) fn of(kind: SecretKind, sent: &str) -> Option<Self> {
        (sent.starts_with(kind.prefix()) && sent.len() <= LENGTH_MAX)
            .then(|| Self(sha2::Sha256::digest(sent.as_bytes()).into()))
    }

    /// Of anything.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Whether it is this one. Takes as long whatever the answer is.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let differing = self.0.iter().zip(&other.0).fold(0, |seen, (a, b)| seen | (a ^ b));
        std::hint::black_box(differing) == 0
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0.iter().fold(String::new(), |mut text, byte| {
            // Writing into a text does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut bytes = [0; 32];
        for (place, byte) in bytes.iter_mut().enumerate() {
            let pair = text.get(place * 2..place * 2 + 2).ok_or("a digest has 64 hexadecimal digits")?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| "a digest has 64 hexadecimal digits")?;
        }
        Ok(Self(bytes))
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.is(other)
    }
}

impl Eq for Digest {}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest")
    }
}
