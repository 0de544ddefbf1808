//! What ends a command without success: one message, what to do, and an exit code that a script can tell from
//! the others.

use crate::config::ConfigErrors;
use std::fmt;
use tandem_engine::StartError;
use tandem_server::ClientError;
use tandem_server::wire::{Finding, Problem};

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// It did what it was asked.
    Ok = 0,
    /// It failed, or was done and left errors.
    Failed = 1,
    /// It was asked wrongly: arguments, config, or what this version cannot do.
    Usage = 2,
    /// A state does not allow it, or a check found what stands in the way.
    Refused = 3,
    /// It is not allowed.
    Denied = 4,
    /// There is no such thing.
    NotFound = 5,
    /// It was not done in time.
    TimedOut = 6,
    /// Two sides differ.
    Differs = 7,
    /// No server answers, or something else does in its place.
    NoServer = 8,
}

/// A command that did not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// With which code the process ends.
    pub(crate) exit: Exit,
    message: String,
    details: Vec<String>,
    fix: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), details: Vec::new(), fix: None }
    }

    /// Adds what a person can do about it.
    #[must_use]
    pub(crate) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// Adds a line of its own.
    #[must_use]
    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.details.push(detail.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        for detail in &self.details {
            write!(f, "\n  {}", detail.replace('\n', "\n  "))?;
        }
        if let Some(fix) = &self.fix {
            write!(f, "\n  fix: {fix}")?;
        }
        Ok(())
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::new(Exit::Usage, "the config cannot be used; nothing was started").detail(errors.to_string())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        match error {
            ClientError::Address { .. } => {
                Self::new(Exit::Usage, message).fix("write it as --server http://127.0.0.1:7070")
            }
            ClientError::Authority(_) => Self::new(Exit::Usage, message)
                .fix("name a file in PEM with --ca or TANDEM_CA, or install the system's authorities: ca-certificates"),
            ClientError::InTheOpen { .. } => Self::new(Exit::Usage, message).fix(
                "write --server https://…, for a server with [server] tls; or reach it through a tunnel: \
                 ssh -L 7070:127.0.0.1:7070 HOST, and then --server http://127.0.0.1:7070",
            ),
            ClientError::Insecure { why, .. } => Self::new(Exit::NoServer, message).fix(why.fix()),
            ClientError::NoServer { .. } => Self::new(Exit::NoServer, message)
                .fix("start it with: tandem serve -c tandem.toml; or say where it is with --server or TANDEM_SERVER"),
            ClientError::Stranger { .. } => {
                Self::new(Exit::NoServer, message).fix("look at what listens there; say where the server is with --server")
            }
            ClientError::Problem(problem) => Self::from(*problem),
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let exit = match problem.code.as_str() {
            "state_refused" | "check_failed" | "token_exists" | "token_changed" | "config_changed" => {
                Exit::Refused
            }
            "map_unknown" | "app_unknown" | "rule_unknown" | "route_unknown" | "error_unknown"
            | "record_unknown" | "verify_unknown" | "token_not_found" => Exit::NotFound,
            "request_invalid" | "not_supported" => Exit::Usage,
            "not_local" | "token_missing" | "token_unknown" | "token_expired" | "too_many_attempts"
            | "role_needed" | "maps_bound" | "values_hidden" => Exit::Denied,
            "timed_out" => Exit::TimedOut,
            "shutting_down" | "tls_required" => Exit::NoServer,
            _ => Exit::Failed,
        };
        let details: Vec<String> = problem.findings.iter().map(shown).collect();
        // The findings say one by one what the sentence says at once.
        let message = if details.is_empty() { problem.detail } else { "nothing was changed".to_owned() };
        Self { exit, message, details, fix: problem.fix }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let message = error.to_string();
        match error {
            StartError::Locked(_) => Self::new(Exit::Refused, message),
            StartError::Data { fix, .. } => Self::new(Exit::Failed, message).fix(fix),
            StartError::Maps(findings) => {
                // A map that runs stands in the way by its state; anything else is wrong in the config.
                let by_state = findings.iter().any(|finding| finding.code == "map_in_use");
                let exit = if by_state { Exit::Refused } else { Exit::Usage };
                let findings = findings.into_iter().map(Finding::from);
                let details = findings.map(|finding| shown(&finding)).collect();
                Self { details, ..Self::new(exit, "the maps cannot be used; nothing was started") }
            }
        }
    }
}

fn shown(finding: &Finding) -> String {
    let fix = finding.fix.as_ref().map(|fix| format!("\n  fix: {fix}")).unwrap_or_default();
    format!("{}: {}: {}{fix}", finding.severity, finding.place, finding.message)
}
