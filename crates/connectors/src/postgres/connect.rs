//! The ways into a server: one parsed URL, SQL sessions and replication sessions out of it.
//!
//! Both kinds go through the same TLS code, so that `sslmode` means the same for both and is never weakened:
//! `require` and above fail if the server has no TLS, `verify-ca` and `verify-full` if its certificate is not
//! the one. Both pin the settings that decide the text form of values, so that a value has one form whatever the
//! server, the database or the role is set to.

use super::error;
use pgwire_replication::tls::rustls::{MaybeTlsStream, maybe_upgrade_to_tls};
use pgwire_replication::{ReplicationConfig, SslMode, TlsConfig};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tandem_core::{Fault, FaultClass};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls};

/// How long reaching the server may take, TLS and login included.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The text form of values is fixed here, and a peer that vanished is noticed by the server within half a
/// minute, so that a slot or a lock is not held by a ghost.
const SETTINGS: &str = "-c DateStyle=ISO,YMD -c TimeZone=UTC -c IntervalStyle=iso_8601 \
    -c extra_float_digits=3 -c bytea_output=hex -c tcp_keepalives_idle=15 -c tcp_keepalives_interval=5 \
    -c tcp_keepalives_count=3";

/// How often an acknowledgement may be sent: the server's log is let go that much later at most.
pub(super) const STATUS_INTERVAL: Duration = Duration::from_millis(200);

/// Messages that the transport reads ahead of us, while the journal waits for its disk: three of them are a
/// single-row transaction. Bounded in number only, so it costs memory where rows are wide.
const READ_AHEAD_MESSAGES: usize = 2_048;

/// One message is one row. PostgreSQL's own limit for a value is 1 GB; a row above this is refused, not read.
const ROW_BYTES_MAX: usize = 512 << 20;

/// Where the server is and who we are there. Its `Debug` shows no password.
#[derive(Clone)]
pub(super) struct Endpoint {
    config: Config,
    host: Host,
    port: u16,
    tls: TlsConfig,
}

impl Endpoint {
    /// Reads `postgres://user:password@host:port/database?sslmode=…`.
    pub(super) fn parse(url: &str) -> Result<Self, Fault> {
        let bad = |why: String| Fault::new(FaultClass::Setup, "read the app's url", why);
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(bad("it does not begin with postgres://".to_owned()));
        }
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut tls = TlsConfig { mode: SslMode::Prefer, ..TlsConfig::default() };
        let mut others = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let path = || Some(PathBuf::from(percent_decoded(value)));
            match name {
                "sslmode" => {
                    tls.mode = ssl_mode(value).ok_or_else(|| bad(format!("sslmode '{value}' is unknown")))?
                }
                "sslrootcert" => tls.ca_pem_path = path(),
                "sslcert" => tls.client_cert_pem_path = path(),
                "sslkey" => tls.client_key_pem_path = path(),
                _ => others.push(pair),
            }
        }
        let rest = if others.is_empty() { base.to_owned() } else { format!("{base}?{}", others.join("&")) };
        let mut config = Config::from_str(&rest).map_err(|error| bad(error.to_string()))?;
        let host = match config.get_hosts() {
            [one] => one.clone(),
            [] => return Err(bad("it names no host".to_owned())),
            [_, _, ..] => return Err(bad("it names several hosts".to_owned())),
        };
        let port = config.get_ports().first().copied().unwrap_or(5432);
        if config.get_dbname().is_none() {
            return Err(bad("it names no database".to_owned()));
        }
        if config.get_user().is_none() {
            return Err(bad("it names no user".to_owned()));
        }
        if matches!(host, Host::Unix(_)) {
            if tls.mode.requires_tls() {
                return Err(bad("sslmode asks for TLS, which a local socket does not have".to_owned()));
            }
            tls.mode = SslMode::Disable;
        }
        let settings = match config.get_options() {
            Some(own) => format!("{own} {SETTINGS}"),
            None => SETTINGS.to_owned(),
        };
        // TLS is done by us before the driver sees the stream.
        config
            .options(settings)
            .application_name("tandem")
            .ssl_mode(tokio_postgres::config::SslMode::Disable);
        Ok(Self { config, host, port, tls })
    }

    /// The user that we log in as.
    pub(super) fn user(&self) -> &str {
        self.config.get_user().unwrap_or_default()
    }

    /// The database.
    pub(super) fn database(&self) -> &str {
        self.config.get_dbname().unwrap_or_default()
    }

    /// A new SQL session. It ends when the client is dropped.
    pub(super) async fn session(&self, operation: &str) -> Result<Client, Fault> {
        let connecting = async {
            let failed = |error: tokio_postgres::Error| error::fault(operation, &error);
            match &self.host {
                Host::Unix(_) => {
                    let (client, connection) = self.config.connect(NoTls).await.map_err(failed)?;
                    tokio::spawn(connection);
                    Ok(client)
                }
                Host::Tcp(_) => {
                    let stream = self.stream(operation).await?;
                    let (client, connection) =
                        self.config.connect_raw(stream, NoTls).await.map_err(failed)?;
                    tokio::spawn(connection);
                    Ok(client)
                }
            }
        };
        within(CONNECT_TIMEOUT, operation, connecting).await
    }

    /// Asks the server to end what `client` is doing. Best effort: the session's own timeouts are the truth.
    pub(super) async fn cancel(&self, client: &Client) {
        let token = client.cancel_token();
        let cancelling = async {
            match &self.host {
                Host::Unix(_) => token.cancel_query(NoTls).await.ok(),
                Host::Tcp(_) => {
                    let mut stream = self.stream("cancel").await.ok()?;
                    token.cancel_query_raw(&mut stream, NoTls).await.ok()?;
                    // The server closes once the signal is on its way: from then on it hits nothing else.
                    stream.read(&mut [0]).await.ok().map(drop)
                }
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), cancelling).await;
    }

    /// What a replication session needs to stream `slot`. Reports nothing above `start` as flushed until told.
    pub(super) fn replication(&self, slot: &str, start: u64) -> ReplicationConfig {
        let password =
            self.config.get_password().map(|password| String::from_utf8_lossy(password).into_owned());
        let host = match &self.host {
            Host::Tcp(host) => host.clone(),
            Host::Unix(path) => path.to_string_lossy().into_owned(),
        };
        let password = password.unwrap_or_default();
        ReplicationConfig::new(host, self.user(), password, self.database(), slot, slot)
            .with_port(self.port)
            .with_tls(self.tls.clone())
            .with_start_lsn(pgwire_replication::Lsn(start))
            .with_status_interval(STATUS_INTERVAL)
            .with_wakeup_interval(Duration::from_secs(5))
            .with_buffer_size(READ_AHEAD_MESSAGES)
            .with_max_message_size(ROW_BYTES_MAX)
            .with_options(self.config.get_options().unwrap_or(SETTINGS))
            .with_application_name("tandem")
    }

    async fn stream(&self, operation: &str) -> Result<MaybeTlsStream, Fault> {
        let Host::Tcp(host) = &self.host else {
            return Err(Fault::new(FaultClass::Internal, operation, "a local socket has no TLS"));
        };
        let broken = |error: std::io::Error| Fault::new(FaultClass::Connection, operation, error.to_string());
        let tcp = TcpStream::connect((host.as_str(), self.port)).await.map_err(broken)?;
        tcp.set_nodelay(true).map_err(broken)?;
        maybe_upgrade_to_tls(tcp, &self.tls, host)
            .await
            .map_err(|error| error::replication_fault(operation, &error))
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

/// Waits for something of the server, but not for ever.
pub(super) async fn within<T>(
    limit: Duration,
    operation: &str,
    future: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    match tokio::time::timeout(limit, future).await {
        Ok(result) => result,
        Err(_) => Err(Fault::new(
            FaultClass::Connection,
            operation,
            format!("no answer within {} s", limit.as_secs()),
        )),
    }
}

fn ssl_mode(text: &str) -> Option<SslMode> {
    Some(match text {
        "disable" => SslMode::Disable,
        "prefer" => SslMode::Prefer,
        "require" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        // `allow` would try without TLS first: a silent downgrade.
        _ => return None,
    })
}

fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match (byte, digit(ahead.next()), digit(ahead.next())) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or(b'%'));
                bytes = ahead;
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sslmode_is_read_and_none_is_weakened() {
        let mode = |query: &str| Endpoint::parse(&format!("postgres://u:p@h/d{query}")).map(|e| e.tls.mode);
        assert_eq!(mode(""), Ok(SslMode::Prefer));
        assert_eq!(mode("?sslmode=verify-full&connect_timeout=3"), Ok(SslMode::VerifyFull));
        assert_eq!(mode("?sslmode=verify-ca"), Ok(SslMode::VerifyCa));
        assert_eq!(mode("?sslmode=require"), Ok(SslMode::Require));
        assert!(mode("?sslmode=allow").is_err());
        assert!(mode("?sslmode=verify_full").is_err());
    }

    #[test]
    fn a_bad_url_is_refused_without_showing_its_password() {
        for url in [
            "mysql://u:hush@h/d",
            "postgres://u:hush@h",
            "postgres://u:hush@h,i/d",
            "postgres://u:hush@h/d?x=1",
        ] {
            let fault = Endpoint::parse(url).unwrap_err();
            assert!(!format!("{fault:?}").contains("hush"), "{fault:?}");
        }
        let endpoint = Endpoint::parse("postgres://u:hush@h/d").unwrap();
        assert!(!format!("{endpoint:?}").contains("hush"));
    }

    #[test]
    fn paths_in_the_url_are_percent_decoded() {
        assert_eq!(percent_decoded("%2Fa%20b%"), "/a b%");
    }
}
