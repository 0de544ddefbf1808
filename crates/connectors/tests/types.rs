//! Every type between every two databases: a value arrives equal, or is refused with a code; and what arrived comes
//! back equal, too. What was found is the page `docs/types.md`: the test fails when the page says something else.
//!
//! Write the page anew with `TANDEM_WRITE_DOCS=1 cargo test -p tandem-connectors --test types`.

#![cfg(all(feature = "sqlite", feature = "postgres"))]
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "types/apps.rs"]
mod apps;
#[path = "types/zoo.rs"]
mod zoo;

use apps::{App, Written};
use std::collections::BTreeSet;
use std::fmt::Write;
use tandem_core::Comparison;
use zoo::{Case, Engine};

/// What came of a case.
struct Seen {
    comparison: Comparison,
    arrived: usize,
    refused: BTreeSet<String>,
    /// Values that arrived, and were refused on their way back.
    stranded: BTreeSet<String>,
}

/// Writes what users wrote to `from` to a table of `to`, and what stands there then back to a third one.
async fn through(case: &Case, from: &mut App, to: &mut App, nth: usize) -> Seen {
    let (source, there, back) = (format!("s{nth}"), format!("d{nth}"), format!("b{nth}"));
    let types = (from.table(&source, case.from).await, to.table(&there, case.to).await);
    from.table(&back, case.from).await;
    let comparison = Comparison::of(&types.0, &types.1);
    let sent = from.written_by_users(&source, case.values).await;
    assert_eq!(sent.len(), case.values.len(), "{}", case.from);
    let mut seen = Seen { comparison, arrived: 0, refused: BTreeSet::new(), stranded: BTreeSet::new() };
    for (place, value) in sent.iter().enumerate() {
        let key = i64::try_from(place).unwrap();
        let landed = match to.write(&there, key, value).await {
            Written::As(landed) => landed,
            Written::Refused(code) => {
                seen.refused.insert(code);
                continue;
            }
        };
        assert!(
            comparison.is_same(value, &landed),
            "{} → {}: {value:?} arrived as {landed:?}, compared as {comparison:?}",
            case.from,
            case.to
        );
        seen.arrived += 1;
        match from.write(&back, key, &landed).await {
            Written::As(returned) => assert!(
                comparison.is_same(value, &returned),
                "{} → {} → back: {value:?} came back as {returned:?}",
                case.from,
                case.to
            ),
            Written::Refused(code) => drop(seen.stranded.insert(code)),
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn every_value_arrives_equal_and_comes_back_equal_or_is_refused_with_a_code() {
    let mut page = String::from(HEAD);
    for (title, from, to, cases) in [
        ("PostgreSQL → PostgreSQL", Engine::Postgres, Engine::Postgres, zoo::POSTGRES_TO_POSTGRES),
        ("PostgreSQL → SQLite", Engine::Postgres, Engine::Sqlite, zoo::POSTGRES_TO_SQLITE),
        ("SQLite → PostgreSQL", Engine::Sqlite, Engine::Postgres, zoo::SQLITE_TO_POSTGRES),
        ("SQLite → SQLite", Engine::Sqlite, Engine::Sqlite, zoo::SQLITE_TO_SQLITE),
    ] {
        let mut from = App::new(from, "from").await;
        let mut to = App::new(to, "to").await;
        writeln!(page, "\n## {title}\n").unwrap();
        writeln!(page, "| from | to | compared as | arrive | refused | refused on the way back |").unwrap();
        writeln!(page, "|---|---|---|---|---|---|").unwrap();
        for (nth, case) in cases.iter().enumerate() {
            let seen = through(case, &mut from, &mut to, nth).await;
            let codes = |codes: &BTreeSet<String>| {
                let codes: Vec<_> = codes.iter().map(|code| format!("`{code}`")).collect();
                if codes.is_empty() { "none".to_owned() } else { codes.join(", ") }
            };
            let all = case.values.len();
            let arrive =
                if seen.arrived == all { "all".to_owned() } else { format!("{} of {all}", seen.arrived) };
            let shown = |name: &str| if name.is_empty() { "no type".to_owned() } else { format!("`{name}`") };
            writeln!(
                page,
                "| {} | {} | {} | {arrive} | {} | {} |",
                shown(case.from),
                shown(case.to),
                words(seen.comparison),
                codes(&seen.refused),
                codes(&seen.stranded)
            )
            .unwrap();
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/types.md");
    if std::env::var_os("TANDEM_WRITE_DOCS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let stands = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(stands, page, "docs/types.md is not what was found; TANDEM_WRITE_DOCS=1 writes it anew");
}

fn words(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Own => "what it is",
        Comparison::Truth => "truth",
        Comparison::Number => "number",
        Comparison::Moment => "moment",
        Comparison::Wall => "time on a wall",
        Comparison::Json => "JSON",
        Comparison::Caseless => "text in any case",
        Comparison::Padded => "padded text",
    }
}

const HEAD: &str = "\
# Types

What becomes of values between the databases, found by a test on real servers that writes this page: each type with
values at its edges, there and back. A value arrives **equal**, or its record is set aside with the code that stands here.
Nothing is rounded or cut in silence.

Equal is meant as the column *compared as* says: **number**: 1, 1.0 and 1e0 are one, and 0 is -0; **truth**: true, `t` and 1 are
one; **moment**: the same one in different offsets is one; **time on a wall**: zeros at the end of a fraction do not count;
**JSON**: the same structure is one, whatever the order of keys; **padded text**: blanks at the end do not count; **what it is**: the value itself, byte by byte, in the text form that
PostgreSQL has for a type that SQLite does not know. Null arrives as null everywhere, and is not the empty text.
";
