//! The one list of connectors: which scheme of an address means which kind of app. A new connector is a line
//! in here.

use crate::config::{AppUrl, Channel, Config};
use crate::failure::{Exit, Failure};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tandem_connectors::notify::{Notifier, Smtp, Webhook};
use tandem_connectors::postgres::Postgres;
use tandem_connectors::sqlite::SqliteApp;
use tandem_core::connect::Connector;
use tandem_core::{AppName, Fault};

/// What there is, for messages.
const SCHEMES: &str = "sqlite:file.db, postgres://user@host/database";

/// A connector for each app of a config. Nothing is connected yet.
pub(crate) fn connect_all(config: &Config) -> Result<BTreeMap<AppName, Arc<dyn Connector>>, Failure> {
    config.apps.iter().map(|(app, url)| Ok((app.clone(), connect(app, url, &config.base)?))).collect()
}

/// A notifier for each target of a config. Nothing is connected yet; settings that cannot work are refused.
pub(crate) fn notifiers(config: &Config) -> Result<BTreeMap<String, Notifier>, Failure> {
    let made = config.notify.iter().map(|(target, channel)| {
        let made = match channel {
            Channel::Smtp { url, from, to, ca } => {
                Notifier::smtp(&Smtp { url: url.reveal(), from, to, ca: ca.as_deref() })
            }
            Channel::Webhook { url, secret, ca } => {
                let (url, secret) = (url.reveal(), secret.reveal());
                Notifier::webhook(&Webhook { url, secret, ca: ca.as_deref() })
            }
        };
        let notifier = made.map_err(|fault| {
            let failure = Failure::new(Exit::Usage, format!("notify {target}: {fault}"));
            match fault.fix {
                Some(fix) => failure.fix(fix),
                None => failure,
            }
        })?;
        Ok((target.clone(), notifier))
    });
    made.collect()
}

/// The connector for an address. Relative paths in it start from `base`.
fn connect(app: &AppName, url: &AppUrl, base: &Path) -> Result<Arc<dyn Connector>, Failure> {
    let scheme = url.reveal().split_once(':').map_or("", |(scheme, _)| scheme);
    let made = match scheme {
        "sqlite" => sqlite(url.reveal(), base),
        "postgres" | "postgresql" => Postgres::connector(app, url.reveal()),
        _ => {
            return Err(Failure::new(Exit::Usage, format!("app {app}: there is no connector for {url}"))
                .fix(format!("the addresses are {SCHEMES}")));
        }
    };
    made.map_err(|fault| {
        Failure::new(Exit::Usage, format!("app {app}: {url}: {fault}"))
            .fix(fault.fix.unwrap_or_else(|| format!("the addresses are {SCHEMES}")))
    })
}

/// An absolute path stays as it is when it is joined to a folder.
fn sqlite(url: &str, base: &Path) -> Result<Arc<dyn Connector>, Fault> {
    let path = url.trim_start_matches("sqlite:");
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path == ":memory:" {
        return SqliteApp::from_url(url).map(|app| Arc::new(app) as Arc<dyn Connector>);
    }
    Ok(Arc::new(SqliteApp::new(base.join(path))))
}
