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
    certificate(folder, "server", "DNS:localhost", 2);
}

/// Puts another certificate from the authority of [`certificates`] beside it, `{file}.pem` with `{file}.key`: for `names`
/// such as `DNS:localhost,IP:127.0.0.1`, and good for so many days. With 0 it has expired a second later.
pub fn certificate(folder: &Path, file: &str, names: &str, days: u32) {
    openssl(
        folder,
        &format!("req -newkey rsa:2048 -nodes -subj /CN={file} -keyout {file}.key -out {file}.csr"),
    );
    std::fs::write(folder.join("names"), format!("subjectAltName={names}\nbasicConstraints=CA:FALSE"))
        .expect("the folder can be written");
    let signed = format!("-CA ca.pem -CAkey ca.key -days {days} -extfile names -out {file}.pem");
    openssl(folder, &format!("x509 -req -in {file}.csr {signed}"));
}

/// The same, good from one moment until another: both as `20261122230000Z`.
pub fn certificate_between(folder: &Path, file: &str, names: &str, from: &str, until: &str) {
    openssl(
        folder,
        &format!("req -newkey rsa:2048 -nodes -subj /CN={file} -keyout {file}.key -out {file}.csr"),
    );
    let authority = format!(
        "[ca]\ndefault_ca = here\n[here]\nnew_certs_dir = .\ndatabase = issued\nrand_serial = yes\ndefault_md = sha256\n\
         policy = any\nx509_extensions = more\nunique_subject = no\n[any]\ncommonName = supplied\n[more]\n\
         subjectAltName = {names}\nbasicConstraints = CA:FALSE\n"
    );
    std::fs::write(folder.join("authority"), authority).expect("the folder can be written");
    std::fs::write(folder.join("issued"), "").expect("the folder can be written");
    let signed = format!("-cert ca.pem -keyfile ca.key -in {file}.csr -out {file}.pem -notext");
    openssl(folder, &format!("ca -batch -config authority -startdate {from} -enddate {until} {signed}"));
}

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(folder)
        .output()
        .expect("openssl is installed");
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
