//! What is packaged beside the binary: a config that is good, a unit that systemd takes, licences that may be given away.

use crate::house::{House, tandem};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_packaged_config_is_good() {
    let house = House::new();
    house.write("tandem.toml", &std::fs::read_to_string(root().join("packaging/tandem.toml")).unwrap());
    house.tandem(&["check"]).ended(0, "");
}

#[test]
fn the_unit_is_one_that_systemd_takes_and_has_few_rights() {
    let house = House::new();
    let unit = std::fs::read_to_string(root().join("packaging/tandem.service")).unwrap();
    // The binary is not installed where the tests run.
    house.write("tandem.service", &unit.replace("/usr/bin/tandem", env!("CARGO_BIN_EXE_tandem")));
    let unit = house.path().join("tandem.service");
    let said = Command::new("systemd-analyze").arg("verify").arg(&unit).output().unwrap();
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.contains("tandem.service"), "{said}");
    // In tenths, as systemd rates it: 0 can do nothing, 100 everything.
    let rated = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=20"])
        .arg(&unit)
        .output()
        .unwrap();
    assert!(rated.status.success(), "{}", String::from_utf8_lossy(&rated.stdout));
}

/// Whether one of the ways that an expression offers is allowed as a whole.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let any = |text: &str| text.split(" OR ").any(|one| allowed.contains(one.trim()));
    let expression = expression.replace(" / ", " OR ").replace('/', " OR ");
    // What stands in brackets is one of several; outside of them all that AND joins is needed.
    let mut rest = expression.as_str();
    let mut outside = String::new();
    while let Some((before, behind)) = rest.split_once('(') {
        let Some((inner, behind)) = behind.split_once(')') else { return false };
        if !any(inner) {
            return false;
        }
        outside.push_str(before);
        outside.push_str("MIT");
        rest = behind;
    }
    outside.push_str(rest);
    outside.split(" AND ").all(any)
}

/// Where cargo-deny is, `make lint` looks at the same list.
#[test]
fn every_licence_may_be_given_away_and_every_source_is_known() {
    let deny: toml::Table =
        toml::from_str(&std::fs::read_to_string(root().join("deny.toml")).unwrap()).unwrap();
    let allowed: BTreeSet<String> = deny["licenses"]["allow"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one.as_str().unwrap().to_owned())
        .collect();
    assert!(!is_allowed("GPL-3.0", &allowed) && !is_allowed("MIT AND GPL-3.0", &allowed));
    assert!(is_allowed("GPL-3.0 OR MIT", &allowed) && is_allowed("(GPL-3.0 OR MIT) AND ISC", &allowed));
    assert!(!is_allowed("(GPL-3.0 OR AGPL-3.0) AND ISC", &allowed));
    let metadata = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100, "{}", packages.len());
    let bad = packages.iter().filter(|package| {
        let source = package["source"].as_str();
        let known =
            source.is_none_or(|source| source == "registry+https://github.com/rust-lang/crates.io-index");
        let licence = package["license"].as_str().unwrap_or_default();
        !known || !is_allowed(licence, &allowed)
    });
    let bad: Vec<String> = bad
        .map(|package| format!("{} {} {}", package["name"], package["license"], package["source"]))
        .collect();
    assert_eq!(bad, [""; 0]);
}

/// The package is made of the binary that is tested, and holds what it says.
#[test]
fn a_debian_package_holds_binary_unit_config_and_completions() {
    let house = House::new();
    let made = Command::new(root().join("packaging/deb.sh"))
        .args([env!("CARGO_BIN_EXE_tandem"), house.path().to_str().unwrap()])
        .env("COMPRESSION", "none")
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let package = std::fs::read_dir(house.path()).unwrap().map(|entry| entry.unwrap().path());
    let package =
        package.into_iter().find(|path| path.extension().is_some_and(|kind| kind == "deb")).unwrap();
    let to = house.path().join("unpacked");
    assert!(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&to).status().unwrap().success());
    for file in [
        "etc/tandem/tandem.toml",
        "lib/systemd/system/tandem.service",
        "usr/share/bash-completion/completions/tandem",
        "usr/share/doc/tandem/copyright",
        "usr/share/doc/tandem/tandem.schema.json",
    ] {
        assert!(std::fs::metadata(to.join(file)).unwrap().len() > 0, "{file}");
    }
    let version = Command::new(to.join("usr/bin/tandem")).arg("version").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&version.stdout), tandem(house.path(), &["version"]).out);
}
