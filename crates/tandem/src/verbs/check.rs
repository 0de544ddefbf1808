//! `tandem check`: reads the config, asks the apps, and says what stands in the way with what mends it. Needs
//! no server, changes nothing.

use super::Outcome;
use crate::args::Check as Asked;
use crate::failure::Exit;
use crate::output::Output;
use crate::{config, connectors};
use jiff::Timestamp;
use tandem_server::wire::{Finding, Page};

pub(crate) async fn check(asked: Asked, output: &Output) -> Outcome {
    let config = config::load(&asked.config)?;
    let apps = connectors::connect_all(&config)?;
    // Nobody is told anything yet; an address that could not work is refused now all the same.
    connectors::notifiers(&config)?;
    let found = tandem_engine::check(&apps, &config.maps).await;
    let validity = config.tls.as_ref().and_then(|tls| tls.identity.validity());
    let of_server = validity.and_then(|validity| validity.finding(Timestamp::now()));
    let findings: Vec<Finding> = found.into_iter().chain(of_server).map(Finding::from).collect();
    let errors = findings.iter().filter(|finding| finding.severity == "error").count();
    let warnings = findings.len() - errors;
    let page = Page { items: findings, next: None };
    output.data(&page, |page| page.items.iter().map(block).collect::<Vec<_>>().join("\n"));
    let (apps, maps) = (config.apps.len(), config.maps.len());
    output.say(&format!("{apps} apps, {maps} maps: {errors} errors, {warnings} warnings"));
    Ok(if errors > 0 { Exit::Refused } else { Exit::Ok })
}

/// Not a table: the fix is to be copied as it stands.
fn block(finding: &Finding) -> String {
    let fix = finding.fix.as_ref().map(|fix| format!("\n  fix: {}", fix.replace('\n', "\n       ")));
    format!(
        "{} [{}] {}\n  {}{}",
        finding.severity,
        finding.code,
        finding.place,
        finding.message,
        fix.unwrap_or_default()
    )
}
