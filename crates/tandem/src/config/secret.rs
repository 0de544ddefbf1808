//! Addresses of apps, and the secrets in them. A password is only ever referred to: `${ERP_PASSWORD}` is the
//! environment's, `${file:/run/secrets/erp}` a file's. It is put in where the connector reads the address and
//! shows nowhere: not in logs, not in errors, not in `Debug`.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The most bytes of a file that holds a secret.
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

/// Why an address cannot be used. Holds no secret.
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
            // A password may hold what means something in an address; a whole address or a host may not be
            // touched.
            let in_credentials = place < credentials_end;
            let in_query = text.get(..place).is_some_and(|before| before.contains('?'));
            full.push_str(&if in_credentials || in_query { percent_encoded(&value) } else { value });
            rest = behind;
        }
        full.push_str(rest);
        Ok(AppUrl::from(full))
    }

    fn file(&self, path: &str) -> Result<String, Refused> {
        let path = self.base.join(path);
        let refuse = |why: String| Refused {
            why: format!("the secret in {} cannot be read: {why}", path.display()),
            fix: "write it to that file, readable only for the user that runs tandem".to_owned(),
        };
        let bytes = std::fs::read(&path).map_err(|why| refuse(why.to_string()))?;
        if bytes.len() > SECRET_MAX_BYTES {
            return Err(refuse("it is too large for a secret".to_owned()));
        }
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

/// A text in which the password of an address, if there is one, is masked. References stay readable.
pub(crate) fn mask(text: &str) -> String {
    let Some(place) = password(text) else { return text.to_owned() };
    let part = |range: Range<usize>| text.get(range).unwrap_or("");
    if is_reference(part(place.clone())) {
        return text.to_owned();
    }
    format!("{}***{}", part(0..place.start), part(place.end..text.len()))
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
