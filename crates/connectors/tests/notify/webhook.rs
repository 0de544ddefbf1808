//! The signed POST.

use super::servers::{Authorities, listen, web};
use super::{NOW, notification};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::time::Duration;
use tandem_connectors::notify::{Notifier, SEND_WITHIN, Webhook};
use tandem_core::{Fault, FaultClass};

const SECRET: &str = "hunter2";

fn notifier(url: &str, ca: Option<&[u8]>) -> Result<Notifier, Fault> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Notifier::webhook(&Webhook { url, secret: SECRET, ca })
}

async fn post(url: &str, ca: Option<&[u8]>) -> Result<(), Fault> {
    notifier(url, ca)?.send(&notification(), NOW).await
}

/// Whether a signature is of a body by a secret, as whoever gets a post would look.
fn is_signed(header: &str, body: &str, secret: &str) -> bool {
    let (time, signature) = header.split_once(',').unwrap();
    let time = time.strip_prefix("t=").unwrap();
    let hex = signature.strip_prefix("v1=").unwrap();
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{time}.{body}").as_bytes());
    mac.verify_slice(&bytes).is_ok()
}

#[tokio::test]
async fn a_post_arrives_and_its_signature_holds() {
    let (port, heard) = web("200 OK", None).await;
    post(&format!("http://127.0.0.1:{port}/hooks/token?x=1"), None).await.unwrap();
    let heard = heard.lock().unwrap().clone();
    let [head, body] = heard.as_slice() else { panic!("one request: {heard:?}") };
    assert!(head.starts_with("POST /hooks/token?x=1 HTTP/1.1\r\n"), "{head}");
    let header = |name: &str| {
        let line = head.lines().find(|line| line.to_lowercase().starts_with(name));
        line.and_then(|line| line.split_once(": ")).unwrap_or_else(|| panic!("{name} in {head}")).1.to_owned()
    };
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("tandem-id"), "n-1");
    assert_eq!(
        body,
        r#"{"id":"n-1","at":"2026-11-22T00:00:00Z","subject":"customers is paused","lines":["crm-down: the destination has not been reached for 10 s"],"map":"customers","rule":"crm-down"}"#
    );
    let signature = header("tandem-signature");
    assert!(signature.starts_with("t=1795305600,v1="), "{signature}");
    assert!(is_signed(&signature, body, SECRET), "{signature}");
    assert!(!is_signed(&signature, body, "another"));
    assert!(!is_signed(&signature, &body.replace("customers", "orders"), SECRET));
    assert!(!is_signed(&signature.replace("t=1795305600", "t=1795305601"), body, SECRET));
}

#[tokio::test]
async fn an_answer_has_its_class() {
    for (answer, class) in [
        ("200 OK", None),
        ("204 No Content", None),
        ("301 Moved Permanently", Some(FaultClass::Setup)),
        ("307 Temporary Redirect", Some(FaultClass::Setup)),
        ("400 Bad Request", Some(FaultClass::Application)),
        ("401 Unauthorized", Some(FaultClass::Auth)),
        ("403 Forbidden", Some(FaultClass::Permission)),
        ("404 Not Found", Some(FaultClass::Setup)),
        ("408 Request Timeout", Some(FaultClass::Unavailable)),
        ("429 Too Many Requests", Some(FaultClass::Throttled)),
        ("500 Internal Server Error", Some(FaultClass::Unavailable)),
        ("503 Service Unavailable", Some(FaultClass::Unavailable)),
    ] {
        let (port, _) = web(answer, None).await;
        let fault = post(&format!("http://localhost:{port}/"), None).await.err();
        assert_eq!(fault.as_ref().map(|fault| fault.class), class, "{answer}: {fault:?}");
        let code = fault.as_ref().map(|fault| fault.code.as_deref());
        assert_eq!(code, class.map(|_| answer.get(..3)), "{answer}: {fault:?}");
        assert!(fault.is_none_or(|fault| fault.fix.is_some()), "{answer}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (port, elsewhere) = web("200 OK", None).await;
    let answer: &'static str = format!("302 Found\r\nlocation: http://127.0.0.1:{port}/").leak();
    let (port, asked) = web(answer, None).await;
    let fault = post(&format!("http://127.0.0.1:{port}/"), None).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Setup, "{fault:?}");
    assert!(elsewhere.lock().unwrap().is_empty() && asked.lock().unwrap().len() == 2);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_says_nothing_is_not_waited_for() {
    let port = listen(|stream| async move {
        let _open = stream;
        std::future::pending().await
    })
    .await;
    let url = format!("http://127.0.0.1:{port}/");
    let asked = post(&url, None);
    // One second more, on a clock that stands still while anybody works.
    let sent = tokio::time::timeout(SEND_WITHIN + Duration::from_secs(1), asked).await.expect("it gives up");
    assert!(sent.as_ref().is_err_and(|fault| fault.class.is_transient()), "{sent:?}");
}

#[tokio::test]
async fn where_nobody_listens_is_worth_another_try_and_the_path_stays_secret() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let fault = post(&format!("http://127.0.0.1:{port}/hooks/{SECRET}"), None).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Connection, "{fault:?}");
    assert!(fault.message.contains("refused") && !format!("{fault:?}").contains(SECRET), "{fault:?}");
    let shown = format!("{:?}", notifier(&format!("https://hooks.example.com/{SECRET}"), None).unwrap());
    assert_eq!(shown, "webhook at hooks.example.com");
}

#[tokio::test]
async fn a_certificate_is_verified() {
    let authorities = Authorities::new();
    let (port, heard) = web("200 OK", Some(authorities.acceptor())).await;
    let url = format!("https://localhost:{port}/");
    let (ca, other) = (authorities.pem("ca.pem"), authorities.pem("other.pem"));
    for (url, ca) in
        [(&url, Some(other.as_slice())), (&url, None), (&url.replace("localhost", "127.0.0.1"), Some(&ca))]
    {
        let fault = post(url, ca).await.unwrap_err();
        assert_eq!(fault.class, FaultClass::Setup, "{fault:?}");
    }
    assert!(heard.lock().unwrap().is_empty());
    post(&url, Some(&ca)).await.unwrap();
    assert_eq!(heard.lock().unwrap().len(), 2);
}

#[test]
fn where_nothing_may_be_posted_is_refused_at_once() {
    for url in [
        "hooks.example.com",
        "ftp://hooks.example.com/hunter2",
        "http://hooks.example.com/hunter2",
        "http://10.0.0.7/hunter2",
        "https://169.254.169.254/hunter2",
        "https://[::ffff:169.254.169.254]/hunter2",
        "https://[fe80::1]/hunter2",
        "https://0xa9fea9fe/hunter2",
        "https://0.0.0.0/hunter2",
        "https:///",
    ] {
        let fault = notifier(url, None).err().unwrap_or_else(|| panic!("{url}"));
        assert_eq!(fault.class, FaultClass::Setup, "{fault:?}");
        assert!(fault.fix.is_some() && !format!("{fault:?}").contains(SECRET), "{fault:?}");
    }
    for url in
        ["https://hooks.example.com/x", "https://10.0.0.7/x", "http://0x7f000001/x", "http://[::1]:1/x"]
    {
        assert!(notifier(url, None).is_ok(), "{url}");
    }
    assert!(notifier("https://hooks.example.com", Some(b"no certificate")).is_err());
}
