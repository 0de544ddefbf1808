//! `tandem schema`: needs neither a config nor a server, so an editor may ask it at any time.

use crate::args::Schema as Asked;
use crate::config::schema;
use crate::failure::Exit;
use crate::output::Output;

pub(crate) fn schema(asked: &Asked, output: &Output) -> Exit {
    let schema = if asked.map_file { schema::of_map_file() } else { schema::of_config() };
    // It is JSON whatever is asked for: there is no table of it.
    output.line(&format!("{schema:#}"));
    Exit::Ok
}
