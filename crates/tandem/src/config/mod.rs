//! The config: one TOML file, and beside it an optional folder `maps` with a file for each map.
//!
//! Reading it has two outcomes. Either everything in it is understood and makes sense together, or there is a
//! list of errors, each with its place and what to do, and nothing starts: a key that was misspelled, or that a
//! later version will know, must never be passed over in silence. Paths in it are relative to the folder that
//! the file is in, so that it means the same from wherever it is used.

mod column;
mod fault;
mod file;
mod later;
mod limits;
mod map;
mod notify;
mod place;
mod rule;
mod scalar;
mod schedule;
pub(crate) mod schema;
mod secret;
mod tls;

pub(crate) use fault::{ConfigError, ConfigErrors};
pub(crate) use notify::Channel;
pub(crate) use secret::AppUrl;
pub(crate) use tls::Tls;

use fault::Source;
use file::{RawFile, RawMap};
use place::Spanned;
use scalar::Reader;
use secret::Secrets;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tandem_core::limits::{LimitSettings, Limits};
use tandem_core::map::TableMap;
use tandem_core::rules::Rule;
use tandem_core::{AppName, MapName};
use tandem_server::MetricsAccess;

/// Where the server listens when nobody says so.
pub(crate) const LISTEN_DEFAULT: &str = "127.0.0.1:7070";
/// Where the data folder is when nobody says so.
const DATA_DIR_DEFAULT: &str = "tandem-data";
/// Who may read the figures.
const METRICS: [(&str, MetricsAccess); 2] = [("token", MetricsAccess::Token), ("open", MetricsAccess::Open)];
/// The most bytes of one config file, and the most maps: beyond that something else was given by mistake.
const FILE_MAX_BYTES: u64 = 4 * 1024 * 1024;
const MAPS_MAX: usize = 10_000;
/// The longest name of an app: names of slots and publications are made of it, and PostgreSQL cuts at 63.
const APP_NAME_MAX: usize = 40;

/// What a config says, understood.
#[derive(Debug)]
pub(crate) struct Config {
    /// Where the server listens; without TLS always this machine.
    pub(crate) listen: SocketAddr,
    /// What it shows to whoever connects.
    pub(crate) tls: Option<Tls>,
    /// Stands for everything that was read, the certificate included: another one if any of it is different.
    pub(crate) version: String,
    /// Where journals and store live.
    pub(crate) data_dir: PathBuf,
    /// Who may read the figures.
    pub(crate) metrics: MetricsAccess,
    /// The folder that relative paths start from.
    pub(crate) base: PathBuf,
    /// The apps.
    pub(crate) apps: BTreeMap<AppName, AppUrl>,
    /// The maps, in the order in which they stand.
    pub(crate) maps: Vec<TableMap>,
    /// The limits of each map, settled: its own over those of all maps over the profile. They are not part of a
    /// `TableMap`, because they may change while it runs; whoever judges its queue is given them by its name.
    pub(crate) limits: BTreeMap<MapName, Limits>,
    /// Apps that are no longer read while a map is full that they feed.
    pub(crate) hold_source: BTreeSet<AppName>,
    /// The rules, in the order in which they stand. Every map and every target that they name is there.
    pub(crate) rules: Vec<Rule>,
    /// Whom rules tell, by the names that they use.
    pub(crate) notify: BTreeMap<String, Channel>,
}

/// Reads the config at `path`, and the maps beside it.
pub(crate) fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let base = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let mut errors = Vec::new();
    let source = Source::new(path, read(path)?);
    let mut version = Sha256::new();
    version.update(source.text());
    let raw: RawFile = file::parse(&source)?;
    file::refuse_later(&raw, &source, &mut errors);

    let tls = raw.server.as_ref().and_then(|server| server.tls.as_ref());
    let listen = raw.server.as_ref().and_then(|server| server.listen.as_ref());
    let listen = listen_address(listen, tls.is_some(), &source, &mut errors);
    let data_dir = raw.server.as_ref().and_then(|server| server.data_dir.as_deref());
    let data_dir = base.join(data_dir.unwrap_or(DATA_DIR_DEFAULT));
    let secrets = Secrets::new(&base);
    let tls = tls.and_then(|tls| {
        tls::understand(tls.get_ref(), &secrets, &mut Reader { source: &source, errors: &mut errors })
    });
    let mut apps = BTreeMap::new();
    for (name, app) in &raw.apps {
        if let Err(why) = check_name(name.get_ref(), APP_NAME_MAX) {
            errors
                .push(source.error(name.span(), format!("'{}' is no name of an app: {why}", name.get_ref())));
        }
        match secrets.url(app.url.get_ref()) {
            Ok(url) => {
                apps.insert(AppName::from(name.get_ref().as_str()), url);
            }
            Err(refused) => errors.push(source.error(app.url.span(), refused.why).with_fix(refused.fix)),
        }
    }

    let mut beside: Vec<(Source, Vec<Spanned<RawMap>>)> = Vec::new();
    for path in map_files(&base.join("maps"))? {
        let source = Source::new(&path, read(&path)?);
        version.update(format!("\n{}\n", path.display()));
        version.update(source.text());
        match file::parse_maps(&source) {
            Ok(found) => beside.push((source, found)),
            Err(found) => errors.extend(found.0),
        }
    }
    let files: Vec<(&Source, &[Spanned<RawMap>])> = std::iter::once((&source, raw.maps.as_slice()))
        .chain(beside.iter().map(|(source, maps)| (source, maps.as_slice())))
        .collect();
    let known: Vec<AppName> = raw.apps.keys().map(|name| AppName::from(name.get_ref().as_str())).collect();
    let maps = map::understand(&files, &known, &mut errors);
    if maps.len() > MAPS_MAX {
        errors.push(ConfigError::of_file(
            path,
            format!("there are {} maps; {MAPS_MAX} are possible", maps.len()),
        ));
    }
    let limits = settled_limits(&source, raw.limits.as_ref(), &files, &mut errors);
    let mut reader = Reader { source: &source, errors: &mut errors };
    let mut hold_source = BTreeSet::new();
    for (name, app) in &raw.apps {
        let given = app.when_full.as_ref();
        if given.and_then(|given| reader.word("when_full", given, &[("hold_source", ())])).is_some() {
            hold_source.insert(AppName::from(name.get_ref().as_str()));
        }
    }
    let metrics = raw.server.as_ref().and_then(|server| server.metrics.as_ref());
    let metrics = metrics.and_then(|given| reader.word("metrics", given, &METRICS)).unwrap_or_default();
    let notify = notify::understand(&raw.notify, &secrets, &mut reader);
    let targets: Vec<String> = raw.notify.keys().map(|name| name.get_ref().clone()).collect();
    let names: BTreeSet<MapName> = maps.iter().map(|map| map.name.clone()).collect();
    let rules = rule::understand(&raw.rules, &rule::Known { maps: &names, targets: &targets }, &mut reader);
    if !errors.is_empty() {
        return Err(ConfigErrors(errors));
    }
    if let Some(tls) = &tls {
        version.update(tls.certificate());
    }
    let version = hex(&version.finalize());
    Ok(Config {
        listen,
        tls,
        version,
        data_dir,
        metrics,
        base,
        apps,
        maps,
        limits,
        hold_source,
        rules,
        notify,
    })
}

/// Bytes as digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The limits of every map: what it says itself, over what is said for all, over the profile that is the default.
fn settled_limits(
    source: &Source,
    of_all: Option<&limits::RawLimits>,
    files: &[(&Source, &[Spanned<RawMap>])],
    errors: &mut Vec<ConfigError>,
) -> BTreeMap<MapName, Limits> {
    let mut settings = |source: &Source, raw: Option<&limits::RawLimits>| match raw {
        Some(raw) => limits::understand(raw, &mut Reader { source, errors }),
        None => LimitSettings::default(),
    };
    let of_all = settings(source, of_all).over(&Limits::default());
    let maps = files.iter().flat_map(|(source, maps)| maps.iter().map(move |map| (source, map.get_ref())));
    maps.map(|(source, map)| {
        let limits = settings(source, map.limits.as_ref()).over(&of_all);
        (MapName::from(map.name.get_ref().as_str()), limits)
    })
    .collect()
}

fn read(path: &Path) -> Result<String, ConfigErrors> {
    let refuse = |why: String, fix: &str| ConfigErrors(vec![ConfigError::of_file(path, why).with_fix(fix)]);
    let unreadable = |why: std::io::Error| {
        let fix = match why.kind() {
            std::io::ErrorKind::NotFound => {
                "write it there (the README begins with one), or name another with -c; tandem demo shows Tandem at work without any"
            }
            std::io::ErrorKind::PermissionDenied => "let the user that runs tandem read it",
            _ => "name a file of text with -c",
        };
        refuse(format!("cannot be read: {why}"), fix)
    };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > FILE_MAX_BYTES {
        return Err(refuse(
            format!("has {size} bytes; a config has at most {FILE_MAX_BYTES}"),
            "name another with -c",
        ));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

/// The files of the maps folder, by name; none if there is no such folder.
fn map_files(folder: &Path) -> Result<Vec<PathBuf>, ConfigErrors> {
    let refuse = |why: std::io::Error| {
        ConfigErrors(vec![ConfigError::of_file(folder, format!("cannot be read: {why}"))])
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(why) => return Err(refuse(why)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(refuse)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Tokens and records must not cross a network in the open, so without TLS only this machine may be listened on.
fn listen_address(
    given: Option<&Spanned<String>>,
    has_tls: bool,
    source: &Source,
    errors: &mut Vec<ConfigError>,
) -> SocketAddr {
    let fallback = || LISTEN_DEFAULT.parse().expect("the default is an address");
    let Some(given) = given else { return fallback() };
    match parse_listen(given.get_ref(), has_tls) {
        Ok(address) => address,
        Err((why, fix)) => {
            errors.push(source.error(given.span(), why).with_fix(fix));
            fallback()
        }
    }
}

/// An address to listen on, without TLS one of this machine; or why it is none and what to write.
pub(crate) fn parse_listen(text: &str, has_tls: bool) -> Result<SocketAddr, (String, &'static str)> {
    let numeric = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    match numeric.as_deref().unwrap_or(text).parse::<SocketAddr>() {
        Ok(address) if has_tls || address.ip().is_loopback() => Ok(address),
        Ok(_) => Err((
            format!("listen = \"{text}\": without TLS the server listens on this machine only"),
            "write tls = { certificate = \"file:…\", key = \"file:…\" } below it; or listen = \"127.0.0.1:7070\", and reach it from \
             elsewhere through a tunnel such as ssh -L",
        )),
        Err(_) => Err((
            format!("listen = \"{text}\" is no address with a port"),
            "write it as listen = \"127.0.0.1:7070\"",
        )),
    }
}

/// Names stand in commands, in addresses, and in names that Tandem makes in the apps.
fn check_name(name: &str, longest: usize) -> Result<(), String> {
    if name.is_empty() || name.len() > longest {
        return Err(format!("it has 1 to {longest} characters"));
    }
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
        return Err("it is made of a-z, A-Z, 0-9, _ and -".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
