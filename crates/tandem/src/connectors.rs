//! The one list of connectors: which scheme of an address means which kind of app. A new connector is a line
//! in here.

use crate::config::{AppUrl, Config};
use crate::failure::{Exit, Failure};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tandem_core::AppName;
use tandem_core::connect::Connector;

/// What there is, for messages.
const SCHEMES: &str = "sqlite:file.db, postgres://user@host/database";

/// A connector for each app of a config. Nothing is connected yet.
pub(crate) fn connect_all(config: &Config) -> Result<BTreeMap<AppName, Arc<dyn Connector>>, Failure> {
    config.apps.iter().map(|(app, url)| Ok((app.clone(), connect(app, url, &config.base)?))).collect()
}

/// The connector for an address. Relative paths in it start from `base`.
pub(crate) fn connect(app: &AppName, url: &AppUrl, base: &Path) -> Result<Arc<dyn Connector>, Failure> {
    let scheme = url.reveal().split_once(':').map_or("", |(scheme, _)| scheme);
    let _ = base;
    match scheme {
        _ => Err(Failure::new(Exit::Usage, format!("app {app}: there is no connector for {url}"))
            .fix(format!("the addresses are {SCHEMES}"))),
    }
}
