//! A config that is read again.

use super::Engine;
use crate::reload::{Change, Reload};
use crate::request::Rejected;
use crate::supervisor::Command;

impl Engine {
    /// Goes on with what is declared now, all or nothing, and says what that changes; with `dry_run`, what it would.
    /// A map that is not stopped may be edited while it is paused only, and no map that is left out may be at work.
    pub async fn reload(&self, reload: Reload) -> Result<Vec<Change>, Rejected> {
        self.ask(|reply| Command::Reload { reload, reply }).await?
    }
}
