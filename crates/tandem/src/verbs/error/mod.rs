//! `tandem error …`

mod act;
mod export;
mod list;
mod show;

pub(crate) use act::{cancel, delete, retry};
pub(crate) use export::export;
pub(crate) use list::list;
pub(crate) use show::show;
