//! Who asks: tokens made, listed and revoked, and asked for whom they are.

use super::Engine;
use crate::access::{Caller, NewToken, Secret, Stranger, TokenView, renew};
use crate::env::blocking;
use crate::request::Rejected;
use std::io;
use std::path::Path;

/// The file of the data folder with the token of the engine's own user: readable by that user only, made anew at each
/// start.
pub const TOKEN_FILE: &str = "token";

impl Engine {
    /// Makes the token of the user that we run as.
    pub(super) fn let_own_user_in(&self, data_dir: &Path) -> io::Result<()> {
        let secret = Secret::new(&*self.env);
        renew(&data_dir.join(TOKEN_FILE), &secret)?;
        self.tokens.set_local(&secret, self.env.wall());
        Ok(())
    }

    /// Makes a token. What it is can be read now and never again.
    pub async fn create_token(&self, asked: NewToken) -> Result<(TokenView, Secret), Rejected> {
        let (tokens, env) = (self.tokens.clone(), self.env.clone());
        blocking(&*self.env, move || tokens.create(&*env, asked)).await
    }

    /// Every token, by name.
    pub fn tokens(&self) -> Vec<TokenView> {
        self.tokens.list()
    }

    /// Takes a token back: from the answer on it opens nothing.
    pub async fn revoke_token(&self, name: &str, actor: &str) -> Result<(), Rejected> {
        let (tokens, now) = (self.tokens.clone(), self.env.wall());
        let (name, actor) = (name.to_owned(), actor.to_owned());
        blocking(&*self.env, move || tokens.revoke(&name, &actor, now)).await
    }

    /// Whose token that is.
    pub fn caller(&self, sent: &str) -> Result<Caller, Stranger> {
        let (caller, due) = self.tokens.whose(sent, self.env.wall())?;
        if let Some(name) = due {
            // Nobody waits for it: what is lost of it is when a token was used last.
            let (tokens, env) = (self.tokens.clone(), self.env.clone());
            let note = async move {
                if let Err(why) = blocking(&*env, move || tokens.note_use(&name)).await {
                    tracing::warn!(error = %why, "when a token was used last could not be written down");
                }
            };
            self.env.spawn("token used", Box::pin(note));
        }
        Ok(caller)
    }

    /// Writes into the activity log that somebody was refused something. `detail`: what, in words of ours.
    pub async fn note_refusal(&self, actor: &str, detail: String) {
        let (tokens, now, actor) = (self.tokens.clone(), self.env.wall(), actor.to_owned());
        if let Err(why) = blocking(&*self.env, move || tokens.note_refusal(&actor, detail, now)).await {
            tracing::warn!(error = %why, "a refusal could not be written into the activity log");
        }
    }
}
