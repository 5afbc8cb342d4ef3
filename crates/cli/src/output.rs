//! Writing to people and to programs: data on stdout, messages on stderr, text of models made harmless, numbers made readable.

use std::{
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
    sync::OnceLock,
};

use rustix::termios::tcgetwinsize;

use crate::failure::{Exit, Failure};

/// How this process writes, decided once from flags and environment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// Machine-readable output.
    pub json: bool,
    /// Only data and errors.
    pub quiet: bool,
    /// No colour, whatever the terminal can do.
    pub no_color: bool,
}

/// A terminal that is narrower breaks lines as it likes.
const NARROWEST: usize = 40;
/// Blanks before what is broken off a line, beyond the line's own.
const HANGING: usize = 4;

static STYLE: OnceLock<Style> = OnceLock::new();

/// Sets the style of the process; the first call counts.
pub fn set_style(style: Style) {
    // A second call can only come from a test in the same process, and must not change what the first one saw.
    let _ = STYLE.set(style);
}

fn style() -> Style {
    STYLE.get().copied().unwrap_or_default()
}

/// Whether output is for programs.
pub fn json() -> bool {
    style().json
}

/// Whether only data and errors are wanted.
pub fn quiet() -> bool {
    style().quiet
}

/// Whether stderr may be animated.
pub fn animated() -> bool {
    !json() && !quiet() && io::stderr().is_terminal() && !dumb()
}

fn dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

fn may_color(terminal: bool) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    terminal && !style().no_color && !refused && !dumb()
}

/// How a piece of text stands out where colour is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// Headings.
    Bold,
    /// Side remarks.
    Dim,
    /// Good, or added.
    Green,
    /// Bad, or removed.
    Red,
    /// Look here.
    Yellow,
}

impl Ink {
    fn code(self) -> &'static str {
        match self {
            Ink::Bold => "1",
            Ink::Dim => "2",
            Ink::Green => "32",
            Ink::Red => "31",
            Ink::Yellow => "33",
        }
    }

    /// `text` in this ink, or plain where `on` is false.
    pub fn paint(self, text: &str, on: bool) -> String {
        if on {
            format!("\u{1b}[{}m{text}\u{1b}[0m", self.code())
        } else {
            text.to_owned()
        }
    }
}

/// Whether stdout takes colour.
pub fn stdout_color() -> bool {
    may_color(io::stdout().is_terminal())
}

/// Whether stderr takes colour.
pub fn stderr_color() -> bool {
    may_color(io::stderr().is_terminal())
}

/// Writes data to stdout as it is.
///
/// # Errors
/// What the system says when stdout cannot be written. A closed pipe (`| head`) is a failure that says nothing: the command
/// ends, and takes down what it has started.
pub fn data(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::new(Exit::Ok, "stdout is closed")),
        other => other.map_err(Failure::from),
    }
}

/// Writes one line of data to stdout.
///
/// # Errors
/// As [`data`].
pub fn data_line(text: &str) -> Result<(), Failure> {
    data(&format!("{text}\n"))
}

/// Writes one JSON value as one line of stdout.
///
/// # Errors
/// As [`data`].
pub fn json_line(value: &serde_json::Value) -> Result<(), Failure> {
    data_line(&value.to_string())
}

/// Writes prose to stdout: as [`data`], with long lines broken at the width of a terminal.
///
/// # Errors
/// As [`data`].
pub fn prose(text: &str) -> Result<(), Failure> {
    data(&broken(text, columns(&io::stdout())))
}

/// Tells the user something on stderr, unless quiet.
pub fn note(text: &str) {
    if !quiet() {
        stderr_line(&for_stderr(text));
    }
}

/// Warns the user on stderr.
pub fn warning(text: &str) {
    headed("warning:", Ink::Yellow, text);
}

/// Tells why the command failed on stderr.
pub fn failure(failure: &Failure) {
    headed("error:", Ink::Red, &failure.message);
    if !failure.hint.is_empty() {
        stderr_line(&for_stderr(&failure.hint));
    }
}

fn headed(head: &str, ink: Ink, text: &str) {
    let text = for_stderr(&format!("{head} {text}"));
    let text = text.strip_prefix(head).unwrap_or(&text);
    stderr_line(&format!("{}{text}", ink.paint(head, stderr_color())));
}

/// Writes a line to stderr. Nobody can be told where that cannot be written.
pub fn stderr_line(line: &str) {
    drop(writeln!(io::stderr(), "{line}"));
}

/// Text with long lines broken at the width of the terminal behind stderr, where there is one.
pub fn for_stderr(text: &str) -> String {
    broken(text, columns(&io::stderr()))
}

fn columns(stream: &(impl IsTerminal + AsFd)) -> Option<usize> {
    let size = stream.is_terminal().then(|| tcgetwinsize(stream).ok()).flatten()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns >= NARROWEST)
}

/// Breaks lines that are too long between words; what is broken off stands indented.
fn broken(text: &str, columns: Option<usize>) -> String {
    let Some(columns) = columns else {
        return text.to_owned();
    };
    let mut lines = Vec::new();
    for line in text.split('\n') {
        let indent = line.chars().take_while(|c| *c == ' ').count() + HANGING;
        let mut rest = line.to_owned();
        while rest.chars().count() > columns {
            let end = rest.char_indices().nth(columns).map_or(rest.len(), |(end, _)| end);
            // A word that is longer than a line stays whole: the terminal breaks it.
            let Some(at) = rest
                .get(..=end)
                .and_then(|head| head.trim_end().rfind(' '))
                .filter(|at| *at > indent)
            else {
                break;
            };
            let next = rest.split_off(at);
            lines.push(rest.trim_end().to_owned());
            rest = format!("{}{}", " ".repeat(indent), next.trim_start());
        }
        lines.push(rest);
    }
    lines.join("\n")
}

/// Text of a model or a server made harmless for a terminal: control characters are shown escaped; line feeds and tabs stay.
/// So are the marks that reorder text, because they can make a line read as something that it is not.
pub fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => clean.push(c),
            c if c.is_control() || reorders(c) => clean.extend(c.escape_unicode()),
            c => clean.push(c),
        }
    }
    clean
}

/// As [`clean`], on one line: white space of any kind becomes one space.
pub fn clean_line(text: &str) -> String {
    clean(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn reorders(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

/// The first `limit` characters of a cleaned line, with an ellipsis where something is left out.
pub fn short(text: &str, limit: usize) -> String {
    let line = clean_line(text);
    if line.chars().count() <= limit {
        return line;
    }
    let mut cut: String = line.chars().take(limit.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// A count with thousands separated: `12,345`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 call`, `2 calls`.
pub fn plural(number: u64, one: &str) -> String {
    format!("{} {one}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Billionths of a US dollar as dollars: two places from a cent up, four below.
pub fn dollars(nano_usd: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with at most four places")]
    let usd = nano_usd as f64 / 1e9;
    if nano_usd == 0 || usd >= 0.01 {
        format!("${usd:.2}")
    } else {
        format!("${usd:.4}")
    }
}

/// A fraction as a percentage with one place: `93.3 %`.
pub fn percent(fraction: f64) -> String {
    format!("{:.1} %", fraction * 100.0)
}

/// Seconds as `48 s`, `3 m 05 s` or `2 h 07 m`.
pub fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Unix milliseconds as a local date and time; a dash for none.
pub fn when(unix_ms: u64) -> String {
    let time = i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    match time {
        Some(time) if unix_ms > 0 => time
            .to_zoned(jiff::tz::TimeZone::system())
            .strftime("%Y-%m-%d %H:%M:%S")
            .to_string(),
        _ => "-".into(),
    }
}

/// A plain table: columns padded to their widest cell, two spaces between, the first row a heading.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<usize>,
}

impl Table {
    /// A table with these headings.
    pub fn new(headings: &[&str]) -> Self {
        Table {
            rows: vec![headings.iter().map(|&heading| heading.to_owned()).collect()],
            right: Vec::new(),
        }
    }

    /// Aligns these columns (from 0) to the right: numbers.
    pub fn right(mut self, columns: &[usize]) -> Self {
        self.right = columns.to_vec();
        self
    }

    /// Adds a row. Cells are cleaned: they may hold what a model or a server wrote.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cleaned = cells
            .into_iter()
            .map(|cell| clean(&cell.replace(['\n', '\r', '\t'], " ")));
        self.rows.push(cleaned.collect());
    }

    /// Whether there is nothing but headings.
    pub fn is_empty(&self) -> bool {
        self.rows.len() <= 1
    }

    /// The table in Markdown.
    pub fn markdown(&self) -> String {
        let mut page = String::new();
        for (row, cells) in self.rows.iter().enumerate() {
            let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
            page.push_str(&format!("| {} |\n", cells.join(" | ")));
            if row == 0 {
                let rule = |column| if self.right.contains(&column) { "--:|" } else { "---|" };
                let rules: String = (0..cells.len()).map(rule).collect();
                page.push_str(&format!("|{rules}\n"));
            }
        }
        page
    }

    /// The table as text, a line feed after every row.
    pub fn render(&self, color: bool) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if column > 0 {
                    line.push_str("  ");
                }
                let padding = " ".repeat(width - cell.chars().count());
                if self.right.contains(&column) {
                    line.push_str(&padding);
                    line.push_str(cell);
                } else {
                    line.push_str(cell);
                    line.push_str(&padding);
                }
            }
            let line = line.trim_end();
            text.push_str(&if number == 0 {
                Ink::Bold.paint(line, color)
            } else {
                line.to_owned()
            });
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_break_between_words() {
        let text = "one two three four five six seven eight nine ten\n  short";
        assert_eq!(
            broken(text, Some(20)),
            "one two three four\n    five six seven\n    eight nine ten\n  short"
        );
        assert_eq!(broken(text, None), text);
        assert_eq!(broken(&"ä".repeat(30), Some(20)), "ä".repeat(30));
    }

    #[test]
    fn escape_sequences_of_a_model_are_shown_not_obeyed() {
        assert_eq!(clean("a\u{1b}[2J\tb\nc\r"), "a\\u{1b}[2J\tb\nc\\u{d}");
        assert_eq!(clean("\u{9b}31m\u{202e}evil"), "\\u{9b}31m\\u{202e}evil");
        assert_eq!(clean_line("two\r\n  lines\n"), "two lines");
        assert_eq!(short("abcdef", 4), "abc…");
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(count(0), "0");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(123), "123");
        assert_eq!(plural(1, "call"), "1 call");
        assert_eq!(plural(2000, "call"), "2,000 calls");
        assert_eq!(dollars(0), "$0.00");
        assert_eq!(dollars(1_230_000_000), "$1.23");
        assert_eq!(dollars(1_200_000), "$0.0012");
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(185), "3 m 05 s");
        assert_eq!(duration(7_620), "2 h 07 m");
    }

    #[test]
    fn a_table_lines_up_and_cleans_its_cells() {
        let mut table = Table::new(&["role", "calls"]).right(&[1]);
        table.row(["learner".into(), "7".into()]);
        table.row(["x\u{1b}[0m".into(), "1,000".into()]);
        assert_eq!(
            table.render(false),
            "role        calls\nlearner         7\nx\\u{1b}[0m  1,000\n"
        );
    }
}
