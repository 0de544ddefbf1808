//! With which token the command line asks, and whom it trusts. The user of a server on this machine need not know of tokens.
//!
//! A server leaves a note, in a folder of its own user: under its address, where the file with its token is
//! (`~/.local/state/tandem/servers/127.0.0.1:7070`). Whoever may not read that file finds nothing here and names a token.
//! The note is found by the very address that is asked, never by its port alone or by a name: `localhost` may lead to
//! another address of this machine, where another user's program listens, and would be shown the token. A server that listens on
//! every address leaves the note of the loopback address, which then is its own as well.

use crate::failure::{Exit, Failure};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The variable that holds a token.
pub(crate) const VARIABLE: &str = "TANDEM_TOKEN";

/// The token to ask `server` with: of the file that was named, of the environment, or of the server's own user.
pub(crate) fn token_for(server: &str, file: Option<&Path>) -> Result<Option<String>, Failure> {
    if let Some(file) = file {
        let text = fs::read_to_string(file).map_err(|why| {
            Failure::new(Exit::Usage, format!("the token file {} cannot be read: {why}", file.display()))
        })?;
        return Ok(Some(text.trim().to_owned()));
    }
    if let Some(token) = std::env::var(VARIABLE).ok().filter(|token| !token.is_empty()) {
        return Ok(Some(token));
    }
    let authority = server.split_once("://").map_or(server, |(_, authority)| authority);
    let Ok(address) = authority.trim_end_matches('/').parse::<SocketAddr>() else { return Ok(None) };
    // Whatever is not there or may not be read is no token of ours; the server then says what is missing.
    let noted = note(address).and_then(|note| fs::read_to_string(note).ok());
    Ok(noted.and_then(|file| fs::read_to_string(file.trim_end()).ok()).map(|token| token.trim().to_owned()))
}

/// What a file with an authority holds.
pub(crate) fn authority(file: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(file).map_err(|why| {
        Failure::new(Exit::Usage, format!("the authority in {} cannot be read: {why}", file.display()))
            .fix("name a file in PEM with --ca or TANDEM_CA")
    })
}

/// A note that a server has left for the command line of its user; taken away with it.
pub(crate) struct Note {
    path: PathBuf,
    text: String,
}

impl Note {
    /// Says where the token of the server at `address` is. Without it, the file is named to the command line.
    pub(crate) fn leave(address: SocketAddr, token_file: &Path) -> io::Result<Self> {
        let path = note(own(address)).ok_or_else(|| io::Error::other("this user has no home folder"))?;
        let text = fs::canonicalize(token_file)?.to_str().ok_or(io::ErrorKind::InvalidData)?.to_owned();
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(text.as_bytes())?;
        Ok(Self { path, text })
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        // Another server may have come to this address meanwhile: its note stays.
        if fs::read_to_string(&self.path).is_ok_and(|text| text == self.text) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The address under which a server is asked on its own machine.
pub(crate) fn own(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    address
}

/// Where the note of a server is: in the user's folder for what programs remember.
fn note(address: SocketAddr) -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("tandem/servers").join(address.to_string()))
}
