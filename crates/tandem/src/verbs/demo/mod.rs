//! `tandem demo`: two SQLite apps, an ERP and a CRM, kept in step by the real engine over the real API, with
//! traffic and a live view. Needs nothing but the binary.
//!
//! Nothing in here is made easier for the demo: the apps have foreign keys, the maps rename tables and columns,
//! and what is typed into another terminal goes through the same server as it does anywhere else. The one thing
//! that is special is that the writer and the view open the databases themselves, since they play the apps and
//! their users.

mod apps;
mod traffic;
mod verdict;
mod view;

use super::Outcome;
use super::serve::{Server, Signals, entrance, listen};
use crate::args::Demo as Asked;
use crate::env::Surroundings;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::{config, connectors, logs};
use apps::Apps;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tandem_core::MapName;
use tandem_core::lifecycle::{Action, Phase};
use tandem_engine::{Engine, Request, Secret, Setup, TOKEN_FILE, TellNobody};
use tandem_server::{MetricsAccess, Serving};
use tokio::net::TcpListener;
use traffic::Traffic;
use view::View;

/// How long the maps may take to start.
const RUNNING_WITHIN: Duration = Duration::from_secs(30);
/// How long an orderly end may take.
const SHUTDOWN_WITHIN: Duration = Duration::from_secs(10);

pub(crate) async fn demo(asked: Asked, output: &Output) -> Outcome {
    let mut signals = Signals::new()?;
    let (folder, _temporary) = folder(asked.dir)?;
    let apps = Apps::create(&folder).map_err(|why| failed("the demo's apps cannot be made", &why))?;
    let listener = port(&asked.listen).await?;
    let address = listener.local_addr().map_err(|why| failed("the port cannot be used", &why))?;
    let path =
        apps.write_config(address).map_err(|why| failed("the demo's config cannot be written", &why))?;
    let log = std::fs::File::create(folder.join("tandem.log"));
    logs::to_file(log.map_err(|why| failed("the demo's log cannot be written", &why))?);

    let config = config::load(&path)?;
    let token = config.data_dir.join(TOKEN_FILE);
    let setup = Setup {
        data_dir: config.data_dir.clone(),
        apps: connectors::connect_all(&config)?,
        maps: config.maps,
        limits: config.limits,
        hold_source: config.hold_source,
        rules: Vec::new(),
        tell: Arc::new(TellNobody),
        env: Arc::new(Surroundings::here()),
    };
    let engine = Engine::start(setup).await?;
    let serving = Serving { identity: None, figures: MetricsAccess::Token, reloader: None };
    let server = Server::start(listener, engine.clone(), &token, serving)?;
    let code = engine.offer_session();
    output.say(&welcome(address, &folder, code.as_ref().map(Secret::reveal)));

    let show = async {
        start_maps(&engine).await?;
        let traffic = Traffic::start(&apps).map_err(|why| failed("the demo's writer cannot start", &why))?;
        let view = View::open(&apps, output).map_err(|why| failed("the demo's view cannot start", &why))?;
        let ended = tokio::select! {
            biased;
            ended = traffic.failed() => ended,
            ended = view.show(&engine, asked.seconds.map(Duration::from_secs)) => ended,
        };
        traffic.stop().await;
        ended.map_err(|why| failed("the demo broke off", &why))?;
        verdict::verdict(&engine, &apps, output).await
    };
    let outcome = tokio::select! {
        biased;
        _ = signals.next() => Ok(Exit::Ok),
        outcome = show => outcome,
    };
    server.stop_accepting();
    let end = async {
        engine.shutdown().await;
        server.ended().await;
    };
    tokio::select! {
        _ = signals.next() => {}
        _ = tokio::time::timeout(SHUTDOWN_WITHIN, end) => {}
    }
    output.say("the demo has ended");
    outcome
}

fn failed(what: &str, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, format!("{what}: {why}"))
}

/// The folder of the demo's files, and what removes it at the end if it is temporary.
fn folder(dir: Option<PathBuf>) -> Result<(PathBuf, Option<tempfile::TempDir>), Failure> {
    match dir {
        Some(dir) => {
            std::fs::create_dir_all(&dir).map_err(|why| failed("the folder cannot be made", &why))?;
            Ok((dir, None))
        }
        None => {
            let folder = tempfile::Builder::new().prefix("tandem-demo-").tempdir();
            let folder = folder.map_err(|why| failed("a temporary folder cannot be made", &why))?;
            Ok((folder.path().to_path_buf(), Some(folder)))
        }
    }
}

/// The port that was asked for, or any if another program has it.
async fn port(asked: &str) -> Result<TcpListener, Failure> {
    let wanted = config::parse_listen(asked, false)
        .map_err(|(why, _)| Failure::new(Exit::Usage, why).fix("write it as --listen 127.0.0.1:7070"))?;
    match TcpListener::bind(wanted).await {
        Ok(listener) => Ok(listener),
        Err(_) => listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await,
    }
}

/// Maps that were left in another state by an earlier demo in the same folder stay in it.
async fn start_maps(engine: &Engine) -> Result<(), Failure> {
    let snapshot = engine.snapshot();
    let maps: Vec<MapName> = snapshot
        .maps
        .iter()
        .filter(|map| map.state.phase == Phase::NotRunning)
        .map(|map| map.map.name.clone())
        .collect();
    if maps.is_empty() {
        return Ok(());
    }
    let request = Request {
        reason: "the demo begins with empty apps".to_owned(),
        ..Request::new(Action::Run { initial_sync: false }, maps.clone(), "demo")
    };
    engine.act(request).await.map_err(|why| failed("the demo's maps cannot run", &why))?;
    for map in &maps {
        let running = engine.wait(map, Phase::Running, RUNNING_WITHIN).await;
        running.map_err(|why| failed("the demo's maps did not run", &why))?;
    }
    Ok(())
}

fn welcome(address: SocketAddr, folder: &Path, code: Option<&str>) -> String {
    let program = program();
    let at = match address.to_string().as_str() {
        config::LISTEN_DEFAULT => String::new(),
        other => format!(" --server http://{other}"),
    };
    let entrance = entrance(address, false, code);
    format!(
        "Two apps, an ERP and a CRM, are kept in step. Their files are in {}.
See them in a browser (the link signs you in, once):

  {entrance}

Or type in another terminal:

  {program} map pause customers --reason maintenance{at}   # its dependents pause, too; the ERP goes on
  {program} queue stats customers{at}                      # what waits for the CRM
  {program} map resume customers{at}                       # catches up, in order; so do they
  {program} activity --follow{at}

Ctrl-C ends the demo.
",
        folder.display(),
    )
}

/// How this program is called from where we are: by its name if that finds it, else by its path.
fn program() -> String {
    let Ok(own) = std::env::current_exe() else { return "tandem".to_owned() };
    let on_path = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path)
            .any(|folder| folder.join("tandem").canonicalize().is_ok_and(|found| found == own))
    });
    if on_path {
        return "tandem".to_owned();
    }
    let here = std::env::current_dir().ok();
    let near = here.as_deref().and_then(|here| own.strip_prefix(here).ok());
    near.unwrap_or(&own).display().to_string()
}

/// Runs work on a database where it stops nobody else.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|why| why.to_string())?;
    done.map_err(|why| why.to_string())
}
