//! `tandem completion`

use crate::args::Args;
use crate::failure::Exit;
use crate::output::Output;
use clap::CommandFactory;

pub(crate) fn completion(shell: clap_complete::Shell, output: &Output) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "tandem", &mut script);
    output.line(&String::from_utf8_lossy(&script));
    Exit::Ok
}
