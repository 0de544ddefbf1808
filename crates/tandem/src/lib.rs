//! `tandem`: the engine, its API and its command line in one process. The only crate that knows argv, exit
//! codes, and which connectors there are.
//!
//! It is a library so that a test can run the very same program with fail points compiled in.

mod args;
mod certificate;
mod config;
mod connectors;
mod credentials;
mod env;
mod failure;
mod logs;
mod output;
mod post;
mod quantity;
mod reload;
mod verbs;

use args::Args;
use clap::Parser;
use failure::{Exit, Failure};
use output::Output;
use std::ffi::OsString;
use std::process::ExitCode;

/// What `tandem` does with an argv, the program's own name first; what `main` returns.
pub fn run(argv: impl IntoIterator<Item = OsString>) -> ExitCode {
    // One provider for every TLS connection of the process, before there is any. Another one that was installed
    // already would do as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let args = Args::parse_from(argv);
    let output = Output::new(args.output);
    let outcome = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let outcome = runtime.block_on(verbs::run(args, &output));
            // What is left runs on threads that nobody waits for any more: a verb ends when it has its answer.
            runtime.shutdown_background();
            outcome
        }
        Err(why) => Err(Failure::new(Exit::Failed, format!("no threads can be started: {why}"))),
    };
    match outcome {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.exit as u8)
        }
    }
}
