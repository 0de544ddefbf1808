//! Reading the config again, for a server that runs: `tandem reload`, and SIGHUP.
//!
//! Maps, limits, rules, whom they tell and the certificate are as the config says from then on. The address, the data folder and the
//! apps are held by what runs, and changing them needs a restart; a reload that finds one of them changed does
//! nothing at all, so that what runs is always what some version of the config said as a whole.
//!
//! A person agrees to what they were shown, and the file may be another one by then, or somebody else may have reloaded it. So
//! what is shown has a tag, of all that the config says and of what that changes, and a reload may name the one that it means.

use crate::config::{self, Channel, Config, Tls, hex};
use crate::connectors;
use crate::post::Post;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tandem_core::connect::BoxFuture;
use tandem_core::{AppName, Finding};
use tandem_engine::{Change, Declared, Engine, How, Rejected, Reload, Subject};
use tandem_server::{Identity, MetricsAccess, ReloadAsked, ReloadRefused, Reloader, Reloading};
use tokio::sync::{Mutex, watch};

/// What stays as long as the server runs.
pub(crate) struct Fixed {
    listen: SocketAddr,
    has_tls: bool,
    data_dir: PathBuf,
    metrics: MetricsAccess,
    apps: BTreeMap<AppName, config::AppUrl>,
}

impl Fixed {
    /// What a server is started with.
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            listen: config.listen,
            has_tls: config.tls.is_some(),
            data_dir: config.data_dir.clone(),
            metrics: config.metrics,
            apps: config.apps.clone(),
        }
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
        if self.has_tls != config.tls.is_some() {
            findings.push(restart("[server] tls".to_owned(), "TLS is switched on and off by a restart only"));
        }
        if self.data_dir != config.data_dir {
            findings.push(restart(
                "[server] data_dir".to_owned(),
                "the data folder is changed by a restart only",
            ));
        }
        if self.metrics != config.metrics {
            findings.push(restart(
                "[server] metrics".to_owned(),
                "who may read the figures is changed by a restart only",
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

/// What a config says beside what the engine is told of, as it was read last.
pub(crate) struct Beside {
    /// Whom rules tell.
    pub(crate) channels: BTreeMap<String, Channel>,
    /// The certificate, if there is one.
    pub(crate) tls: Option<Tls>,
}

/// Who is told of that.
pub(crate) struct Telling {
    /// Who sends what rules have to say.
    pub(crate) post: Arc<Post>,
    /// Who shows the certificate.
    pub(crate) shown: Option<watch::Sender<Identity>>,
}

/// Reads a server's config again.
pub(crate) struct ConfigReloader {
    path: PathBuf,
    fixed: Fixed,
    engine: Engine,
    telling: Telling,
    /// One reload after the other.
    beside: Mutex<Beside>,
}

impl ConfigReloader {
    pub(crate) fn new(path: PathBuf, fixed: Fixed, engine: Engine, telling: Telling, beside: Beside) -> Self {
        Self { path, fixed, engine, telling, beside: Mutex::new(beside) }
    }
}

impl Reloader for ConfigReloader {
    fn reload<'a>(&'a self, asked: ReloadAsked<'a>) -> BoxFuture<'a, Result<Reloading, ReloadRefused>> {
        Box::pin(async move {
            let mut known = self.beside.lock().await;
            let path = self.path.clone();
            let read = tokio::task::spawn_blocking(move || config::load(&path)).await;
            let config = match read {
                Ok(read) => read.map_err(|errors| invalid(&self.path, &errors.to_string()))?,
                Err(why) => return Err(invalid(&self.path, &why.to_string()).into()),
            };
            let findings = self.fixed.changed(&config);
            if !findings.is_empty() {
                return Err(Rejected::Check(findings).into());
            }
            let notifiers = connectors::notifiers(&config)
                .map_err(|failure| invalid(&self.path, &failure.to_string()))?;
            let Config { maps, limits, hold_source, rules, notify, tls, version, .. } = config;
            let read = Beside { channels: notify, tls };
            let declared = Declared { maps, limits, hold_source, rules };
            let beside = known.differences(&read);
            let (actor, reason) = (asked.actor.to_owned(), asked.reason.to_owned());
            let reload = Reload { declared, beside, dry_run: true, actor, reason };
            let mut changes = self.engine.reload(reload.clone()).await?;
            let tag = tag(&version, &changes);
            if asked.expected.is_some_and(|expected| !expected.contains(&tag)) {
                return Err(ReloadRefused::Changed);
            }
            if !asked.dry_run {
                changes = self.engine.reload(Reload { dry_run: false, ..reload }).await?;
                self.telling.post.replace(notifiers);
                if let (Some(shown), Some(tls)) = (&self.telling.shown, &read.tls) {
                    shown.send_replace(tls.identity.clone());
                }
                *known = read;
            }
            Ok(Reloading { changes, tag })
        })
    }
}

/// Stands for what a config says and for what that changes.
fn tag(version: &str, changes: &[Change]) -> String {
    let mut digest = Sha256::new();
    digest.update(version);
    for change in changes {
        digest.update(format!("\n{change}"));
    }
    hex(&digest.finalize())
}

fn invalid(path: &std::path::Path, why: &str) -> Rejected {
    let finding = Finding::error("config_invalid", path.display().to_string(), why.trim());
    Rejected::Check(vec![finding.fix("mend the config and reload; what runs goes on as it was")])
}

impl Beside {
    /// What is different in what was read now.
    fn differences(&self, read: &Beside) -> Vec<Change> {
        let mut changes = targets(&self.channels, &read.channels);
        if let (Some(old), Some(new)) = (&self.tls, &read.tls) {
            let keys = old.differing(new);
            if !keys.is_empty() {
                changes.push(Change {
                    subject: Subject::Tls,
                    name: "server".to_owned(),
                    how: How::Edited,
                    keys,
                });
            }
        }
        changes
    }
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
