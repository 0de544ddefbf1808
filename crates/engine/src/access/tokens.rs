//! The tokens that there are.

use super::secret::{Digest, Secret, SecretKind};
use crate::env::Env;
use crate::request::Rejected;
use crate::store::{Record, Store};
use crate::view::ActivityEntry;
use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tandem_core::{Role, Scope, WallTime};

/// The name of the token that is in the data folder.
pub const LOCAL_TOKEN: &str = "local";
/// The most tokens that there are at a time: each request is compared with all of them.
pub const TOKENS_MAX: usize = 1000;
/// The most bytes of a token's name.
const NAME_MAX: usize = 64;
/// When a token was used last is written down at most so often: it is to tell which ones nobody uses, and each time is
/// a write that waits for the disk.
const USED_EVERY: Duration = Duration::from_secs(300);

/// A token as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Its name: who asks, in the activity log.
    pub name: Arc<str>,
    /// What it may do.
    pub role: Role,
    /// The maps that it is bound to.
    #[serde(default)]
    pub maps: Scope,
    /// How it is known again.
    digest: Digest,
    /// When it was made.
    pub created_at: WallTime,
    /// By whom.
    pub created_by: String,
    /// From when on it is none any more.
    #[serde(default)]
    pub expires_at: Option<WallTime>,
    /// When it was used last, as far as that was written down.
    #[serde(default)]
    pub last_used_at: Option<WallTime>,
}

/// A token as it is shown: everything but what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenView {
    /// Its name.
    pub name: Arc<str>,
    /// What it may do.
    pub role: Role,
    /// The maps that it is bound to.
    pub maps: Scope,
    /// When it was made.
    pub created_at: WallTime,
    /// By whom.
    pub created_by: String,
    /// From when on it is none any more.
    pub expires_at: Option<WallTime>,
    /// When it was used last.
    pub last_used_at: Option<WallTime>,
}

/// Asks for a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// Its name; no other one has it.
    pub name: String,
    /// What it is to be allowed.
    pub role: Role,
    /// The maps that it is to be bound to.
    pub maps: Scope,
    /// How long it is to be good for; for ever without.
    pub expires_in: Option<Duration>,
    /// Who asks.
    pub actor: String,
}

/// Who asks for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The token's name.
    pub name: Arc<str>,
    /// What they may do.
    pub role: Role,
    /// The maps that they see and act on.
    pub maps: Scope,
}

/// Why it is not known who asks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// It is none of our tokens, or none any more.
    #[error("the token is not known: it was revoked, or it is another server's")]
    Unknown,
    /// Its time is over.
    #[error("the token {0} has expired")]
    Expired(Arc<str>),
    /// It is none of our sessions, or none any more.
    #[error(
        "the session has ended: it was signed out, nothing was asked for long, its time is over, or the server was restarted"
    )]
    NoSession,
}

/// See the module.
pub(crate) struct Tokens {
    store: Arc<dyn Store>,
    /// The lock is held while one is saved: what is here is what is on disk.
    known: Mutex<Known>,
}

struct Known {
    kept: BTreeMap<Arc<str>, TokenRecord>,
    /// When the record of a token was saved with its last use.
    noted: BTreeMap<Arc<str>, WallTime>,
    local: Option<TokenRecord>,
}

impl Tokens {
    /// The tokens that were saved.
    pub(crate) fn new(store: Arc<dyn Store>, kept: BTreeMap<Arc<str>, TokenRecord>) -> Self {
        Self { store, known: Mutex::new(Known { kept, noted: BTreeMap::new(), local: None }) }
    }

    /// From now on this one is the token of the engine's own user. It is not saved.
    pub(crate) fn set_local(&self, secret: &Secret, now: WallTime) {
        self.known().local = Some(TokenRecord {
            name: LOCAL_TOKEN.into(),
            role: Role::Admin,
            maps: Scope::All,
            digest: secret.digest(),
            created_at: now,
            created_by: "tandem".to_owned(),
            expires_at: None,
            last_used_at: None,
        });
    }

    /// What is kept of the token of the engine's own user.
    pub(crate) fn local_digest(&self) -> Option<Digest> {
        self.known().local.as_ref().map(|local| local.digest)
    }

    /// Every token, by name.
    pub(crate) fn list(&self) -> Vec<TokenView> {
        let known = self.known();
        let mut views: Vec<_> = known.kept.values().chain(&known.local).map(TokenView::from).collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    /// Makes a token. Waits for the disk.
    pub(crate) fn create(&self, env: &dyn Env, asked: NewToken) -> Result<(TokenView, Secret), Rejected> {
        let NewToken { name, role, maps, expires_in, actor } = asked;
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(is_name) {
            let why = format!("a token's name has 1 to {NAME_MAX} letters, digits, '-', '_' and '.'");
            return Err(Rejected::Senseless(why));
        }
        if matches!(&maps, Scope::Only(maps) if maps.is_empty()) {
            return Err(Rejected::Senseless("a token that is bound to no map is of no use".to_owned()));
        }
        if role == Role::Admin && !maps.is_all() {
            let why = "an admin is bound to no maps: an admin can make any token, so it would bind nobody";
            return Err(Rejected::Senseless(why.to_owned()));
        }
        let name: Arc<str> = name.into();
        let mut known = self.known();
        if *name == *LOCAL_TOKEN || known.kept.contains_key(&name) {
            return Err(Rejected::TokenExists(name.to_string()));
        }
        if known.kept.len() >= TOKENS_MAX {
            return Err(Rejected::Senseless(format!("there are {TOKENS_MAX} tokens: revoke some first")));
        }
        let (now, secret) = (env.wall(), Secret::new(SecretKind::Token, env));
        let after = |span: Duration| {
            WallTime(now.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
        };
        let token = TokenRecord {
            name: name.clone(),
            role,
            maps,
            digest: secret.digest(),
            created_at: now,
            created_by: actor,
            expires_at: expires_in.map(after),
            last_used_at: None,
        };
        let view = TokenView::from(&token);
        let bound = match &token.maps {
            Scope::All => String::new(),
            Scope::Only(maps) => {
                format!(", maps {}", maps.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
            }
        };
        let detail = format!("{name}, {role}{bound}");
        let entry = told("token.created", &token.created_by, detail, now);
        self.save(&[Record::Token(Box::new(token.clone())), entry])?;
        known.kept.insert(name, token);
        Ok((view, secret))
    }

    /// Takes a token back, at once: only the one that was made at a moment, if that is said. Waits for the disk.
    pub(crate) fn revoke(
        &self,
        name: &str,
        made: Option<WallTime>,
        actor: &str,
        now: WallTime,
    ) -> Result<(), Rejected> {
        if name == LOCAL_TOKEN {
            let why = "the token of the data folder is made anew when the server starts: restart it";
            return Err(Rejected::Senseless(why.to_owned()));
        }
        let mut known = self.known();
        let Some((name, kept)) = known.kept.get_key_value(name) else {
            return Err(Rejected::UnknownToken(name.to_owned()));
        };
        if made.is_some_and(|made| made != kept.created_at) {
            return Err(Rejected::OtherToken(name.to_string()));
        }
        let name = name.clone();
        let entry = told("token.revoked", actor, name.to_string(), now);
        self.save(&[Record::NoToken(name.clone()), entry])?;
        known.kept.remove(&name);
        known.noted.remove(&name);
        Ok(())
    }

    /// Whose token was sent.
    #[cfg(test)]
    pub(super) fn whose(&self, sent: &str, now: WallTime) -> Result<(Caller, Option<Arc<str>>), Stranger> {
        let digest = Digest::of(super::SecretKind::Token, sent).ok_or(Stranger::Unknown)?;
        self.used(&digest, now)
    }

    /// Whose token it is that has this digest. The other answer is the name of a token whose last use is to be written down.
    pub(crate) fn used(
        &self,
        digest: &Digest,
        now: WallTime,
    ) -> Result<(Caller, Option<Arc<str>>), Stranger> {
        let mut known = self.known();
        let Known { kept, noted, local } = &mut *known;
        let token = good(kept.values_mut().chain(local.as_mut()), digest, now)?;
        token.last_used_at = Some(now);
        let caller = Caller::from(&*token);
        let every = i64::try_from(USED_EVERY.as_micros()).unwrap_or(i64::MAX);
        let is_due = *caller.name != *LOCAL_TOKEN
            && noted.get(&caller.name).is_none_or(|at| now.0.saturating_sub(at.0) >= every);
        if is_due {
            noted.insert(caller.name.clone(), now);
        }
        let due = is_due.then(|| caller.name.clone());
        Ok((caller, due))
    }

    /// Whose token it is, as [`Self::used`]; but that somebody looks again is no use of it.
    pub(crate) fn still(&self, digest: &Digest, now: WallTime) -> Result<Caller, Stranger> {
        let known = self.known();
        good(known.kept.values().chain(&known.local), digest, now).map(Caller::from)
    }

    /// Writes down when a token was used last. Waits for the disk.
    pub(crate) fn note_use(&self, name: &str) -> Result<(), Rejected> {
        let known = self.known();
        // One that was revoked meanwhile must not come back.
        let Some(token) = known.kept.get(name) else { return Ok(()) };
        self.save(&[Record::Token(Box::new(token.clone()))])
    }

    /// Writes something about who asks into the activity log. Waits for the disk.
    pub(crate) fn note(
        &self,
        event: &str,
        actor: &str,
        detail: String,
        now: WallTime,
    ) -> Result<(), Rejected> {
        self.save(&[told(event, actor, detail, now)])
    }

    fn save(&self, records: &[Record]) -> Result<(), Rejected> {
        self.store.save(records).map(drop).map_err(|error| Rejected::Disk(error.to_string()))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing that panics changes what is in it before it is saved.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The token with that digest, if it is good. Each of them is compared, also behind the right one.
fn good<T: Borrow<TokenRecord>>(
    tokens: impl Iterator<Item = T>,
    digest: &Digest,
    now: WallTime,
) -> Result<T, Stranger> {
    let mut found = None;
    for token in tokens {
        if token.borrow().digest.is(digest) {
            found = Some(token);
        }
    }
    let found = found.ok_or(Stranger::Unknown)?;
    let token = found.borrow();
    if token.expires_at.is_some_and(|end| end <= now) {
        return Err(Stranger::Expired(token.name.clone()));
    }
    Ok(found)
}

impl From<&TokenRecord> for Caller {
    fn from(token: &TokenRecord) -> Self {
        Self { name: token.name.clone(), role: token.role, maps: token.maps.clone() }
    }
}

impl From<&TokenRecord> for TokenView {
    fn from(token: &TokenRecord) -> Self {
        Self {
            name: token.name.clone(),
            role: token.role,
            maps: token.maps.clone(),
            created_at: token.created_at,
            created_by: token.created_by.clone(),
            expires_at: token.expires_at,
            last_used_at: token.last_used_at,
        }
    }
}

fn told(event: &str, actor: &str, detail: String, at: WallTime) -> Record {
    Record::Activity(ActivityEntry {
        id: 0,
        at,
        event: event.to_owned(),
        map: None,
        actor: actor.to_owned(),
        reason: String::new(),
        from: None,
        to: None,
        detail,
    })
}
