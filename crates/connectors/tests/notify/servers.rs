//! A mail server and a web server of a few lines each.

use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tandem_proof_servers::certificates;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What a server has heard so far.
pub(crate) type Heard = Arc<Mutex<Vec<String>>>;

/// An authority that signed the servers' certificate, and one that did not.
pub(crate) struct Authorities {
    folder: TempDir,
}

impl Authorities {
    pub(crate) fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        certificates(folder.path());
        Self { folder }
    }

    pub(crate) fn pem(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    fn path(&self, name: &str) -> impl AsRef<Path> {
        self.folder.path().join(name)
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let chain: Vec<_> =
            CertificateDer::pem_file_iter(self.path("server.pem")).unwrap().map(|c| c.unwrap()).collect();
        let key = PrivateKeyDer::from_pem_file(self.path("server.key")).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Listens on a free port of this machine and hands each connection to `serve`.
pub(crate) async fn listen<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> u16
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    port
}

/// How a mail server behaves.
#[derive(Clone, Default)]
pub(crate) struct Mail {
    /// TLS from the first byte.
    pub(crate) tls: Option<TlsAcceptor>,
    /// STARTTLS is offered.
    pub(crate) starttls: Option<TlsAcceptor>,
    /// Instead of 250, a command that begins so gets this answer.
    pub(crate) refuses: Option<(&'static str, &'static str)>,
    /// What came, line by line.
    pub(crate) heard: Heard,
}

impl Mail {
    pub(crate) async fn start(self) -> u16 {
        listen(move |stream| {
            let mail = self.clone();
            async move {
                match &mail.tls {
                    Some(tls) => mail.greet(tls.accept(stream).await?).await,
                    None => mail.greet(stream).await,
                }
            }
        })
        .await
    }

    async fn greet<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S) -> std::io::Result<()> {
        stream.write_all(b"220 test ESMTP\r\n").await?;
        if let (Some(stream), Some(tls)) = (self.talk(stream, true).await?, &self.starttls) {
            self.talk(tls.accept(stream).await?, false).await?;
        }
        Ok(())
    }

    /// Talks until the end, or until the connection is to be protected.
    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        is_plain: bool,
    ) -> std::io::Result<Option<S>> {
        let mut stream = BufReader::new(stream);
        let mut in_data = false;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(None);
            }
            let line = line.trim_end_matches(['\r', '\n']).to_owned();
            self.heard.lock().unwrap().push(line.clone());
            let answer = if in_data {
                if line != "." {
                    continue;
                }
                in_data = false;
                "250 taken"
            } else {
                match line.split(' ').next().unwrap_or("") {
                    _ if self.refuses.is_some_and(|(command, _)| line.starts_with(command)) => {
                        self.refuses.unwrap().1
                    }
                    "EHLO" if is_plain && self.starttls.is_some() => "250-test\r\n250 STARTTLS",
                    "EHLO" => "250-test\r\n250-8BITMIME\r\n250 AUTH PLAIN",
                    "STARTTLS" => {
                        stream.get_mut().write_all(b"220 go on\r\n").await?;
                        return Ok(Some(stream.into_inner()));
                    }
                    "AUTH" => "235 welcome",
                    "DATA" => {
                        in_data = true;
                        "354 go on"
                    }
                    "QUIT" => "221 bye",
                    _ => "250 good",
                }
            };
            stream.get_mut().write_all(format!("{answer}\r\n").as_bytes()).await?;
        }
    }
}

/// A web server that gives every request the same answer: status line and headers.
pub(crate) async fn web(answer: &'static str, tls: Option<TlsAcceptor>) -> (u16, Heard) {
    let heard = Heard::default();
    let kept = heard.clone();
    let port = listen(move |stream| {
        let (tls, heard) = (tls.clone(), heard.clone());
        async move {
            match tls {
                Some(tls) => exchange(tls.accept(stream).await?, answer, &heard).await,
                None => exchange(stream, answer, &heard).await,
            }
        }
    })
    .await;
    (port, kept)
}

/// One request: its head and its body are heard, each as one piece.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    answer: &str,
    heard: &Heard,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let length =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await?;
    heard.lock().unwrap().extend([head, String::from_utf8(body).unwrap()]);
    stream.get_mut().write_all(format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await?;
    stream.get_mut().shutdown().await
}
