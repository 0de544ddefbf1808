//! `tandem guard …`

use super::{Desk, Outcome};
use crate::args::Release;
use crate::failure::{Exit, Failure};
use crate::output::{Output, moment, table};
use crate::{config, connectors};
use comfy_table::Cell;
use serde::Serialize;
use tandem_core::AppName;
use tandem_server::wire::{Guard, Page};

/// What is refused, with the app that refuses it.
#[derive(Serialize)]
struct Standing {
    app: String,
    #[serde(flatten)]
    guard: Guard,
}

pub(crate) async fn list(desk: &Desk<'_>) -> Outcome {
    let apps = desk.client.apps().await?.items;
    let of_app = |app: tandem_server::wire::App| {
        app.guards.into_iter().map(move |guard| Standing { app: app.name.clone(), guard })
    };
    let page = Page { items: apps.into_iter().flat_map(of_app).collect::<Vec<_>>(), next: None };
    desk.output.data(&page, |page| {
        let row = |standing: &Standing| {
            let Guard { table, map, refuses, since } = &standing.guard;
            [standing.app.clone(), table.clone(), refuses.clone(), map.clone(), moment(*since)].map(Cell::new)
        };
        table(["APP", "TABLE", "REFUSES", "FOR THE MAP", "SINCE"], page.items.iter().map(row))
    });
    Ok(Exit::Ok)
}

/// What frees an app of us.
#[derive(Serialize)]
struct Freed {
    app: String,
    sql: String,
}

/// Asks no server: it is for the day when there is none.
pub(crate) async fn release(asked: Release, output: &Output) -> Outcome {
    let config = config::load(&asked.config)?;
    let apps = connectors::connect_all(&config)?;
    let only = asked.app.as_deref().map(AppName::from);
    if let Some(unknown) = only.as_ref().filter(|app| !apps.contains_key(*app)) {
        return Err(Failure::new(Exit::NotFound, format!("there is no app {unknown} in the config")));
    }
    let mut freed = Vec::new();
    for (app, connector) in apps.iter().filter(|(app, _)| only.as_ref().is_none_or(|only| only == *app)) {
        let sql = connector.release_sql().await.map_err(|fault| {
            let failure = Failure::new(Exit::Failed, format!("app {app}: {fault}"));
            fault.fix.iter().fold(failure, |failure, fix| failure.fix(fix))
        })?;
        freed.push(Freed { app: app.to_string(), sql });
    }
    let page = Page { items: freed, next: None };
    output.data(&page, |page| {
        let blocks = page.items.iter().map(|freed| format!("-- {}\n{}", freed.app, freed.sql.trim_end()));
        blocks.collect::<Vec<_>>().join("\n\n")
    });
    Ok(Exit::Ok)
}
