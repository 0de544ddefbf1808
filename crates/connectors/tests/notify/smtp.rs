//! E-mail.

use super::servers::{Authorities, Mail, listen};
use super::{NOW, notification};
use std::time::Duration;
use tandem_connectors::notify::{Notification, Notifier, SEND_WITHIN, Smtp};
use tandem_core::{Fault, FaultClass};

const PASSWORD: &str = "hunter2";

fn notifier(url: &str, ca: Option<&[u8]>) -> Result<Notifier, Fault> {
    let to = ["ops@example.com".to_owned(), "Night Watch <night@example.com>".to_owned()];
    Notifier::smtp(&Smtp { url, from: "Tandem <tandem@example.com>", to: &to, ca })
}

async fn send(url: &str, ca: Option<&[u8]>, notification: &Notification) -> Result<(), Fault> {
    notifier(url, ca)?.send(notification, NOW).await
}

/// Sends to a server and returns what came of it and what the server heard.
async fn through(mail: Mail, url: &str, ca: Option<&[u8]>) -> (Result<(), Fault>, Vec<String>) {
    let heard = mail.heard.clone();
    let url = url.replace("PORT", &mail.start().await.to_string());
    let sent = send(&url, ca, &notification()).await;
    let heard = heard.lock().unwrap().clone();
    (sent, heard)
}

#[tokio::test]
async fn a_mail_arrives_as_it_was_meant() {
    let (sent, heard) = through(Mail::default(), "smtp://127.0.0.1:PORT", None).await;
    sent.unwrap();
    for line in [
        "MAIL FROM:<tandem@example.com>",
        "RCPT TO:<ops@example.com>",
        "RCPT TO:<night@example.com>",
        "From: Tandem <tandem@example.com>",
        "Subject: [Tandem] customers is paused",
        "Message-ID: <n-1@example.com>",
        "Auto-Submitted: auto-generated",
        "Date: Sun, 22 Nov 2026 00:00:00 +0000",
        "crm-down: the destination has not been reached for 10 s",
        "map: customers",
        "rule: crm-down",
        ".",
    ] {
        assert!(heard.iter().any(|heard| heard.starts_with(line)), "{line}\n{heard:#?}");
    }
}

#[tokio::test]
async fn what_stands_in_a_notification_adds_no_header_and_ends_no_mail() {
    let mail = Mail::default();
    let heard = mail.heard.clone();
    let url = format!("smtp://localhost:{}", mail.start().await);
    let nasty = Notification {
        id: "a>\r\nBcc: evil@example.com".to_owned(),
        subject: "über\r\nBcc: evil@example.com".to_owned(),
        lines: vec![".".to_owned(), "one\r\n.\r\nMAIL FROM:<evil@example.com>".to_owned()],
        ..notification()
    };
    send(&url, None, &nasty).await.unwrap();
    let heard = heard.lock().unwrap().clone();
    assert!(!heard.iter().any(|line| line.starts_with("Bcc:")), "{heard:#?}");
    assert_eq!(heard.iter().filter(|line| line.starts_with("MAIL")).count(), 1, "{heard:#?}");
    assert_eq!(heard.iter().filter(|line| *line == ".").count(), 1, "{heard:#?}");
    assert!(
        heard.iter().any(|line| line.starts_with("Subject: ") && line.contains("=?utf-8?")),
        "{heard:#?}"
    );
}

#[tokio::test]
async fn a_very_long_notification_is_cut_and_says_so() {
    let mail = Mail::default();
    let heard = mail.heard.clone();
    let url = format!("smtp://localhost:{}", mail.start().await);
    let long = Notification { lines: (0..100_000).map(|n| format!("line {n}")).collect(), ..notification() };
    send(&url, None, &long).await.unwrap();
    let heard = heard.lock().unwrap().clone();
    assert!(heard.len() < 600 && heard.iter().any(|line| line.contains("and 99500 more")), "{}", heard.len());
}

#[tokio::test]
async fn a_password_is_decoded_and_shows_in_no_fault() {
    let (sent, heard) = through(Mail::default(), "smtp://a%40b:p%2Fw@127.0.0.1:PORT", None).await;
    sent.unwrap();
    // In base64: a zero, the user, a zero, the password.
    assert!(heard.contains(&"AUTH PLAIN AGFAYgBwL3c=".to_owned()), "{heard:#?}");
    let refusing = Mail { refuses: Some(("AUTH", "535 5.7.8 bad credentials")), ..Mail::default() };
    let (sent, heard) = through(refusing, &format!("smtp://a:{PASSWORD}@127.0.0.1:PORT"), None).await;
    let fault = sent.unwrap_err();
    assert_eq!((fault.class, fault.code.as_deref()), (FaultClass::Auth, Some("535")));
    assert!(
        fault.message.contains("bad credentials") && !format!("{fault:?}").contains(PASSWORD),
        "{fault:?}"
    );
    assert!(!heard.iter().any(|line| line.starts_with("MAIL")));
}

#[tokio::test]
async fn a_refusal_has_its_class_and_the_servers_own_words() {
    for (refuses, class) in [
        (("RCPT TO:<night", "550 5.1.1 no such person"), FaultClass::Application),
        (("RCPT", "451 4.7.1 greylisted"), FaultClass::Unavailable),
        (("MAIL", "421 4.3.2 closing down"), FaultClass::Unavailable),
        (("MAIL", "530 5.7.0 sign in first"), FaultClass::Auth),
        (("DATA", "554 5.7.1 spam"), FaultClass::Application),
        (("EHLO", "421 too many connections"), FaultClass::Unavailable),
    ] {
        let (sent, _) =
            through(Mail { refuses: Some(refuses), ..Mail::default() }, "smtp://localhost:PORT", None).await;
        let fault = sent.unwrap_err();
        assert_eq!((fault.class, fault.code.as_deref()), (class, refuses.1.get(..3)), "{fault:?}");
        let words = refuses.1.rsplit(' ').next().unwrap();
        assert!(fault.message.contains(words), "{fault:?}");
        assert!(fault.operation.contains("localhost"), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_not_waited_for() {
    let port = listen(|stream| async move {
        let _open = stream;
        std::future::pending().await
    })
    .await;
    let (url, notification) = (format!("smtp://127.0.0.1:{port}"), notification());
    let asked = send(&url, None, &notification);
    // One second more, on a clock that stands still while anybody works.
    let sent = tokio::time::timeout(SEND_WITHIN + Duration::from_secs(1), asked).await.expect("it gives up");
    assert!(sent.as_ref().is_err_and(|fault| fault.class.is_transient()), "{sent:?}");
}

#[tokio::test]
async fn where_nobody_listens_is_worth_another_try() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let fault = send(&format!("smtp://127.0.0.1:{port}"), None, &notification()).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Connection, "{fault:?}");
    assert!(fault.message.contains("refused"), "{fault:?}");
}

#[tokio::test]
async fn over_a_network_nothing_is_sent_before_it_is_protected() {
    let authorities = Authorities::new();
    let (ca, other) = (authorities.pem("ca.pem"), authorities.pem("other.pem"));
    let url = format!("smtp://a:{PASSWORD}@localhost:PORT?tls=required");
    let spoke =
        |heard: &[String]| heard.iter().any(|line| line.starts_with("AUTH") || line.starts_with("MAIL"));

    let (sent, heard) = through(Mail::default(), &url, Some(&ca)).await;
    assert_eq!(sent.unwrap_err().class, FaultClass::Setup, "no STARTTLS is offered");
    assert!(!spoke(&heard), "{heard:#?}");

    let starttls = || Mail { starttls: Some(authorities.acceptor()), ..Mail::default() };
    let (sent, heard) = through(starttls(), &url, Some(&ca)).await;
    sent.unwrap();
    let upgrade = heard.iter().position(|line| line == "STARTTLS").unwrap();
    assert!(!spoke(&heard[..upgrade]) && spoke(&heard[upgrade..]), "{heard:#?}");

    let (sent, heard) = through(starttls(), &url, Some(&other)).await;
    let fault = sent.unwrap_err();
    assert_eq!(fault.class, FaultClass::Setup, "{fault:?}");
    assert!(!spoke(&heard), "{heard:#?}");

    let tls = || Mail { tls: Some(authorities.acceptor()), ..Mail::default() };
    let smtps = "smtps://localhost:PORT";
    let (sent, heard) = through(tls(), smtps, Some(&ca)).await;
    sent.unwrap();
    assert!(spoke(&heard));
    for (url, ca) in [(smtps, Some(other.as_slice())), (smtps, None), ("smtps://127.0.0.1:PORT", Some(&ca))] {
        let (sent, heard) = through(tls(), url, ca).await;
        let fault = sent.unwrap_err();
        assert_eq!(fault.class, FaultClass::Setup, "{url}: {fault:?}");
        assert!(heard.is_empty(), "{heard:#?}");
    }
}

#[test]
fn settings_that_cannot_work_are_refused_without_a_secret() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    for url in [
        "mail.example.com",
        "http://mail.example.com",
        "smtp://a:hunter2@",
        "smtp://a:hunter2@mail.example.com?tls=no",
        "smtps://a:hunter2%ff@mail.example.com",
        "smtps://a:hunter2@mail.example.com:99999",
    ] {
        let fault = notifier(url, None).unwrap_err();
        assert_eq!(fault.class, FaultClass::Setup, "{fault:?}");
        assert!(fault.fix.is_some() && !format!("{fault:?}").contains(PASSWORD), "{fault:?}");
    }
    let url = format!("smtps://a:{PASSWORD}@mail.example.com");
    let shown = format!("{:?}", notifier(&url, None).unwrap());
    assert_eq!(shown, "smtp at mail.example.com");
    assert!(notifier(&url, Some(b"no certificate")).is_err());
    let to = ["not an address".to_owned()];
    let fault = Notifier::smtp(&Smtp { url: &url, from: "a@b.example", to: &to, ca: None }).unwrap_err();
    assert!(fault.message.contains("not an address"), "{fault:?}");
}
