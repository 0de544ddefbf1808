//! `tandem serve`: engine and API in one process, until a signal ends it.
//!
//! The first signal ends it in order: what is being written is rolled back or committed, the journal is closed,
//! within ten seconds. A second one ends it at once, which costs nothing but time at the next start: the
//! journal and the watermark know where everything is.

use super::Outcome;
use crate::args::Serve as Asked;
use crate::credentials::{Note, own};
use crate::env::Surroundings;
use crate::failure::{Exit, Failure};
use crate::output::{Output, watches};
use crate::post::Post;
use crate::reload::{Beside, ConfigReloader, Fixed, Telling};
use crate::{certificate, config, connectors, logs};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tandem_engine::{Engine, Setup, TOKEN_FILE};
use tandem_server::{ReloadAsked, ReloadRefused, Reloader, Serving};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};

/// How long an orderly end may take.
const SHUTDOWN_WITHIN: Duration = Duration::from_secs(10);
/// Threads of the API: one request that reads much does not hold up the next.
const THREADS: usize = 2;

pub(crate) async fn serve(asked: Asked, output: &Output) -> Outcome {
    let config = config::load(&asked.config)?;
    let apps = connectors::connect_all(&config)?;
    let post = Arc::new(Post::new(connectors::notifiers(&config)?));
    let fixed = Fixed::of(&config);
    let shown = config.tls.as_ref().map(|tls| watch::Sender::new(tls.identity.clone()));
    let identity = shown.as_ref().map(watch::Sender::subscribe);
    let (has_tls, telling_of) = (identity.is_some(), identity.clone());
    logs::to_stderr(asked.log_format);
    leave_no_core();
    let mut signals = Signals::new()?;
    let mut hang_up = watch_for(SignalKind::hangup())?;
    let data_dir = config.data_dir.clone();
    // The engine before the port: of two engines on one data folder, the second is told about the folder.
    let setup = Setup {
        data_dir: config.data_dir,
        apps,
        maps: config.maps,
        limits: config.limits,
        hold_source: config.hold_source,
        rules: config.rules,
        tell: post.clone(),
        env: Arc::new(Surroundings::here()),
    };
    let token = data_dir.join(TOKEN_FILE);
    let engine = Engine::start(setup).await?;
    let listener = match listen(config.listen).await {
        Ok(listener) => listener,
        Err(failure) => {
            engine.shutdown().await;
            return Err(failure);
        }
    };
    let beside = Beside { channels: config.notify, tls: config.tls };
    let reloader =
        Arc::new(ConfigReloader::new(asked.config, fixed, engine.clone(), Telling { post, shown }, beside));
    let serving = Serving { identity, figures: config.metrics, reloader: Some(reloader.clone()) };
    let server = Server::start(listener, engine.clone(), &token, serving)?;
    tracing::info!(address = %server.address, tls = has_tls, maps = engine.snapshot().maps.len(), "listening");
    if let Some(shown) = telling_of {
        tokio::spawn(certificate::watch_over(shown));
    }
    // For a person at a terminal, and never for a log.
    if watches()
        && let Some(code) = engine.offer_session()
    {
        let entrance = entrance(server.address, has_tls, Some(code.reveal()));
        output.say(&format!(
            "The console, in a browser (the link signs you in, once, within an hour): {entrance}"
        ));
    }
    let name = loop {
        tokio::select! {
            name = signals.next() => break name,
            _ = hang_up.recv() => reload(&*reloader).await,
        }
    };
    tracing::info!(signal = name, "shutting down; a second signal ends at once");
    tokio::select! {
        biased;
        _ = signals.next() => Err(Failure::new(Exit::Failed, "ended at once; the next start goes on where this one was")),
        ended = tokio::time::timeout(SHUTDOWN_WITHIN, end(server, engine)) => match ended {
            Ok(()) => {
                tracing::info!("ended");
                Ok(Exit::Ok)
            }
            Err(_) => Err(Failure::new(
                Exit::Failed,
                "an orderly end took longer than 10 s, so it ended at once; the next start goes on where this one was",
            )),
        },
    }
}

/// What a crash leaves behind would hold records and secrets.
fn leave_no_core() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(why) = setrlimit(Resource::Core, none) {
        tracing::warn!(%why, "a crash may leave a core file behind, with records and secrets in it");
    }
}

/// Where a browser on this machine finds the console, and signs in if there is a code.
pub(crate) fn entrance(address: SocketAddr, has_tls: bool, code: Option<&str>) -> String {
    let scheme = if has_tls { "https" } else { "http" };
    // Behind the # it is sent to nobody by following the link; it signs in once.
    let enter = code.map(|code| format!("#enter={code}")).unwrap_or_default();
    format!("{scheme}://{}/{enter}", own(address))
}

/// What SIGHUP asks for. Nobody waits for an answer, so it is logged; every change is by the engine.
async fn reload(reloader: &dyn Reloader) {
    let asked = ReloadAsked { dry_run: false, expected: None, actor: "tandem", reason: "SIGHUP" };
    match reloader.reload(asked).await {
        Ok(done) => tracing::info!(changes = done.changes.len(), "the config was reloaded"),
        Err(ReloadRefused::Rejected(why)) => tracing::error!("the config was not reloaded: {why}"),
        Err(ReloadRefused::Changed) => {
            tracing::error!("the config was not reloaded: it has changed meanwhile")
        }
    }
}

/// The engine ends first: requests that wait for a state get their answer from that.
async fn end(server: Server, engine: Engine) {
    server.stop_accepting();
    engine.shutdown().await;
    server.ended().await;
}

/// Takes a port.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|why| {
        let failure = Failure::new(Exit::Failed, format!("cannot listen on {address}: {why}"));
        match why.kind() {
            std::io::ErrorKind::AddrInUse => failure
                .fix("stop what listens there, or set another port in the config: [server] listen = \"127.0.0.1:7071\""),
            std::io::ErrorKind::PermissionDenied => failure.fix("take a port above 1023"),
            _ => failure.fix("set [server] listen to an address of this machine"),
        }
    })
}

/// The API, served beside the engine: by threads of its own, since whoever wants to know what the engine is so busy with
/// is not to wait until it has time.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: watch::Sender<bool>,
    ended: oneshot::Receiver<()>,
    _note: Option<Note>,
}

impl Server {
    /// Starts to serve, and tells the command line of this user where
    /// the server's token is.
    pub(crate) fn start(
        listener: TcpListener,
        engine: Engine,
        token: &Path,
        serving: Serving,
    ) -> Result<Self, Failure> {
        let unusable =
            |why: std::io::Error| Failure::new(Exit::Failed, format!("the port cannot be used: {why}"));
        let address = listener.local_addr().map_err(unusable)?;
        let listener = listener.into_std().map_err(unusable)?;
        let (stop, mut stopped) = watch::channel(false);
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("api")
            .enable_all()
            .build()
            .map_err(unusable)?;
        let (tell_end, ended) = oneshot::channel();
        let serve = async move {
            let shutdown = async move {
                // An error means that the sender is gone, which means the same.
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            match TcpListener::from_std(listener) {
                Ok(listener) => tandem_server::serve(listener, engine, serving, shutdown).await,
                Err(why) => tracing::error!(error = %why, "the API ended"),
            }
            // Nobody may wait for it any more.
            let _ = tell_end.send(());
        };
        std::thread::Builder::new()
            .name("api".to_owned())
            .spawn(move || threads.block_on(serve))
            .map_err(unusable)?;
        let note = match Note::leave(address, token) {
            Ok(note) => Some(note),
            Err(why) => {
                tracing::warn!(
                    error = %why,
                    "the command line does not find the token by itself: give it --token-file {}", token.display()
                );
                None
            }
        };
        Ok(Self { address, stop, ended, _note: note })
    }

    /// Takes no more requests.
    pub(crate) fn stop_accepting(&self) {
        self.stop.send_replace(true);
    }

    /// Ends when the last request has its answer.
    pub(crate) async fn ended(self) {
        if self.ended.await.is_err() {
            tracing::error!("the API ended without a word");
        }
    }
}

/// Watches one signal.
fn watch_for(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|why| Failure::new(Exit::Failed, format!("signals cannot be watched: {why}")))
}

/// The signals that end a process.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self {
            terminate: watch_for(SignalKind::terminate())?,
            interrupt: watch_for(SignalKind::interrupt())?,
        })
    }

    /// Waits for one and says which. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
