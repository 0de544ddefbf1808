//! `tandem demo`
use super::Outcome;
use crate::args::Demo as Asked;
use crate::failure::Failure;
use crate::output::Output;
pub(crate) async fn demo(_asked: Asked, _output: &Output) -> Outcome {
    Err(Failure::unsupported("demo", ""))
}
