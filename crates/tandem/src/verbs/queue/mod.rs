//! `tandem queue …`

mod list;
mod stats;

pub(crate) use list::list;
pub(crate) use stats::stats;
