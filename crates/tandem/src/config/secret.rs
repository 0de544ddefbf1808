//! Addresses, and the secrets in them and beside them. A secret is only ever referred to: `${ERP_PASSWORD}` is the
//! environment's, `${file:/run/secrets/erp}` a file's. It is put in where the connector reads it and shows
//! nowhere: not in logs, not in errors, not in `Debug`.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The most bytes of a file that holds a secret or certificates.
const SECRET_MAX_BYTES: usize = 64 * 1024;

/// The address of an app, with its secrets filled in. Shows itself without them.
#[derive(Clone)]
pub(crate) struct AppUrl {
    full: String,
    shown: String,
}

impl AppUrl {
    /// The whole address, for the connector and nobody else.
    pub(crate) fn reveal(&self) -> &str {
        &self.full
    }
}

impl From<String> for AppUrl {
    fn from(full: String) -> Self {
        Self { shown: mask(&full), full }
    }
}

impl fmt::Display for AppUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for AppUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Something of which nothing may show.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl Secret {
    /// The secret, for the connector and nobody else.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why an address or a secret cannot be used. Holds no secret.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) why: String,
    pub(crate) fix: String,
}

/// Where secrets are looked up.
pub(crate) struct Secrets {
    base: PathBuf,
}

impl Secrets {
    /// Secrets whose files are relative to a folder.
    pub(crate) fn new(base: &Path) -> Self {
        Self { base: base.to_path_buf() }
    }

    /// The address that a config means.
    pub(crate) fn url(&self, text: &str) -> Result<AppUrl, Refused> {
        if let Some(path) = text.strip_prefix("file:") {
            return self.file(path).map(AppUrl::from);
        }
        if let Some(place) = password(text)
            && !text.get(place).is_some_and(is_reference)
        {
            return Err(Refused {
                why: "a password stands in the config as it is".to_owned(),
                fix: "refer to it: postgres://user:${ERP_PASSWORD}@host/db, or ${file:/run/secrets/erp}"
                    .to_owned(),
            });
        }
        let credentials_end = credentials(text).map_or(0, |range| range.end);
        // A password may hold what means something in an address; a whole address or a host may not be touched.
        let is_encoded = |place: usize| {
            place < credentials_end || text.get(..place).is_some_and(|before| before.contains('?'))
        };
        self.filled_in(text, is_encoded).map(AppUrl::from)
    }

    /// An address that is a secret as a whole, or in any of its parts.
    pub(crate) fn text(&self, text: &str) -> Result<Secret, Refused> {
        match text.strip_prefix("file:") {
            Some(path) => self.file(path).map(Secret),
            None => self.filled_in(text, |_| false).map(Secret),
        }
    }

    /// A secret. It must be referred to.
    pub(crate) fn secret(&self, text: &str) -> Result<Secret, Refused> {
        let fix = || "refer to it: secret = \"${HOOK_SECRET}\", or \"${file:/run/secrets/hook}\"".to_owned();
        if !text.starts_with("file:") && (text.is_empty() || !is_reference(text)) {
            return Err(Refused { why: "a secret stands in the config as it is".to_owned(), fix: fix() });
        }
        let secret = self.text(text)?;
        if secret.reveal().is_empty() {
            return Err(Refused { why: "the secret is empty".to_owned(), fix: fix() });
        }
        Ok(secret)
    }

    /// A text with what it refers to put in, percent-encoded where an address would misread it.
    fn filled_in(&self, text: &str, is_encoded: impl Fn(usize) -> bool) -> Result<String, Refused> {
        let mut full = String::new();
        let mut rest = text;
        while let Some((lead, behind)) = rest.split_once("${") {
            let Some((name, behind)) = behind.split_once('}') else {
                return Err(Refused {
                    why: "a reference '${' is not closed".to_owned(),
                    fix: "write it as ${NAME}".to_owned(),
                });
            };
            full.push_str(lead);
            let place = text.len() - rest.len() + lead.len();
            let value = match name.strip_prefix("file:") {
                Some(path) => self.file(path)?,
                None => environment(name)?,
            };
            full.push_str(&if is_encoded(place) { percent_encoded(&value) } else { value });
            rest = behind;
        }
        full.push_str(rest);
        Ok(full)
    }

    /// What a small file holds, by its path from the folder of the config.
    pub(crate) fn bytes(&self, path: &str) -> Result<Vec<u8>, String> {
        let bytes = std::fs::read(self.base.join(path)).map_err(|why| why.to_string())?;
        if bytes.len() > SECRET_MAX_BYTES {
            return Err(format!("it has more than {SECRET_MAX_BYTES} bytes"));
        }
        Ok(bytes)
    }

    /// As [`Self::bytes`], of a file that nobody may read but its owner and its group. An error is why, and what mends it.
    pub(crate) fn private_bytes(&self, path: &str) -> Result<Vec<u8>, (String, String)> {
        let full = self.base.join(path);
        let fix = || "name a file that the user that runs tandem may read".to_owned();
        let unreadable = |why: std::io::Error| (why.to_string(), fix());
        let file = File::open(&full).map_err(unreadable)?;
        // Of the file that is open: another one may take its place meanwhile.
        let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
        if mode & 0o007 != 0 {
            return Err((
                format!("everybody on this machine may use it (its mode is {mode:03o})"),
                format!("chmod 640 {}: only its owner and its group, tandem among them", full.display()),
            ));
        }
        let mut bytes = Vec::new();
        file.take(SECRET_MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() > SECRET_MAX_BYTES {
            return Err((format!("it has more than {SECRET_MAX_BYTES} bytes"), fix()));
        }
        Ok(bytes)
    }

    fn file(&self, path: &str) -> Result<String, Refused> {
        let refuse = |why: String| Refused {
            why: format!("the secret in {} cannot be read: {why}", self.base.join(path).display()),
            fix: "write it to that file, readable only for the user that runs tandem".to_owned(),
        };
        let bytes = self.bytes(path).map_err(refuse)?;
        let text = String::from_utf8(bytes).map_err(|_| refuse("it is not UTF-8".to_owned()))?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

fn environment(name: &str) -> Result<String, Refused> {
    std::env::var(name).map_err(|why| {
        let why = match why {
            std::env::VarError::NotPresent => "is not set",
            std::env::VarError::NotUnicode(_) => "is not UTF-8",
        };
        Refused {
            why: format!("the environment variable {name} {why}"),
            fix: format!(
                "export {name}=…, or refer to a file: ${{file:/run/secrets/{}}}",
                name.to_lowercase()
            ),
        }
    })
}

/// The bytes of an address between `://` and the last `@` before the query. A password that should have been
/// encoded and holds a `/` is in it, too: it must be masked all the same.
fn credentials(text: &str) -> Option<Range<usize>> {
    let start = text.find("://")? + 3;
    let rest = text.get(start..)?;
    // What stands inside of a reference is no part of the address.
    let mut depth = 0_u32;
    let end = rest
        .char_indices()
        .find(|(_, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && matches!(c, '?' | '#')
        })
        .map_or(rest.len(), |(at, _)| at);
    let at = rest.get(..end)?.rfind('@')?;
    Some(start..start + at)
}

/// Where the password of an address stands.
fn password(text: &str) -> Option<Range<usize>> {
    if let Some(credentials) = credentials(text)
        && let Some((user, _)) = text.get(credentials.clone())?.split_once(':')
    {
        return Some(credentials.start + user.len() + 1..credentials.end);
    }
    let start = text.find("?password=").or_else(|| text.find("&password="))? + "?password=".len();
    let rest = text.get(start..)?;
    Some(start..start + rest.find(['&', '"', '\'', '#']).unwrap_or(rest.len()))
}

fn is_reference(text: &str) -> bool {
    text.is_empty() || (text.starts_with("${") && text.find('}') == Some(text.len() - 1))
}

/// A text in which the password of an address and what is given as a secret, if there is any, are masked.
/// References stay readable.
pub(crate) fn mask(text: &str) -> String {
    // Whoever puts a key itself where its file belongs has put all of it there.
    if let Some((lead, _)) = text.split_once("PRIVATE KEY") {
        return format!("{lead}PRIVATE KEY***");
    }
    let part = |range: Range<usize>| text.get(range).unwrap_or("");
    match password(text) {
        Some(place) if !is_reference(part(place.clone())) => {
            mask_secrets(&format!("{}***{}", part(0..place.start), part(place.end..text.len())))
        }
        _ => mask_secrets(text),
    }
}

/// Masks what stands behind `secret =`.
fn mask_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((lead, behind)) = rest.split_once("secret") {
        shown.push_str(lead);
        shown.push_str("secret");
        rest = behind;
        let value = behind.trim_start_matches([' ', '\t', '=', '"', '\'']);
        let between = behind.len() - value.len();
        let Some(between) = behind.get(..between).filter(|between| between.contains('=')) else { continue };
        let end = value.find(['"', '\'', ',', '}']).unwrap_or(value.len());
        // A reference ends with a brace of its own.
        let end = if value.starts_with("${") { value.find('}').map_or(end, |brace| brace + 1) } else { end };
        let (meant, behind) = value.split_at_checked(end).unwrap_or((value, ""));
        shown.push_str(between);
        shown.push_str(if is_reference(meant) || meant.starts_with("file:") { meant } else { "***" });
        rest = behind;
    }
    shown.push_str(rest);
    shown
}

fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_shows_nowhere() {
        for (url, shown) in [
            ("postgres://tandem:s3cret@erp/erp?x=1", "postgres://tandem:***@erp/erp?x=1"),
            ("postgres://tandem:p@ss:w@erp/erp", "postgres://tandem:***@erp/erp"),
            ("postgres://erp/erp?user=a&password=s3cret&x=1", "postgres://erp/erp?user=a&password=***&x=1"),
            ("postgres://tandem:p/w@erp/erp", "postgres://tandem:***@erp/erp"),
            ("postgres://tandem@erp/erp", "postgres://tandem@erp/erp"),
            ("sqlite:crm.db", "sqlite:crm.db"),
        ] {
            let url = AppUrl::from(url.to_owned());
            assert_eq!((url.to_string(), format!("{url:?}")), (shown.to_owned(), shown.to_owned()));
        }
    }

    #[test]
    fn a_password_in_plain_text_is_refused_and_not_repeated() {
        let refused = Secrets::new(Path::new(".")).url("postgres://a:s3cret@h/d").unwrap_err();
        assert!(!format!("{refused:?}").contains("s3cret"), "{refused:?}");
        assert!(Secrets::new(Path::new(".")).url("postgres://a@h/d").is_ok());
    }

    #[test]
    fn a_secret_shows_nowhere() {
        for (line, shown) in [
            ("secret = \"hunter2\"", "secret = \"***\""),
            ("{ url = \"https://h/x\", secret='hunter2' }", "{ url = \"https://h/x\", secret='***' }"),
            ("secret = \"${HOOK}\"", "secret = \"${HOOK}\""),
            ("secret = \"${file:/run/secrets/hook}\" }", "secret = \"${file:/run/secrets/hook}\" }"),
            ("secret = hunter2", "secret = ***"),
            ("[notify.secret]", "[notify.secret]"),
            ("key = \"-----BEGIN PRIVATE KEY-----\\nMIIEhunter2", "key = \"-----BEGIN PRIVATE KEY***"),
        ] {
            assert_eq!(mask(line), shown);
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("hook"), "hunter2\n").unwrap();
        std::fs::write(folder.path().join("empty"), "\n").unwrap();
        let secrets = Secrets::new(folder.path());
        for good in ["${file:hook}", "file:hook"] {
            let secret = secrets.secret(good).unwrap();
            assert_eq!((secret.reveal(), format!("{secret:?}").as_str()), ("hunter2", "***"));
        }
        for bad in ["hunter2", "", "${file:empty}", "${TANDEM_TEST_NO_SUCH}", "x${file:hook}"] {
            let refused = secrets.secret(bad).unwrap_err();
            assert!(!format!("{refused:?}").contains("hunter2"), "{refused:?}");
        }
        assert_eq!(secrets.text("https://h/${file:hook}?a").unwrap().reveal(), "https://h/hunter2?a");
    }

    #[test]
    fn a_secret_is_encoded_where_an_address_would_misread_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pw"), "p@s/s:\n").unwrap();
        std::fs::write(folder.path().join("url"), "sqlite:/data/a b.db\n").unwrap();
        let secrets = Secrets::new(folder.path());
        let url = |text: &str| secrets.url(text).unwrap().reveal().to_owned();
        assert_eq!(url("postgres://a:${file:pw}@h/d"), "postgres://a:p%40s%2Fs%3A@h/d");
        assert_eq!(url("postgres://h/d?password=${file:pw}"), "postgres://h/d?password=p%40s%2Fs%3A");
        assert_eq!(url("${file:url}"), "sqlite:/data/a b.db");
        assert_eq!(url("file:url"), "sqlite:/data/a b.db");
    }
}
