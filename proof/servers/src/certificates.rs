//! Certificates for tests, made anew each time: none that is stored can expire.

use std::path::Path;
use std::process::Command;

/// Puts into a folder, in PEM: an authority `ca.pem`, a certificate for `localhost` from it with its key
/// (`server.pem`, `server.key`), and an authority `other.pem` that signed nothing.
pub fn certificates(folder: &Path) {
    for ca in ["ca", "other"] {
        let subject = format!("-subj /CN={ca} -keyout {ca}.key -out {ca}.pem");
        openssl(folder, &format!("req -x509 -newkey rsa:2048 -nodes -days 2 {subject}"));
    }
    openssl(folder, "req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr");
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE")
        .expect("the folder can be written");
    openssl(
        folder,
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -days 2 -extfile names -out server.pem",
    );
}

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(folder)
        .output()
        .expect("openssl is installed");
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
