//! How connections are taken, and let go of: the loop below the routes.
//!
//! Who connects may be anybody, and has shown nothing yet. So no connection costs us more than a bounded time and a
//! bounded place before a request has come whole, and nobody takes all the places:
//!
//! - A handshake has ten seconds. There are so many at a time; if there are more, the oldest one goes, which is a slow
//!   client, or one who only pretends: an honest one is done in a moment. So whoever opens many and says nothing keeps
//!   nobody out.
//! - A request's head has thirty seconds, from the moment when the connection is there or the answer before was sent.
//! - An answer that is not taken for thirty seconds ends its connection (`patience.rs`).
//! - Once the server ends, whoever is still being listened to or answered has eight seconds.
//! - There are so many connections, and so many of one address of a network.
//!
//! `axum::serve` would take connections as well, but knows none of these bounds.

use crate::patience::{Connection, PATIENCE};
use crate::tls::{Identity, greet};
use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio_rustls::server::TlsStream;

/// The most connections. Twice as many as requests are answered at a time, and listeners to events beside.
const CONNECTIONS_MAX: usize = 1200;
/// The most of them from one address, or from one network of IPv6, unless it is this machine.
const OF_ADDRESS_MAX: usize = 300;
/// The most handshakes at a time.
const HANDSHAKES_MAX: usize = 128;
/// How long the head of a request may take.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// How long a connection may go on once the server ends. The engine ends meanwhile, and answers who waits for a state; an orderly
/// end of all has ten seconds.
const END_WITHIN: Duration = Duration::from_secs(8);
/// How often it is said that there are too many connections.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Serves a router until `shutdown` ends, and then until the requests that are being answered are. With an identity, over
/// TLS: whoever connects is shown the one that is there then.
pub(crate) async fn serve(
    mut listener: TcpListener,
    identity: Option<watch::Receiver<Identity>>,
    router: Router,
    shutdown: impl Future<Output = ()>,
) {
    let (end, ending) = watch::channel(false);
    let mut open = Open::new(router, ending, HEAD_WITHIN);
    let mut handshakes = Handshakes::default();
    let mut shutdown = pin!(shutdown);
    loop {
        // Each of them may be dropped and asked again. The end comes first, then what makes room, then what takes it.
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = open.tasks.join_next_with_id() => {
                let id = ended.map_or_else(|why| why.id(), |(id, ())| id);
                open.from.remove(&id);
            }
            Some(done) = handshakes.tasks.join_next() => {
                if let Ok(Some((stream, address))) = done {
                    open.take(stream, address);
                }
            }
            (stream, address) = Listener::accept(&mut listener) => {
                // It saves a wait, and is worth no more than that.
                let _ = stream.set_nodelay(true);
                match &identity {
                    None => open.take(stream, address),
                    Some(identity) => handshakes.begin(stream, address, identity.borrow().clone()),
                }
            }
        }
    }
    drop(listener);
    handshakes.tasks.abort_all();
    end.send_replace(true);
    while open.tasks.join_next().await.is_some() {}
}

/// Handshakes that go on.
#[derive(Default)]
struct Handshakes {
    tasks: JoinSet<Option<(TlsStream<TcpStream>, SocketAddr)>>,
    /// The oldest first; some are done already.
    order: VecDeque<AbortHandle>,
}

impl Handshakes {
    fn begin(&mut self, stream: TcpStream, address: SocketAddr, identity: Identity) {
        self.order.retain(|handshake| !handshake.is_finished());
        if self.order.len() >= HANDSHAKES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            oldest.abort();
        }
        let shaken = async move { greet(stream, identity).await.map(|stream| (stream, address)) };
        self.order.push_back(self.tasks.spawn(shaken));
    }
}

/// Connections on which requests are answered.
struct Open {
    router: Router,
    ending: watch::Receiver<bool>,
    /// How long the head of a request may take.
    head_within: Duration,
    tasks: JoinSet<()>,
    /// Where each of them comes from.
    from: HashMap<Id, IpAddr>,
    /// When it was said last that there are too many.
    said: Option<Instant>,
}

impl Open {
    fn new(router: Router, ending: watch::Receiver<bool>, head_within: Duration) -> Self {
        Self { router, ending, head_within, tasks: JoinSet::new(), from: HashMap::new(), said: None }
    }

    fn take<S>(&mut self, stream: S, address: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let from = network(address.ip());
        let of_address = self.from.values().filter(|known| **known == from).count();
        let is_too_much = of_address >= OF_ADDRESS_MAX && !from.is_loopback();
        if self.from.len() >= CONNECTIONS_MAX || is_too_much {
            if self.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
                self.said = Some(Instant::now());
                tracing::warn!(
                    connections = self.from.len(), %from, of_address,
                    "there are too many connections, and no more are taken: at most {CONNECTIONS_MAX}, {OF_ADDRESS_MAX} from one address"
                );
            }
            return;
        }
        let served = answer(stream, self.router.clone(), self.head_within, self.ending.clone());
        self.from.insert(self.tasks.spawn(served).id(), from);
    }
}

/// Answers the requests of one connection, until it ends; once the server does, until the one that is being answered is, for a
/// while.
async fn answer<S>(stream: S, router: Router, head_within: Duration, mut ending: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(Connection::new(stream, PATIENCE));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_within)
        .serve_connection(io, TowerToHyperService::new(router));
    let mut served = pin!(served);
    tokio::select! {
        // However it ended, there is nobody to tell.
        _ = served.as_mut() => return,
        // An error means that the loop is gone, which means the same.
        _ = ending.wait_for(|ending| *ending) => served.as_mut().graceful_shutdown(),
    }
    let _ = tokio::time::timeout(END_WITHIN, served).await;
}

/// What counts as one address. Of IPv6, whoever has one has a network of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        own => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let check = |address: &str, expected: &str| {
            assert_eq!(network(address.parse().unwrap()).to_string(), expected);
        };
        check("192.0.2.7", "192.0.2.7");
        check("::ffff:192.0.2.7", "192.0.2.7");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
        check("::1", "::1");
    }

    fn open(router: Router) -> (Open, watch::Sender<bool>) {
        let (end, ending) = watch::channel(false);
        (Open::new(router, ending, Duration::from_millis(200)), end)
    }

    #[tokio::test]
    async fn who_does_not_say_what_they_want_is_let_go_and_who_waits_for_an_answer_is_not() {
        let slow = || async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            "late"
        };
        let (mut open, _end) = open(Router::new().route("/slow", get(slow)));
        let (near, mut far) = duplex(4096);
        open.take(near, "192.0.2.7:1".parse().unwrap());
        far.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"late") {
            assert_ne!(far.read_buf(&mut answer).await.unwrap(), 0, "it was let go: {answer:?}");
        }
        let asked = Instant::now();
        far.write_all(b"GET /slow HTTP/1.1\r\nHost: ").await.unwrap();
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
        let took = asked.elapsed();
        assert!(took >= Duration::from_millis(200) && took < Duration::from_secs(5), "{took:?}");
    }

    #[tokio::test]
    async fn nobody_takes_all_the_places() {
        let (mut open, _end) = open(Router::new());
        let mut lines = Vec::new();
        let mut take = |address: String, times: usize| {
            for _ in 0..times {
                let (near, far) = duplex(64);
                open.take(near, address.parse().unwrap());
                lines.push(far);
            }
            open.from.len()
        };
        assert_eq!(take("192.0.2.7:1".to_owned(), OF_ADDRESS_MAX + 50), OF_ADDRESS_MAX);
        assert_eq!(take("[2001:db8::1]:1".to_owned(), OF_ADDRESS_MAX - 1), 2 * OF_ADDRESS_MAX - 1);
        assert_eq!(take("[2001:db8::2]:1".to_owned(), 5), 2 * OF_ADDRESS_MAX, "another one of that network");
        assert_eq!(
            take("127.0.0.1:1".to_owned(), CONNECTIONS_MAX),
            CONNECTIONS_MAX,
            "this machine has what is left"
        );
        assert_eq!(take("192.0.2.8:1".to_owned(), 1), CONNECTIONS_MAX);
    }
}
