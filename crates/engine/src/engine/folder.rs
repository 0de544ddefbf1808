//! What is said of a data folder that cannot be used: each trouble with what mends it, for rights are not the only one.

use super::StartError;
use std::path::Path;

/// Refuses what is there and is no folder.
pub(super) fn check(dir: &Path) -> Result<(), StartError> {
    if !dir.exists() || dir.is_dir() {
        return Ok(());
    }
    let fix = "name a folder, or a path at which there is nothing yet: [server] data_dir";
    Err(failed("open the data folder", dir, "it is no folder", fix))
}

/// The store in it cannot be read.
pub(super) fn store_unreadable(dir: &Path, message: &str) -> StartError {
    let fix = "look at the file tandem.db in it, and at its disk: what maps and queues there are stands there. Put back a \
               copy of the whole folder, or name an empty one and run the maps anew: [server] data_dir";
    failed("open the store in", dir, message, fix)
}

fn failed(operation: &str, dir: &Path, message: &str, fix: &str) -> StartError {
    StartError::Data {
        operation: format!("{operation} {}", dir.display()),
        message: message.to_owned(),
        fix: fix.to_owned(),
    }
}
