//! `tandem`: see the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    tandem::run(std::env::args_os())
}
