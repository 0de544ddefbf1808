//! What came of it: a table for people, JSON for programs.

use crate::machine::Machine;
use crate::scenario::{Better, Measure, Scenario, Sizes};
use crate::system::System;
use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Everything that a session measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) date: String,
    pub(crate) machine: Machine,
    pub(crate) sizes: Sizes,
    pub(crate) runs: Vec<Run>,
    pub(crate) lines: Vec<Line>,
}

/// One run of one system.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) scenario: Scenario,
    pub(crate) system: System,
    /// The load of the minute before it.
    pub(crate) load: f64,
    pub(crate) measures: Vec<Measure>,
}

/// One line of the table: medians.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    scenario: Scenario,
    measure: &'static str,
    unit: &'static str,
    tandem: Option<f64>,
    built_in: Option<f64>,
    built_in_synchronous: Option<f64>,
    floor: Option<f64>,
    /// Ours against the built-in's as it comes; above 1 is better for us. `None` where no way is better.
    ratio: Option<f64>,
    target: Option<String>,
    met: Option<bool>,
}

/// What a figure of ours must reach.
enum Target {
    AtMost(f64),
    /// Not worse than the built-in's.
    BuiltIn,
}

fn target(scenario: Scenario, measure: &str) -> Option<Target> {
    match (scenario, measure) {
        (Scenario::Tpcb, "unconfirmed log at the source during the pause") => Some(Target::AtMost(64.0)),
        (Scenario::Tpcb, "peak memory of the engine") => Some(Target::AtMost(256.0)),
        (Scenario::Large, "peak memory of the engine") => Some(Target::AtMost(512.0)),
        (Scenario::Catchup, "catch-up") => Some(Target::BuiltIn),
        _ => None,
    }
}

/// Medians of all runs, one line a measure.
pub(crate) fn lines(runs: &[Run]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for run in runs {
        // The floor stands beside the figure that it is the floor of.
        let scenario = if run.scenario == Scenario::Floor { Scenario::Catchup } else { run.scenario };
        for measure in &run.measures {
            if lines.iter().any(|line| line.scenario == scenario && line.measure == measure.name) {
                continue;
            }
            lines.push(line(runs, scenario, measure));
        }
    }
    lines.sort_by_key(|line| line.scenario as u8);
    lines
}

fn line(runs: &[Run], scenario: Scenario, measure: &Measure) -> Line {
    let of = |system: System| {
        let of_scenario = runs.iter().filter(|run| {
            run.system == system
                && (run.scenario == scenario
                    || (run.scenario == Scenario::Floor && scenario == Scenario::Catchup))
        });
        let measures = of_scenario.flat_map(|run| &run.measures);
        median(measures.filter(|other| other.name == measure.name).map(|other| other.value).collect())
    };
    let (tandem, built_in) = (of(System::Tandem), of(System::BuiltIn));
    let ratio = tandem.zip(built_in).and_then(|(ours, theirs)| match measure.better {
        Better::More => Some(ours / theirs),
        Better::Less => Some(theirs / ours),
        Better::Neither => None,
    });
    let target = target(scenario, measure.name);
    let met = match (&target, tandem) {
        (Some(Target::AtMost(limit)), Some(ours)) => Some(ours <= *limit),
        (Some(Target::BuiltIn), Some(_)) => ratio.map(|ratio| ratio >= 1.0),
        _ => None,
    };
    let target = target.map(|target| match target {
        Target::AtMost(limit) => format!("≤ {limit} {}", measure.unit),
        Target::BuiltIn => "≥ built-in".to_owned(),
    });
    Line {
        scenario,
        measure: measure.name,
        unit: measure.unit,
        tandem,
        built_in,
        built_in_synchronous: of(System::BuiltInSynchronous),
        floor: of(System::Floor),
        ratio: ratio.filter(|ratio| ratio.is_finite()),
        target,
        met,
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (lower, upper) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some(f64::midpoint(*lower, *upper))
}

/// The table, as Markdown: it is read on a terminal and kept in a file.
pub(crate) fn table(lines: &[Line]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "scenario",
        "measure",
        "unit",
        "Tandem",
        "built-in",
        "ratio",
        "built-in, durable",
        "floor",
        "target",
        "met",
    ]);
    for line in lines {
        table.add_row([
            format!("{:?}", line.scenario).to_lowercase(),
            line.measure.to_owned(),
            line.unit.to_owned(),
            shown(line.tandem),
            shown(line.built_in),
            line.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            shown(line.built_in_synchronous),
            shown(line.floor),
            line.target.clone().unwrap_or_default(),
            line.met.map_or("", |met| if met { "yes" } else { "NO" }).to_owned(),
        ]);
    }
    for column in 3..8 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// Three digits that matter.
fn shown(value: Option<f64>) -> String {
    match value {
        None => String::new(),
        Some(value) if value.abs() >= 100.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

/// Writes the report to a file named after its date. Returns the file.
pub(crate) fn write(report: &Report, folder: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let file = folder.join(format!("{}.json", report.date.replace(':', "")));
    let unfinished = file.with_extension("tmp");
    std::fs::write(&unfinished, serde_json::to_string_pretty(report)? + "\n")?;
    std::fs::rename(&unfinished, &file)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(system: System, rate: f64) -> Run {
        Run {
            scenario: Scenario::Catchup,
            system,
            load: 0.0,
            measures: vec![Measure::more("catch-up", "rows/s", rate)],
        }
    }

    #[test]
    fn a_line_is_made_of_medians_and_says_whether_its_target_was_met() {
        let mut runs = vec![run(System::Tandem, 10.0), run(System::Tandem, 90.0), run(System::Tandem, 30.0)];
        runs.push(run(System::BuiltIn, 20.0));
        let line = lines(&runs).remove(0);
        assert_eq!((line.tandem, line.ratio, line.met), (Some(30.0), Some(1.5), Some(true)));
        runs.push(run(System::BuiltIn, 100.0));
        assert_eq!(lines(&runs).remove(0).met, Some(false));
    }
}
