//! Who asks: tokens made, listed and revoked, and asked for whom they are.

use super::Engine;
use crate::access::{
    Answered, Asked, Caller, Digest, NewToken, Outcome, Secret, SecretKind, SessionView, SignedIn, Stranger,
    TokenView, renew,
};
use crate::env::blocking;
use crate::request::Rejected;
use std::io;
use std::path::Path;
use tandem_core::WallTime;

/// The file of the data folder with the token of the engine's own user: readable by that user only, made anew at each
/// start.
pub const TOKEN_FILE: &str = "token";

/// What somebody showed to be let in. It is kept where an answer takes long, to look whether it still opens.
#[derive(Debug, Clone, Copy)]
pub struct Credential(Shown);

#[derive(Debug, Clone, Copy)]
enum Shown {
    Token(Digest),
    Session(Digest),
}

impl Engine {
    /// Makes the token of the user that we run as.
    pub(super) fn let_own_user_in(&self, data_dir: &Path) -> io::Result<()> {
        let secret = Secret::new(SecretKind::Token, &*self.env);
        renew(&data_dir.join(TOKEN_FILE), &secret)?;
        self.access.tokens.set_local(&secret, self.env.wall());
        Ok(())
    }

    /// Makes a token. What it is can be read now and never again.
    pub async fn create_token(&self, asked: NewToken) -> Result<(TokenView, Secret), Rejected> {
        let (access, env) = (self.access.clone(), self.env.clone());
        blocking(&*self.env, move || access.tokens.create(&*env, asked)).await
    }

    /// Every token, by name.
    pub fn tokens(&self) -> Vec<TokenView> {
        self.access.tokens.list()
    }

    /// Takes a token back: from the answer on it opens nothing. With `made`, only if it is the one that was made then: its
    /// name may have been given to another one.
    pub async fn revoke_token(
        &self,
        name: &str,
        made: Option<WallTime>,
        actor: &str,
    ) -> Result<(), Rejected> {
        let (access, now) = (self.access.clone(), self.env.wall());
        let (name, actor) = (name.to_owned(), actor.to_owned());
        blocking(&*self.env, move || access.tokens.revoke(&name, made, &actor, now)).await
    }

    /// Whose token that is.
    pub fn caller(&self, sent: &str) -> Result<(Caller, Credential), Stranger> {
        let digest = Digest::of(SecretKind::Token, sent).ok_or(Stranger::Unknown)?;
        Ok((self.use_token(&digest)?, Credential(Shown::Token(digest))))
    }

    /// Makes a code that begins one session as the engine's own user, once, within an hour. For whoever starts the engine
    /// and opens its console in the same go: no token has to be copied, and the link is worth nothing when it was opened.
    pub fn offer_session(&self) -> Option<Secret> {
        Some(self.access.sessions.offer(self.access.tokens.local_digest()?, &*self.env))
    }

    /// Begins a session with a token or a code, for a browser.
    pub async fn sign_in(&self, shown: &str) -> Result<SignedIn, Stranger> {
        let token = Digest::of(SecretKind::Token, shown);
        let code = Digest::of(SecretKind::Code, shown);
        let of_code = |code| self.access.sessions.take(&code, self.env.now());
        let digest = token.or_else(|| code.and_then(of_code)).ok_or(Stranger::Unknown)?;
        let caller = self.use_token(&digest)?;
        let (secret, csrf) = self.access.sessions.begin(digest, &*self.env);
        self.note_access("session.started", &caller.name, String::new()).await;
        Ok(SignedIn { secret, session: SessionView { caller, csrf } })
    }

    /// Whose session that is.
    pub fn session(&self, sent: &str) -> Result<(SessionView, Credential), Stranger> {
        let digest = Digest::of(SecretKind::Session, sent).ok_or(Stranger::NoSession)?;
        let (token, csrf) = self.access.sessions.find(&digest, self.env.now(), true)?;
        let caller = self.use_token(&token).inspect_err(|_| self.access.sessions.end(&digest))?;
        Ok((SessionView { caller, csrf }, Credential(Shown::Session(digest))))
    }

    /// Ends a session.
    pub async fn sign_out(&self, sent: &str) -> Result<(), Stranger> {
        let (session, _) = self.session(sent)?;
        if let Some(digest) = Digest::of(SecretKind::Session, sent) {
            self.access.sessions.end(&digest);
        }
        self.note_access("session.ended", &session.caller.name, String::new()).await;
        Ok(())
    }

    /// Whether what was shown still opens, and to whom. To look is no use: a session may become idle meanwhile.
    pub fn still(&self, credential: &Credential) -> Result<Caller, Stranger> {
        let token = match credential.0 {
            Shown::Token(digest) => digest,
            Shown::Session(digest) => self.access.sessions.find(&digest, self.env.now(), false)?.0,
        };
        self.access.tokens.still(&token, self.env.wall())
    }

    /// 64 random bits, to tell one life of a server from another by.
    pub fn draw(&self) -> u64 {
        self.env.random()
    }

    /// Takes a request with a key that its client chose: only the first of its kind is to be done. Waits for the disk.
    pub async fn take_request(&self, asked: Asked) -> Result<Answered, Rejected> {
        let (access, now) = (self.access.clone(), self.env.wall());
        blocking(&*self.env, move || access.answers.take(asked, now)).await
    }

    /// What came of a request that was taken; without an outcome nothing came of it, and it may be made again. Waits for
    /// the disk.
    pub async fn end_request(
        &self,
        token: &str,
        key: &str,
        outcome: Option<Outcome>,
    ) -> Result<(), Rejected> {
        let (access, name) = (self.access.clone(), Asked::name_of(token, key));
        blocking(&*self.env, move || access.answers.end(&name, outcome)).await
    }

    fn use_token(&self, digest: &Digest) -> Result<Caller, Stranger> {
        let (caller, due) = self.access.tokens.used(digest, self.env.wall())?;
        if let Some(name) = due {
            // Nobody waits for it: what is lost of it is when a token was used last.
            let (access, env) = (self.access.clone(), self.env.clone());
            let note = async move {
                if let Err(why) = blocking(&*env, move || access.tokens.note_use(&name)).await {
                    tracing::warn!(error = %why, "when a token was used last could not be written down");
                }
            };
            self.env.spawn("token used", Box::pin(note));
        }
        Ok(caller)
    }

    /// Writes into the activity log that somebody was refused something. `detail`: what, in words of ours.
    pub async fn note_refusal(&self, actor: &str, detail: String) {
        self.note_access("access.denied", actor, detail).await;
    }

    async fn note_access(&self, event: &'static str, actor: &str, detail: String) {
        let (access, now, actor) = (self.access.clone(), self.env.wall(), actor.to_owned());
        if let Err(why) = blocking(&*self.env, move || access.tokens.note(event, &actor, detail, now)).await {
            tracing::warn!(error = %why, event, "who asked could not be written into the activity log");
        }
    }
}
