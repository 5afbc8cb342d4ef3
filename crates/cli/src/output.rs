//! Writing to people and to programs: data on stdout, messages on stderr, and tables.

use std::{
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
    sync::OnceLock,
};

use rustix::termios::tcgetwinsize;

use crate::failure::{Exit, Failure};

pub use crate::text::{clean, clean_line, count, dollars, duration, percent, plural, short, when};

/// How this process writes, decided once from flags and environment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// Machine-readable output.
    pub json: bool,
    /// Only data and errors.
    pub quiet: bool,
    /// Print without colour, whatever the terminal can do.
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
pub enum Color {
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

impl Color {
    fn code(self) -> &'static str {
        match self {
            Color::Bold => "1",
            Color::Dim => "2",
            Color::Green => "32",
            Color::Red => "31",
            Color::Yellow => "33",
        }
    }

    /// `text` in this colour, or plain where `on` is false.
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
    headed("warning:", Color::Yellow, text);
}

/// Tells why the command failed on stderr.
pub fn failure(failure: &Failure) {
    headed("error:", Color::Red, &failure.message);
    if !failure.hint.is_empty() {
        stderr_line(&for_stderr(&failure.hint));
    }
}

fn headed(head: &str, head_color: Color, text: &str) {
    let text = for_stderr(&format!("{head} {text}"));
    let text = text.strip_prefix(head).unwrap_or(&text);
    stderr_line(&format!("{}{text}", head_color.paint(head, stderr_color())));
}

/// Writes a line to stderr. Nobody can be told where that cannot be written.
pub fn stderr_line(line: &str) {
    drop(writeln!(io::stderr(), "{line}"));
}

/// Text with long lines broken at the width of the terminal behind stderr, where there is one.
pub fn for_stderr(text: &str) -> String {
    broken(text, columns(&io::stderr()))
}

/// Columns of the terminal behind stdout, where there is one.
pub fn stdout_columns() -> Option<usize> {
    columns(&io::stdout())
}

/// Lines cut off at the width of a terminal: for what is drawn over again, where a broken line would take two rows.
pub fn cut(text: &str, columns: Option<usize>) -> String {
    let Some(columns) = columns else {
        return text.to_owned();
    };
    let cut = |line: &str| match line.chars().count() > columns {
        true => line.chars().take(columns.saturating_sub(1)).chain(['…']).collect(),
        false => line.to_owned(),
    };
    text.split('\n').map(cut).collect::<Vec<String>>().join("\n")
}

/// Characters that are seen of a line: what colours it is not.
fn seen(line: &str) -> usize {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().map_or(0, |text| text.chars().count());
    let after = |part: &str| part.split_once('m').map_or(0, |(_, text)| text.chars().count());
    first + parts.map(after).sum::<usize>()
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
        while seen(&rest) > columns {
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

    /// Columns that it takes on a terminal.
    pub fn width(&self) -> usize {
        let widths = self.widths();
        widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1)
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        (0..columns).map(width).collect()
    }

    /// The table as text, a line feed after every row.
    pub fn render(&self, color: bool) -> String {
        let widths = self.widths();
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
                Color::Bold.paint(line, color)
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
    fn what_colours_a_line_takes_no_room() {
        let heading = Color::Bold.paint("one two three four", true);
        assert_eq!(broken(&heading, Some(18)), heading);
        assert!(broken(&heading, Some(17)).contains('\n'));
    }

    #[test]
    fn what_is_drawn_over_again_is_cut_and_not_broken() {
        assert_eq!(cut("a line of text\nshort", Some(8)), "a line …\nshort");
        assert_eq!(cut("a line of text", None), "a line of text");
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
