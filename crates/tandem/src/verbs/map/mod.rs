//! `tandem map …`

mod act;
mod list;
mod mapping;
mod pause;
mod plan;
mod progress;
mod resume;
mod run;
mod show;
mod skip;
mod stop;
mod try_row;
mod verify;
mod wait;

pub(super) use act::{act, actor, agree_to_loss_in, states, typed};
pub(crate) use list::list;
pub(crate) use pause::pause;
pub(super) use pause::planned;
pub(crate) use plan::plan;
pub(super) use progress::long;
pub(crate) use resume::resume;
pub(crate) use run::run;
pub(crate) use show::show;
pub(crate) use skip::skip;
pub(crate) use stop::stop;
pub(super) use stop::{ending, fate, waiting};
pub(crate) use try_row::try_row;
pub(crate) use verify::verify;
pub(crate) use wait::wait;

use tandem_server::wire::Map;

/// A state as people see it: a pause that was asked for shows before it has taken effect.
pub(super) fn shown_state(map: &Map) -> &str {
    if map.pausing { "pausing" } else { &map.state }
}
