//! A server that is reached over a network: its certificate, what a client takes for one, and who does not hold it up.

use crate::access::token;
use crate::house::{House, PATIENCE, Server, TLS, running, tandem, until_equal};
use crate::http::{ANONYMOUS, JSON, ask, tls};
use crate::metrics::{families, figure, scrape};
use rustls::{ClientConnection, StreamOwned};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tandem_proof_servers::{certificate, certificate_between, certificates};

/// Reads until the other side ends.
fn rest(stream: &mut impl Read) -> String {
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}

/// A connection that is kept.
struct Line(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Line {
    fn new(server: &Server) -> Self {
        let stream = TcpStream::connect(server.authority()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(tls(server.folder(), stream)))
    }

    /// Asks whether the process lives.
    fn is_alive(&mut self, server: &Server) {
        write!(self.0.get_mut(), "GET /livez HTTP/1.1\r\nHost: {}\r\n\r\n", server.authority()).unwrap();
        let (mut head, mut length) = (String::new(), 0);
        while self.0.read_line(&mut head).unwrap() > 2 {
            let line = head.lines().last().unwrap().to_lowercase();
            length = line.strip_prefix("content-length: ").map_or(length, |length| length.parse().unwrap());
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        self.0.read_exact(&mut vec![0; length]).unwrap();
    }

    /// The certificate that it was shown.
    fn shown(&self) -> Vec<u8> {
        self.0.get_ref().conn.peer_certificates().unwrap()[0].to_vec()
    }
}

/// The certificate that is shown to who connects now.
fn shown_now(server: &Server) -> Vec<u8> {
    let mut line = Line::new(server);
    line.is_alive(server);
    line.shown()
}

/// What openssl serves instead of us; killed with the test.
struct Other(Child, u16);

impl Other {
    /// A server of openssl's, with a certificate that is good.
    fn new(folder: &Path, more: &[&str]) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut child = Command::new("openssl")
            .args([
                "s_server",
                "-accept",
                &format!("127.0.0.1:{port}"),
                "-cert",
                "server.pem",
                "-key",
                "server.key",
            ])
            .args(more)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                child.try_wait().unwrap().is_none() && Instant::now() < deadline,
                "openssl does not serve"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Self(child, port)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port on which one connection is answered as TLS answers what is none: with an alert.
fn alarmed() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 16]).unwrap();
        stream.write_all(&[0x15, 3, 3, 0, 2, 2, 10]).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        rest(&mut stream);
    });
    port
}

#[test]
fn a_server_with_a_certificate_does_everything_over_tls() {
    let house = House::with_tls();
    let server = house.try_serve_with("trace").unwrap_or_else(|why| panic!("{why:?}"));
    server.ok(&["map", "run", "customers", "orders", "--no-initial-sync", "--wait"]);
    house.app("erp").execute_batch("INSERT INTO customers VALUES ('A', 'Ada')").unwrap();
    assert_eq!(until_equal(&house, "customers"), 1);
    server.ok(&["map", "pause", "customers", "--wait"]);
    server.ok(&["bundle", "help.json"]);
    let bundle = std::fs::read_to_string(house.path().join("help.json")).unwrap();
    let key = std::fs::read_to_string(house.path().join("server.key")).unwrap();
    let digits = key.lines().nth(1).unwrap().to_owned();
    assert!(bundle.contains("file:server.key") && !bundle.contains(&digits), "{bundle}");
    assert_eq!(ask(&server, "GET", "/api/v1/maps", "", "").status, 200);
    assert_eq!(ask(&server, "GET", "/api/v1/maps", ANONYMOUS, "").status, 401);
    let page = ask(&server, "GET", "/", &format!("{ANONYMOUS}Accept: text/html\r\n"), "");
    assert_eq!(page.status, 200, "{}", page.head);
    assert!(!server.started().contains(&digits));
    let (code, took, logged) = server.terminate();
    assert!(!logged.contains(&digits));
    assert_eq!(code, Some(0), "{logged}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_client_says_what_is_wrong_with_a_connection_and_sends_no_token_over_it() {
    let house = House::with_tls();
    let server = house.serve();
    let port = server.authority().rsplit_once(':').unwrap().1.to_owned();
    let folder = house.path();
    let try_it = |url: &str, more: &[&str]| {
        let mut all = vec!["map", "list", "--server", url];
        all.extend(more);
        tandem(folder, &all)
    };
    let token = ["--token-file", "tandem-data/token"];
    let with = |ca: &'static str| [&["--ca", ca], token.as_slice()].concat();
    try_it(&server.url, &with("ca.pem")).ended(0, "");
    try_it(&server.url, &with("other.pem"))
        .ended(8, "an authority that is not trusted here")
        .ended(8, "--ca");
    try_it(&server.url, &token).ended(8, "an authority that is not trusted here");
    let by_address = format!("https://127.0.0.1:{port}");
    try_it(&by_address, &with("ca.pem")).ended(8, "is for another name").ended(8, "localhost");
    try_it(&format!("http://127.0.0.1:{port}"), &token)
        .ended(8, "this server speaks TLS only")
        .ended(8, "https://");
    try_it(&server.url, &with("absent.pem")).ended(2, "cannot be read");
    try_it(&server.url, &with("server.key")).ended(2, "no certificate in it");
    try_it("http://192.0.2.1:7070", &token).ended(2, "the token is not sent to http://192.0.2.1:7070");

    let plain = House::new();
    let plain = plain.serve();
    let over_tls = plain.url.replace("http://", "https://");
    try_it(&over_tls, &with("ca.pem")).ended(8, "does not speak TLS").ended(8, "http://");
    let old = Other::new(folder, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
    try_it(&format!("https://localhost:{}", old.1), &with("ca.pem"))
        .ended(8, "no version of TLS that is safe");
    try_it(&format!("http://127.0.0.1:{}", alarmed()), &token)
        .ended(8, "does not speak plain HTTP")
        .ended(8, "https://");

    // What `openssl req -x509` makes is an authority, also if it is meant for a server.
    for file in ["pem", "key"] {
        std::fs::copy(folder.join(format!("ca.{file}")), folder.join(format!("server.{file}"))).unwrap();
    }
    server.ok(&["reload", "--yes"]);
    try_it(&server.url, &with("ca.pem")).ended(8, "was not made for a server").ended(8, "CA:FALSE");
    // The command line cannot ask for the next one any more.
    let hang_up = || {
        assert!(Command::new("kill").args(["-HUP", &server.pid().to_string()]).status().unwrap().success())
    };

    certificate(folder, "server", "DNS:localhost", 0);
    hang_up();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ran = try_it(&server.url, &with("ca.pem"));
        if ran.code != Some(0) && !ran.err.contains("CA:FALSE") {
            ran.ended(8, "its certificate has expired at 20").ended(8, "reload");
            break;
        }
        assert!(Instant::now() < deadline, "it does not expire");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn versions_that_are_not_safe_are_not_spoken() {
    let house = House::with_tls();
    let server = house.serve();
    let connects = |version: &str| {
        let mut client = Command::new("openssl");
        client.args([
            "s_client",
            "-connect",
            server.authority(),
            "-CAfile",
            "ca.pem",
            "-verify_return_error",
        ]);
        client.args([version, "-cipher", "ALL:@SECLEVEL=0"]).current_dir(house.path());
        client.stdin(Stdio::null()).output().unwrap().status.success()
    };
    let spoken = ["-tls1", "-tls1_1", "-tls1_2", "-tls1_3"].map(connects);
    assert_eq!(spoken, [false, false, true, true]);
}

#[test]
fn with_a_certificate_every_address_may_be_listened_on_and_its_own_user_finds_the_token() {
    let house = House::with_tls();
    certificate(house.path(), "server", "DNS:localhost,IP:127.0.0.1", 2);
    house.edit("127.0.0.1:0", "0.0.0.0:0");
    let server = house.serve();
    let port = server.authority().rsplit_once(':').unwrap().1;
    let url = format!("https://127.0.0.1:{port}");
    house.tandem(&["map", "list", "--server", &url, "--ca", "ca.pem"]).ended(0, "");
    drop(server);

    house.edit(TLS, "");
    let (code, said) = house.try_serve().err().unwrap();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("without TLS the server listens on this machine only"), "{said}");
}

#[test]
fn a_key_that_everybody_may_read_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let house = House::with_tls();
    let key = house.path().join("server.key");
    let with_mode = |mode: u32| {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        house.try_serve().map(drop)
    };
    let (code, said) = with_mode(0o644).unwrap_err();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("everybody on this machine may use it (its mode is 644)"), "{said}");
    assert!(said.contains("chmod 640"), "{said}");
    with_mode(0o640).unwrap();
}

#[test]
fn a_renewed_certificate_is_shown_to_who_comes_and_a_bad_one_to_nobody() {
    let house = House::with_tls();
    let server = running(&house);
    let mut line = Line::new(&server);
    line.is_alive(&server);
    let first = line.shown();

    certificate(house.path(), "server", "DNS:localhost", 2);
    let changes = server.ok(&["reload", "--yes"])["changes"].clone();
    let expected = serde_json::json!([
        { "subject": "tls", "name": "server", "change": "edited", "keys": ["certificate", "key"] }
    ]);
    assert_eq!(changes, expected);
    let second = shown_now(&server);
    assert_ne!(second, first);
    line.is_alive(&server);
    assert!(server.ok(&["activity"]).to_string().contains("tls.edited"));

    // Half of a new pair, as it is found while somebody copies it.
    let good = std::fs::read(house.path().join("server.key")).unwrap();
    std::fs::copy(house.path().join("ca.key"), house.path().join("server.key")).unwrap();
    let refused = server
        .tandem(&["reload", "--yes"])
        .ended(3, "the key is another one than that of the first certificate");
    assert_eq!(
        refused.err.matches("fix: ").count(),
        2,
        "one finding, and what to do about it: {}",
        refused.err
    );
    assert!(refused.err.contains("tandem.toml:4:"), "{}", refused.err);
    server.logged();
    let pid = server.pid().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    let deadline = Instant::now() + PATIENCE;
    let mut logged = String::new();
    while !logged.contains("the config was not reloaded") {
        assert!(Instant::now() < deadline, "{logged}");
        std::thread::sleep(Duration::from_millis(20));
        logged.push_str(&server.logged());
    }
    assert!(logged.contains("another one than that of the first certificate"), "{logged}");
    assert_eq!(shown_now(&server), second, "it is kept");
    line.is_alive(&server);

    std::fs::write(house.path().join("server.key"), good).unwrap();
    assert_eq!(server.ok(&["reload", "--yes"])["changes"], serde_json::json!([]));
    house.edit(TLS, "");
    server.tandem(&["reload", "--yes"]).ended(3, "TLS is switched on and off by a restart only");
}

/// Nobody gets in any more when it has expired, so it is told before and wherever people look.
#[test]
fn the_end_of_the_servers_certificate_is_told_wherever_people_look() {
    const FIGURE: &str = "tandem_server_certificate_expiry_timestamp_seconds{}";
    let house = House::with_tls();
    // Of two days, and spoken of in their last third.
    house.tandem(&["check"]).ended(0, "0 errors, 0 warnings");
    let server = house.serve();
    let shown = ask(&server, "GET", "/api/v1/server", "", "").body;
    let expires: jiff::Timestamp = shown["certificate_expires_at"].as_str().unwrap().parse().unwrap();
    let left = expires.duration_since(jiff::Timestamp::now()).as_hours();
    assert!((46..=48).contains(&left), "{shown}");
    assert_eq!((&shown["tls"], &shown["findings"]), (&serde_json::json!(true), &serde_json::json!([])));
    let text = scrape(&server);
    let family = &families(&text)["tandem_server_certificate_expiry_timestamp_seconds"];
    assert!(family.0 == "gauge" && family.1.is_empty(), "{family:?}");
    assert_eq!(figure(&text, FIGURE), Some(expires.as_second() as f64));

    // Of a year, with three days left.
    let now = jiff::Timestamp::now();
    let at =
        |days: i64| (now + jiff::SignedDuration::from_hours(days * 24)).strftime("%Y%m%d%H%M%SZ").to_string();
    certificate_between(house.path(), "server", "DNS:localhost", &at(-362), &at(3));
    server.ok(&["reload", "--yes"]);
    let shown = ask(&server, "GET", "/api/v1/server", "", "").body;
    let finding = &shown["findings"][0];
    assert_eq!((&finding["code"], &finding["severity"]), (&"certificate_expires".into(), &"warning".into()));
    assert!(finding["message"].as_str().unwrap().contains("expires in 2 days"), "{finding}");
    assert!(finding["fix"].as_str().unwrap().contains("tandem reload"), "{finding}");
    let checked = ask(&server, "GET", "/api/v1/check", "", "").body;
    assert!(checked["items"].as_array().unwrap().contains(finding), "{checked}");
    let said = house.tandem(&["check"]).ended(0, "1 warnings").out;
    assert!(said.contains("certificate_expires") && said.contains("expires in 2 days"), "{said}");
    let bundled = server.ok(&["bundle", "help.json"]);
    let bundled = std::fs::read_to_string(house.path().join(bundled["file"].as_str().unwrap())).unwrap();
    assert!(bundled.contains("certificate_expires"), "{bundled}");
    // Once, although it was shown again.
    server.ok(&["reload", "--yes"]);
    let deadline = Instant::now() + PATIENCE;
    let mut logged = server.logged();
    let said = |logged: &str| logged.matches("the server's certificate expires in").count();
    while said(&logged) == 0 {
        assert!(Instant::now() < deadline, "{logged}");
        std::thread::sleep(Duration::from_millis(20));
        logged.push_str(&server.logged());
    }
    assert_eq!(said(&logged), 1, "{logged}");
    // One that has expired is shown all the same: a server without any would be no better.
    assert_eq!(server.terminate().0, Some(0));
    certificate(house.path(), "server", "DNS:localhost", 0);
    let said = house.tandem(&["check"]).ended(0, "1 warnings").out;
    assert!(said.contains("the server's certificate expired a minute ago"), "{said}");
    let server = house.serve();
    let deadline = Instant::now() + PATIENCE;
    while server.tandem(&["map", "list"]).code != Some(8) {
        assert!(Instant::now() < deadline, "it does not expire");
        std::thread::sleep(Duration::from_millis(50));
    }
    server.tandem(&["map", "list"]).ended(8, "expired");
    server.kill();

    // Only who speaks TLS has one.
    let house = House::new();
    let plain = house.serve();
    let shown = ask(&plain, "GET", "/api/v1/server", "", "").body;
    assert_eq!(
        (&shown["tls"], &shown["certificate_expires_at"]),
        (&serde_json::json!(false), &serde_json::Value::Null)
    );
    assert_eq!(figure(&scrape(&plain), FIGURE), None);
}

#[test]
fn who_connects_and_says_nothing_keeps_nobody_out() {
    let house = House::with_tls();
    let server = house.serve();
    let begin = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(server.authority()).unwrap();
        stream.write_all(bytes).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let start = Instant::now();
    // Of a client's greeting the beginning, which promises more than ever comes.
    let mut slow: Vec<TcpStream> = (0..150).map(|_| begin(b"")).collect();
    slow.extend((0..150).map(|_| begin(&[0x16, 3, 1, 1, 0, 1])));
    for _ in 0..5 {
        assert_eq!(ask(&server, "GET", "/livez", ANONYMOUS, "").status, 200);
    }
    let answered = start.elapsed();
    assert!(answered < Duration::from_secs(5), "{answered:?}");
    // The oldest went at once, to make room, and the youngest when their time was over.
    assert_eq!(rest(&mut slow[0]), "");
    let made_room = start.elapsed();
    assert!(made_room < Duration::from_secs(8), "{made_room:?}");
    assert_eq!(rest(slow.last_mut().unwrap()), "");
    let timed_out = start.elapsed();
    assert!(timed_out > Duration::from_secs(8) && timed_out < Duration::from_secs(25), "{timed_out:?}");
}

#[test]
fn who_says_half_of_what_they_want_does_not_hold_up_the_end() {
    let house = House::with_tls();
    let server = house.serve();
    let begin = |bytes: &[u8]| {
        let mut line = Line::new(&server);
        line.is_alive(&server);
        line.0.get_mut().write_all(bytes).unwrap();
        line
    };
    let _half_a_head = begin(b"GET /livez HTTP/1.1\r\nHost: ");
    let body = "POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{";
    let _half_a_body = begin(body.as_bytes());
    let _nothing = begin(b"");
    let (code, took, logged) = server.terminate();
    assert_eq!(code, Some(0), "{logged}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_plain_request_is_told_to_speak_tls() {
    let house = House::with_tls();
    let server = house.serve();
    let mut stream = TcpStream::connect(server.authority()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = "x".repeat(5000);
    write!(stream, "POST /api/v1/session HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n{body}").unwrap();
    let answer = rest(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(
        answer.contains("application/problem+json") && answer.contains("\"code\":\"tls_required\""),
        "{answer}"
    );
}

#[test]
fn over_tls_a_browser_is_held_to_it_and_two_servers_do_not_share_a_cookie() {
    let house = House::with_tls();
    let server = house.serve();
    let secret = token(&server, &["ops", "--role", "operator"]);
    let port = server.authority().rsplit_once(':').unwrap().1;
    let named = format!("Host: tandem.internal:{port}\r\n");
    let ours = "cache-control: no-store
content-security-policy: default-src 'self'; base-uri 'none'; connect-src 'self'; font-src 'self'; form-action 'self'; frame-ancestors 'none'; img-src 'self' data:; object-src 'none'; script-src 'self'; style-src 'self'
cross-origin-opener-policy: same-origin
cross-origin-resource-policy: same-origin
referrer-policy: no-referrer
strict-transport-security: max-age=31536000
x-content-type-options: nosniff
x-frame-options: DENY";
    for (path, more) in
        [("/api/v1/maps", ""), ("/nothing", ""), ("/livez", "Origin: https://evil.example\r\n")]
    {
        let answer = ask(&server, "GET", path, &format!("{ANONYMOUS}{named}{more}"), "");
        let others = ["content-type", "content-length", "connection", "date", "www-authenticate"];
        let mut seen: Vec<&str> = answer.head.lines().skip(1).collect();
        seen.retain(|line| !others.contains(&line.split(':').next().unwrap()));
        seen.sort_unstable();
        assert_eq!(seen.join("\n"), ours, "{path}");
    }
    let here = ask(&server, "GET", "/livez", ANONYMOUS, "");
    assert_eq!(
        here.header("strict-transport-security"),
        "",
        "it would be said of all that this machine serves"
    );

    let session = "/api/v1/session";
    let body = format!("{{\"token\":\"{secret}\"}}");
    let begun = |origin: &str| {
        let headers = format!("{ANONYMOUS}{JSON}{named}Origin: {origin}\r\n");
        ask(&server, "POST", session, &headers, &body)
    };
    let own = format!("https://tandem.internal:{port}");
    for foreign in [own.replace("https", "http"), "https://tandem.internal".to_owned(), "null".to_owned()] {
        let refused = begun(&foreign);
        assert_eq!((refused.status, &refused.body["code"]), (403, &"cross_origin".into()), "{foreign}");
    }
    let answer = begun(&own);
    assert_eq!(answer.status, 200, "{}", answer.text);
    let set = answer.header("set-cookie");
    let (cookie, how) = set.split_once(';').unwrap();
    assert!(cookie.starts_with(&format!("__Host-tandem_session_{port}=")), "{set}");
    assert_eq!(how, " Path=/; Max-Age=43200; HttpOnly; SameSite=Strict; Secure");
    let shows = |cookie: &str| {
        let headers = format!("{ANONYMOUS}{named}Cookie: {cookie}\r\n");
        ask(&server, "GET", session, &headers, "").status
    };
    assert_eq!(shows(cookie), 200);
    let value = cookie.split_once('=').unwrap().1;
    // What another server on this host has set, or somebody in between without TLS, is not ours.
    assert_eq!(shows(&format!("__Host-tandem_session_1={value}")), 401);
    assert_eq!(shows(&format!("tandem_session_{port}={value}")), 401);
    assert_eq!(shows(&format!("__Host-tandem_session_1=other; {cookie}")), 200);
}

/// A folder with certificates, and nothing else, can be had as well.
#[test]
fn an_authority_of_the_environment_is_trusted() {
    let house = House::with_tls();
    let server = house.serve();
    let elsewhere = tempfile::tempdir().unwrap();
    certificates(elsewhere.path());
    let with = |ca: &Path| {
        let ran = Command::new(env!("CARGO_BIN_EXE_tandem"))
            .args(["map", "list", "--token-file", "tandem-data/token"])
            .current_dir(house.path())
            .env("TANDEM_SERVER", &server.url)
            .env("TANDEM_CA", ca)
            .output();
        ran.unwrap().status.code()
    };
    assert_eq!(with(&house.path().join("ca.pem")), Some(0));
    assert_eq!(with(&elsewhere.path().join("ca.pem")), Some(8));
}
