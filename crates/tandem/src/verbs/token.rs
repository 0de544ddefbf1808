//! `tandem token …`

use super::map::actor;
use super::{Desk, Outcome};
use crate::args::{CreateToken, RevokeToken};
use crate::failure::Exit;
use crate::output::{moment, table};
use comfy_table::Cell;
use tandem_server::wire::{RevokeRequest, Token, TokenRequest};

pub(crate) async fn create(desk: &Desk<'_>, asked: CreateToken) -> Outcome {
    let CreateToken { name, role, maps, expires } = asked;
    let created = desk
        .client
        .create_token(&TokenRequest {
            name,
            role: role.name().to_owned(),
            maps: (!maps.is_empty()).then_some(maps),
            expires_seconds: expires.map(|expires| expires.as_secs()),
            actor: Some(actor()),
        })
        .await?;
    desk.output.data(&created, |created| created.secret.clone());
    desk.output.say("this is the only time that it is shown; give it with --token-file or TANDEM_TOKEN");
    Ok(Exit::Ok)
}

pub(crate) async fn list(desk: &Desk<'_>) -> Outcome {
    let mut page = desk.client.tokens(None).await?;
    while let Some(next) = page.next.take() {
        let more = desk.client.tokens(Some(&next)).await?;
        page.items.extend(more.items);
        page.next = more.next;
    }
    desk.output.data(&page, |page| {
        table(["TOKEN", "ROLE", "MAPS", "CREATED", "BY", "EXPIRES", "LAST USED"], page.items.iter().map(row))
    });
    Ok(Exit::Ok)
}

fn row(token: &Token) -> [Cell; 7] {
    let at = |at: Option<_>| Cell::new(at.map(moment).unwrap_or_default());
    [
        Cell::new(&token.name),
        Cell::new(&token.role),
        Cell::new(token.maps.as_ref().map_or("all".to_owned(), |maps| maps.join(", "))),
        Cell::new(moment(token.created_at)),
        Cell::new(&token.created_by),
        at(token.expires_at),
        at(token.last_used_at),
    ]
}

pub(crate) async fn revoke(desk: &Desk<'_>, asked: RevokeToken) -> Outcome {
    let request = RevokeRequest { created_at: asked.created_at, actor: Some(actor()) };
    desk.client.revoke_token(&asked.name, &request).await?;
    desk.output.say(&format!("{} opens nothing any more", asked.name));
    Ok(Exit::Ok)
}
