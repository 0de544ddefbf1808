//! Errors of a config: file, line, column, the line itself, and what to do.
//!
//! The line is shown with passwords masked: somebody may have written one there against all advice, and what we
//! print ends in terminals, tickets and logs.

use super::secret::mask;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A file's text, to tell places in it.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    text: String,
}

/// Everything that is wrong with a config; never empty.
#[derive(Debug)]
pub(crate) struct ConfigErrors(pub(crate) Vec<ConfigError>);

/// One thing that is wrong with a config.
#[derive(Debug)]
pub(crate) struct ConfigError {
    path: PathBuf,
    place: Option<Place>,
    why: String,
    fix: Option<String>,
}

#[derive(Debug)]
struct Place {
    line: usize,
    column: usize,
    /// The line as it stands, with secrets masked.
    shown: String,
    /// How many characters of it are meant.
    width: usize,
}

impl Source {
    pub(crate) fn new(path: &Path, text: String) -> Self {
        Self { path: path.to_path_buf(), text }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// An error at a place in the file, given in bytes.
    pub(crate) fn error(&self, span: Range<usize>, why: impl Into<String>) -> ConfigError {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let lead = before.get(start..).unwrap_or("");
        let line_text = self.text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or("");
        let meant = self.text.get(span).and_then(|meant| meant.lines().next()).unwrap_or("");
        let place = Place {
            line: before.matches('\n').count() + 1,
            column: lead.chars().count() + 1,
            shown: mask(line_text),
            width: meant.chars().count().max(1),
        };
        ConfigError { path: self.path.clone(), place: Some(place), why: why.into(), fix: None }
    }

    /// The place of a byte of a text that stands in the file, if it stands there as it is; else all of the text.
    pub(crate) fn within(&self, span: Range<usize>, text: &str, at: usize) -> Range<usize> {
        let written = self.text.get(span.clone()).unwrap_or_default();
        let inner = ["\"\"\"", "'''", "\"", "'"].into_iter().find_map(|quote| {
            let inner = written.strip_prefix(quote)?.strip_suffix(quote)?;
            // The first line break behind three quotes is none of the text.
            let lead = if quote.len() == 3 && inner.starts_with('\n') { 1 } else { 0 };
            (inner.get(lead..)? == text).then_some(quote.len() + lead)
        });
        match inner {
            Some(lead) => {
                let start = span.start + lead + at.min(text.len());
                start..(start + 1).min(span.end)
            }
            None => span,
        }
    }

    /// An error of the file as a whole.
    pub(crate) fn error_of_file(&self, why: impl Into<String>) -> ConfigError {
        ConfigError::of_file(&self.path, why)
    }
}

impl ConfigError {
    /// An error of a file as a whole.
    pub(crate) fn of_file(path: &Path, why: impl Into<String>) -> Self {
        Self { path: path.to_path_buf(), place: None, why: why.into(), fix: None }
    }

    #[must_use]
    pub(crate) fn with_fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(place) = &self.place {
            write!(f, ":{}:{}", place.line, place.column)?;
        }
        write!(f, ": {}", self.why)?;
        if let Some(place) = &self.place {
            let number = place.line.to_string();
            let room = place.shown.chars().count().saturating_sub(place.column - 1).max(1);
            write!(
                f,
                "\n  {number} | {}\n  {:blank$} | {:indent$}{}",
                place.shown,
                "",
                "",
                "^".repeat(place.width.min(room)),
                blank = number.len(),
                indent = place.column - 1,
            )?;
        }
        if let Some(fix) = &self.fix {
            write!(f, "\n  fix: {fix}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, error) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
