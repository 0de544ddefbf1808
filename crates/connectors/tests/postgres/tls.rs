//! `sslmode` means what it says, for SQL and for the log alike.

use super::world::*;
use std::path::{Path, PathBuf};
use tandem_connectors::postgres::Postgres;
use tandem_core::connect::{Connector, Needs};
use tandem_core::{AppName, BarrierId, Fault, FaultClass};
use tandem_proof_servers::{PostgresOptions, PostgresServer, certificates};

fn connector(server: &PostgresServer, host: &str, query: &str) -> std::sync::Arc<dyn Connector> {
    let url = server.url("app").replace("127.0.0.1", host).replace("sslmode=disable", query);
    Postgres::connector(&AppName::from("app"), &url).unwrap()
}

async fn check(server: &PostgresServer, host: &str, query: &str) -> Result<(), Fault> {
    connector(server, host, query).check(&Needs::default()).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_verified_as_asked_and_never_weakened() {
    let options = PostgresOptions { fsync: false, ..PostgresOptions::default() };
    let mut server = PostgresServer::start_new(options);
    server.create_database("app").await;
    server.sql("app", "CREATE TABLE t (id int PRIMARY KEY)").await;
    check(&server, "127.0.0.1", "sslmode=prefer").await.unwrap();
    for mode in ["require", "verify-ca", "verify-full"] {
        let fault = check(&server, "localhost", &format!("sslmode={mode}")).await.unwrap_err();
        assert_eq!(fault.class, FaultClass::Setup, "a server without TLS: {fault:?}");
    }

    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    server.install(&folder.path().join("server.pem"), "server.crt");
    server.install(&folder.path().join("server.key"), "server.key");
    server.restart_with("ssl", "on");
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    let (ca, other) = (path("ca.pem"), path("other.pem"));
    let with = |mode: &str, ca: &Path| format!("sslmode={mode}&sslrootcert={}", ca.display());
    check(&server, "127.0.0.1", "sslmode=require").await.unwrap();
    check(&server, "localhost", &with("verify-ca", &ca)).await.unwrap();
    check(&server, "localhost", &with("verify-full", &ca)).await.unwrap();
    for (host, query) in [
        ("localhost", with("verify-full", &other)),
        ("localhost", with("verify-ca", &other)),
        ("localhost", "sslmode=verify-full".to_owned()),
        ("127.0.0.1", with("verify-full", &ca)),
        ("localhost", with("verify-full", &path("absent.pem"))),
    ] {
        let fault = check(&server, host, &query).await.unwrap_err();
        assert_eq!(fault.class, FaultClass::Setup, "{host} {query}: {fault:?}");
    }
    // The log comes the same way.
    let verified = connector(&server, "localhost", &with("verify-full", &ca));
    let mut source = verified.open_source(OURS).await.unwrap();
    let start = source.enter(&[table("t")], BarrierId(1)).await.unwrap();
    let capture = verified.open_capture(OURS, &start).await.unwrap();
    let mut tape = Tape { capture, position: start.clone(), entries: Vec::new(), fragments: 0 };
    tape.until_barrier(1).await;
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'tandem'";
    assert_eq!(server.sql("app", encrypted).await, [[Some("t".to_owned())]]);
    let stranger = connector(&server, "localhost", &with("verify-full", &other));
    assert_eq!(stranger.open_capture(OURS, &start).await.err().unwrap().class, FaultClass::Setup);
}
