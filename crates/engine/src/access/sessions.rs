//! Sessions: what a browser has instead of a token.
//!
//! A session is a random secret of its own, kept by its digest, and bound to the token that it was begun with: by that
//! token's digest and not its name, so that another token of the same name later does not bring it back. It asks its token
//! at every use, so a token that is revoked or has expired ends it at once, without anybody having to look for sessions.
//! They are in memory only: a restart signs everybody out, which costs a sign-in and leaves nothing on disk that opens.
//!
//! There is a bound on them. Whoever begins one more ends the one that was used longest ago, of the same token or, if there are
//! too many in all, of any: only who has a right token can do that.

use super::secret::{Digest, Secret, SecretKind};
use super::{Caller, Stranger};
use crate::env::Env;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The most sessions that there are at a time.
pub const SESSIONS_MAX: usize = 500;
/// The most of them with one token.
pub const SESSIONS_OF_TOKEN_MAX: usize = 20;
/// How long a session lasts, however busy it is.
pub const SESSION_LIFE: Duration = Duration::from_secs(12 * 3600);
/// How long it lasts if nothing is asked with it.
const IDLE_MAX: Duration = Duration::from_secs(2 * 3600);

/// How long a code is good that nobody has used.
const CODE_LIFE: Duration = Duration::from_secs(3600);
/// The most codes that nobody has used.
const CODES_MAX: usize = 10;

/// A session that was begun.
#[derive(Debug)]
pub struct SignedIn {
    /// What the browser keeps, and shows again.
    pub secret: Secret,
    /// What it is.
    pub session: SessionView,
}

/// A session that is good now.
#[derive(Debug, Clone)]
pub struct SessionView {
    /// Whose it is.
    pub caller: Caller,
    /// What has to be shown as well by whatever changes something.
    pub csrf: Secret,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Sessions {
    known: Mutex<Vec<Session>>,
    codes: Mutex<Vec<Code>>,
}

/// What begins one session in place of a token, once: where a link leads into the console of this machine, so that the
/// token itself stands in no link, no history of a browser and no terminal.
struct Code {
    digest: Digest,
    token: Digest,
    made: Duration,
}

struct Session {
    digest: Digest,
    token: Digest,
    csrf: Secret,
    begun: Duration,
    used: Duration,
}

impl Session {
    fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.begun) >= SESSION_LIFE || now.saturating_sub(self.used) >= IDLE_MAX
    }
}

impl Sessions {
    /// Begins one with a token that is known to be good.
    pub(crate) fn begin(&self, token: Digest, env: &dyn Env) -> (Secret, Secret) {
        let now = env.now();
        let [secret, csrf] = [SecretKind::Session, SecretKind::Csrf].map(|kind| Secret::new(kind, env));
        let mut known = self.known();
        known.retain(|session| !session.is_over(now));
        make_room(&mut known, SESSIONS_OF_TOKEN_MAX, |session| session.token.is(&token));
        make_room(&mut known, SESSIONS_MAX, |_| true);
        known.push(Session { digest: secret.digest(), token, csrf: csrf.clone(), begun: now, used: now });
        (secret, csrf)
    }

    /// The token and the second secret of a session. `is_use`: it has been asked for something with it, and is not idle.
    pub(crate) fn find(
        &self,
        digest: &Digest,
        now: Duration,
        is_use: bool,
    ) -> Result<(Digest, Secret), Stranger> {
        let mut known = self.known();
        known.retain(|session| !session.is_over(now));
        // Each of them is compared, also behind the right one.
        let mut found = None;
        for session in known.iter_mut() {
            if session.digest.is(digest) {
                found = Some(session);
            }
        }
        let session = found.ok_or(Stranger::NoSession)?;
        if is_use {
            session.used = now;
        }
        Ok((session.token, session.csrf.clone()))
    }

    /// Ends one, if there is such a one.
    pub(crate) fn end(&self, digest: &Digest) {
        self.known().retain(|session| !session.digest.is(digest));
    }

    /// Makes a code for a token that is known to be good. The oldest gives way if there are too many.
    pub(crate) fn offer(&self, token: Digest, env: &dyn Env) -> Secret {
        let (now, code) = (env.now(), Secret::new(SecretKind::Code, env));
        let mut codes = self.codes();
        codes.retain(|code| now.saturating_sub(code.made) < CODE_LIFE);
        if codes.len() >= CODES_MAX {
            codes.remove(0);
        }
        codes.push(Code { digest: code.digest(), token, made: now });
        code
    }

    /// The token that a code is for, whoever shows it first.
    pub(crate) fn take(&self, digest: &Digest, now: Duration) -> Option<Digest> {
        let mut codes = self.codes();
        codes.retain(|code| now.saturating_sub(code.made) < CODE_LIFE);
        let place = codes.iter().position(|code| code.digest.is(digest))?;
        Some(codes.remove(place).token)
    }

    fn codes(&self) -> MutexGuard<'_, Vec<Code>> {
        self.codes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, Vec<Session>> {
        // Each change of it is whole by itself.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the sessions of a kind that were used longest ago, until there is room for one more.
fn make_room(known: &mut Vec<Session>, most: usize, is_of_kind: impl Fn(&Session) -> bool) {
    while known.iter().filter(|session| is_of_kind(session)).count() >= most {
        let oldest = known.iter().enumerate().filter(|(_, session)| is_of_kind(session));
        let Some((place, _)) = oldest.min_by_key(|(_, session)| session.used) else { break };
        known.remove(place);
    }
}
