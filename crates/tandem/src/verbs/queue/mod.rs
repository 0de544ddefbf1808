//! `tandem queue …`

mod export;
mod list;
mod show;
mod stats;

pub(crate) use export::export;
pub(crate) use list::list;
pub(crate) use show::show;
pub(crate) use stats::stats;
