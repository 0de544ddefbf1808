//! The file with the token of the engine's own user.

use super::Secret;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Puts a token into a file that only its owner may read, in place of the one that is there. Whoever has that one open
/// still reads the old one: the file is a new one, and was never open to anybody.
pub(crate) fn renew(path: &Path, secret: &Secret) -> io::Result<()> {
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(secret.reveal().as_bytes())?;
    file.write_all(b"\n")?;
    fs::rename(&new, path)
}
