//! The only place that prints. Data goes to stdout, as a table for people or as JSON for programs; talk goes to
//! stderr. A reader that went away (`| head`) is no error.

use crate::args::Format;
use crate::failure::Failure;
use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value as Json;
use std::io::{IsTerminal, Write};

/// The narrowest terminal to which tables are fitted.
const WIDTH_MIN: u16 = 60;
/// The lines of a terminal that does not say how many it has.
const HEIGHT: usize = 24;

/// Where and how a verb writes.
pub(crate) struct Output {
    format: Format,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self { format }
    }

    /// Writes data: as JSON, or as `table` makes it.
    pub(crate) fn data<T: Serialize>(&self, data: &T, table: impl FnOnce(&T) -> String) {
        match self.format {
            Format::Json => self.line(&to_json(data, true)),
            Format::Table => self.line(&table(data)),
        }
    }

    /// Writes one of a series of data: as one line of JSON, or as `line` makes it.
    pub(crate) fn entry<T: Serialize>(&self, data: &T, line: impl FnOnce(&T) -> String) {
        match self.format {
            Format::Json => self.line(&to_json(data, false)),
            Format::Table => self.line(&line(data)),
        }
    }

    /// Writes text that is data by itself; nothing at all if there is none.
    pub(crate) fn line(&self, text: &str) {
        if text.is_empty() {
            return;
        }
        let mut out = std::io::stdout().lock();
        // The reader may have gone away; there is nobody left to tell.
        let _ = writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush());
    }

    /// Writes data as JSON, an object a line, whatever the format. `false` if the reader went away; an error if it
    /// could not be written, since what is cut off must not look whole.
    pub(crate) fn json_lines<T: Serialize>(&self, data: &[T]) -> std::io::Result<bool> {
        let text: String = data.iter().map(|data| to_json(data, false) + "\n").collect();
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Ok(true),
            Err(why) if why.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
            Err(why) => Err(why),
        }
    }

    /// Whether data is written for people.
    pub(crate) fn is_for_people(&self) -> bool {
        self.format == Format::Table
    }

    /// Writes text as it is, for views that draw themselves.
    pub(crate) fn raw(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// Says something to the person.
    pub(crate) fn say(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// Says what went wrong.
    pub(crate) fn failure(&self, failure: &Failure) {
        self.say(&failure.to_string());
    }
}

/// Whether stdout is a terminal.
pub(crate) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// How many lines the terminal has; as many as the smallest one where it does not say.
pub(crate) fn height() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    size.ok().map(|size| usize::from(size.ws_row)).filter(|lines| *lines > 0).unwrap_or(HEIGHT)
}

/// Whether a person looks on while something goes on: talk goes to a terminal.
pub(crate) fn watches() -> bool {
    std::io::stderr().is_terminal()
}

/// Whether a person sits there who can be asked.
pub(crate) fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

fn to_json<T: Serialize>(data: &T, pretty: bool) -> String {
    let written = if pretty { serde_json::to_string_pretty(data) } else { serde_json::to_string(data) };
    written.expect("shapes of the API have text keys and finite numbers")
}

/// A table without lines, as wide as the terminal, or as its content where there is none.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [Cell; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head);
    if std::env::var_os("NO_COLOR").is_some() {
        table.force_no_tty();
    }
    // A terminal that does not know how wide it is, or is too narrow, gets the lines as they are.
    let fits = table.is_tty() && table.width().is_some_and(|width| width >= WIDTH_MIN);
    table.set_content_arrangement(match fits {
        true => ContentArrangement::Dynamic,
        false => ContentArrangement::Disabled,
    });
    for row in rows {
        table.add_row(row);
    }
    let drawn = table.to_string();
    drawn.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect::<Vec<_>>().join("\n")
}

/// A value of a record for people: text as it is, anything else as JSON.
pub(crate) fn value(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), printable)
}

/// Text that a terminal shows and does not obey: control characters are written as escapes.
pub(crate) fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c.is_control() {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
        out
    })
}

/// A state with its colour; the word says the same without it.
pub(crate) fn state(name: &str) -> Cell {
    coloured(name, Cell::new(name))
}

/// A state with how much of it is done, in hundredths.
pub(crate) fn state_done(name: &str, percent: u64) -> Cell {
    coloured(name, Cell::new(format!("{name} {percent} %")))
}

fn coloured(state: &str, cell: Cell) -> Cell {
    match state {
        "running" => cell.fg(Color::Green),
        "paused" | "pausing" => cell.fg(Color::Yellow),
        "resuming" | "initializing" => cell.fg(Color::Cyan),
        _ => cell,
    }
}

/// How long ago something was: `3 s`, `5 min`, `2 h`, `4 d`.
pub(crate) fn age(at: Timestamp) -> String {
    let seconds = Timestamp::now().duration_since(at).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A moment to the second, UTC.
pub(crate) fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// A number with its thousands apart.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// Bytes in the unit that a person reads.
pub(crate) fn bytes(number: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    if number < 1_000 {
        return format!("{number} B");
    }
    let mut tenths = number / 100;
    for unit in units {
        if tenths < 10_000 || unit == "TB" {
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
        tenths /= 1_000;
    }
    format!("{number} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_for_people() {
        assert_eq!(
            [count(0), count(999), count(12_480), count(1_234_567)],
            ["0", "999", "12 480", "1 234 567"]
        );
        assert_eq!(
            [bytes(999), bytes(1_500), bytes(63_963_136), bytes(2_000_000_000)],
            ["999 B", "1.5 kB", "63.9 MB", "2.0 GB"]
        );
    }

    #[test]
    fn a_value_does_not_speak_to_the_terminal() {
        let shown = ["a\u{1b}[2Jb\n", "Zoë"].map(|text| value(&Json::from(text)));
        assert_eq!(shown, ["a\\u{1b}[2Jb\\n", "Zoë"]);
        assert_eq!([value(&Json::Null), value(&Json::from(1.5))], ["null", "1.5"]);
    }

    #[test]
    fn a_table_has_no_blanks_at_its_edges() {
        let drawn = table(["MAP", "STATE"], [[Cell::new("customers"), Cell::new("running")]]);
        assert_eq!(drawn, "MAP        STATE\ncustomers  running");
    }
}
