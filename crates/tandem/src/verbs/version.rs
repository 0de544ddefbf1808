//! `tandem version`

use crate::failure::Exit;
use crate::output::Output;
use serde_json::json;

pub(crate) fn version(output: &Output) -> Exit {
    let version = env!("CARGO_PKG_VERSION");
    output.data(&json!({ "version": version }), |_| format!("tandem {version}"));
    Exit::Ok
}
