//! Tokens: who may ask the engine for what, and how we know who asks.
//!
//! - A token is 256 random bits with a prefix that scanners of leaked secrets can look for. It is shown once, to whom it
//!   is made for, and kept as its SHA-256 only. A slow hash is for passwords, which people choose and others can guess;
//!   256 random bits are not guessed, so a fast hash is as safe and costs nothing on every request.
//! - Digests are compared in full, whatever they begin with: the time that a refusal takes tells nothing of a token.
//! - One token is made anew at each start, for the command line of the user that the engine runs as. It is in the file
//!   `token` of the data folder, which is for that user only, and nowhere else: whoever can read it could read the
//!   queues as well, so it gives nothing away. That it does not outlive its engine has a reason: while none listens,
//!   another user of the machine may listen on its port, and would be shown the old one.
//! - A session stands for a token in a browser, which must not keep the token itself where a script can read it. It is in
//!   memory only, opens nothing that its token does not, and ends with it.
//! - What a token may do is decided where it is used. Here is only who it is.

mod answers;
mod local;
mod secret;
mod sessions;
#[cfg(test)]
mod tests;
mod tokens;

pub(crate) use answers::Answers;
pub use answers::{AnswerRecord, Answered, Asked, KEYS_OF_TOKEN_MAX, Outcome};
pub(crate) use local::renew;
pub use secret::Secret;
pub(crate) use secret::{Digest, SecretKind};
pub(crate) use sessions::Sessions;
pub use sessions::{SESSION_LIFE, SESSIONS_MAX, SESSIONS_OF_TOKEN_MAX, SessionView, SignedIn};
pub(crate) use tokens::Tokens;
pub use tokens::{Caller, LOCAL_TOKEN, NewToken, Stranger, TOKENS_MAX, TokenRecord, TokenView};

use crate::store::{Saved, Store};
use std::sync::Arc;

/// All of it.
pub(crate) struct Access {
    pub(crate) tokens: Tokens,
    pub(crate) sessions: Sessions,
    pub(crate) answers: Answers,
}

impl Access {
    /// As it was saved.
    pub(crate) fn new(store: &Arc<dyn Store>, saved: &mut Saved) -> Self {
        Self {
            tokens: Tokens::new(store.clone(), std::mem::take(&mut saved.tokens)),
            sessions: Sessions::default(),
            answers: Answers::new(store.clone(), std::mem::take(&mut saved.answers)),
        }
    }
}
