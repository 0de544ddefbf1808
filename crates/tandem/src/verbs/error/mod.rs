//! `tandem error …`

mod list;
mod show;

pub(crate) use list::list;
pub(crate) use show::show;
