//! What stands in the way of the needs, and the exact SQL that mends it.

use super::connect::Endpoint;
use tandem_core::connect::Needs;
use tandem_core::{Fault, Finding};

pub(super) async fn check(endpoint: &Endpoint, _slot: &str, _needs: &Needs) -> Result<Vec<Finding>, Fault> {
    let _client = endpoint.session("check").await?;
    Ok(Vec::new())
}
