//! The short run, as a test: what `make chaos` does at length.

use std::process::Command;

#[test]
fn nothing_is_lost_doubled_or_disordered_while_everything_is_killed() {
    let output = Command::new(env!("CARGO_BIN_EXE_tandem-chaos")).arg("--short").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}
