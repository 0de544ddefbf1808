//! Reading the config again, for a server that runs: `tandem reload`, and SIGHUP.
//!
//! Maps, limits, rules and whom they tell are as the config says from then on. The address, the data folder and the
//! apps are held by what runs, and changing them needs a restart; a reload that finds one of them changed does
//! nothing at all, so that what runs is always what some version of the config said as a whole.

use crate::config::{self, Channel, Config};
use crate::connectors;
use crate::post::Post;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tandem_core::connect::BoxFuture;
use tandem_core::{AppName, Finding};
use tandem_engine::{Change, Declared, Engine, How, Rejected, Reload, Subject};
use tandem_server::Reloader;
use tokio::sync::Mutex;

/// What stays as long as the server runs.
pub(crate) struct Fixed {
    listen: SocketAddr,
    data_dir: PathBuf,
    apps: BTreeMap<AppName, config::AppUrl>,
}

impl Fixed {
    /// What a server is started with.
    pub(crate) fn of(config: &Config) -> Self {
        Self { listen: config.listen, data_dir: config.data_dir.clone(), apps: config.apps.clone() }
    }

    /// What of it the config says differently now.
    fn changed(&self, config: &Config) -> Vec<Finding> {
        let restart = |place: String, message: &str| {
            let fix = "write it as it was and reload, or restart the server: maps go on where they were";
            Finding::error("restart_needed", place, message).fix(fix)
        };
        let mut findings = Vec::new();
        if self.listen != config.listen {
            findings.push(restart("[server] listen".to_owned(), "the address is changed by a restart only"));
        }
        if self.data_dir != config.data_dir {
            findings.push(restart(
                "[server] data_dir".to_owned(),
                "the data folder is changed by a restart only",
            ));
        }
        let names: BTreeSet<&AppName> = self.apps.keys().chain(config.apps.keys()).collect();
        for name in names {
            let message = match (self.apps.get(name), config.apps.get(name)) {
                (Some(old), Some(new)) if old.reveal() == new.reveal() => continue,
                (Some(_), Some(_)) => "the address of an app is changed by a restart only",
                (None, _) => "an app is added by a restart only",
                (_, None) => "an app is taken out by a restart only",
            };
            findings.push(restart(format!("[apps.{name}]"), message));
        }
        findings
    }
}

/// Reads a server's config again.
pub(crate) struct ConfigReloader {
    path: PathBuf,
    fixed: Fixed,
    engine: Engine,
    post: Arc<Post>,
    /// As they were read last. One reload after the other.
    channels: Mutex<BTreeMap<String, Channel>>,
}

impl ConfigReloader {
    pub(crate) fn new(
        path: PathBuf,
        fixed: Fixed,
        engine: Engine,
        post: Arc<Post>,
        channels: BTreeMap<String, Channel>,
    ) -> Self {
        Self { path, fixed, engine, post, channels: Mutex::new(channels) }
    }
}

impl Reloader for ConfigReloader {
    fn reload<'a>(
        &'a self,
        dry_run: bool,
        actor: &'a str,
        reason: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Change>, Rejected>> {
        Box::pin(async move {
            let mut channels = self.channels.lock().await;
            let path = self.path.clone();
            let read = tokio::task::spawn_blocking(move || config::load(&path)).await;
            let config = match read {
                Ok(read) => read.map_err(|errors| invalid(&self.path, &errors.to_string()))?,
                Err(why) => return Err(invalid(&self.path, &why.to_string())),
            };
            let findings = self.fixed.changed(&config);
            if !findings.is_empty() {
                return Err(Rejected::Check(findings));
            }
            let notifiers = connectors::notifiers(&config)
                .map_err(|failure| invalid(&self.path, &failure.to_string()))?;
            let Config { maps, limits, hold_source, rules, notify, .. } = config;
            let declared = Declared { maps, limits, hold_source, rules };
            let beside = targets(&channels, &notify);
            let (actor, reason) = (actor.to_owned(), reason.to_owned());
            let changes = self.engine.reload(Reload { declared, beside, dry_run, actor, reason }).await?;
            if !dry_run {
                self.post.replace(notifiers);
                *channels = notify;
            }
            Ok(changes)
        })
    }
}

fn invalid(path: &std::path::Path, why: &str) -> Rejected {
    let finding = Finding::error("config_invalid", path.display().to_string(), why.trim());
    Rejected::Check(vec![finding.fix("mend the config and reload; what runs goes on as it was")])
}

/// Whom rules tell: who came, who went, and who is told differently.
fn targets(before: &BTreeMap<String, Channel>, after: &BTreeMap<String, Channel>) -> Vec<Change> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = names.into_iter().filter_map(|name| {
        let how = match (before.get(name), after.get(name)) {
            (Some(old), Some(new)) if old.is_same(new) => return None,
            (Some(_), Some(_)) => How::Edited,
            (None, _) => How::Added,
            (_, None) => How::Removed,
        };
        Some(Change { subject: Subject::Notify, name: name.clone(), how, keys: Vec::new() })
    });
    changed.collect()
}
