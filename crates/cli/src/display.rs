//! Showing a run as it goes: a live live on a terminal, a line for each thing told elsewhere, JSON for programs.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use sipdo_protocol::pb::RunUpdate;

use crate::{
    failure::Failure,
    output::{self, Color},
    progress::RunView,
};

/// How a run is shown.
pub enum Display {
    /// One JSON object for each update.
    Json,
    /// Plain lines.
    Plain,
    /// A live of five lines below the view.
    Live(Box<LiveView>),
}

/// The live live: bar, judgments, votes, jobs, money.
pub struct LiveView {
    all: MultiProgress,
    level: ProgressBar,
    judged: ProgressBar,
    votes: ProgressBar,
    jobs: ProgressBar,
    money: ProgressBar,
}

impl Display {
    /// What suits this process's output.
    pub fn suited() -> Self {
        if output::json() {
            Display::Json
        } else if output::animated() {
            Display::Live(Box::new(LiveView::new()))
        } else {
            Display::Plain
        }
    }

    /// Shows an update that the view has just taken up.
    ///
    /// # Errors
    /// Stdout cannot be written (JSON only).
    pub fn show(&self, view: &RunView, update: &RunUpdate, lines: &[String]) -> Result<(), Failure> {
        match self {
            Display::Json => return output::json_line(&crate::json::message("RunUpdate", update)?),
            Display::Plain => lines.iter().for_each(|line| plain(line)),
            Display::Live(live) => live.show(view, lines),
        }
        Ok(())
    }

    /// Says something between updates without tearing the live.
    pub fn say(&self, text: &str) {
        match self {
            // A live whose terminal has gone has nobody to tell.
            Display::Live(live) => drop(live.all.println(output::for_stderr(text))),
            _ => output::note(text),
        }
    }

    /// Takes the live away: what comes next is the report.
    pub fn close(&self) {
        if let Display::Live(live) = self {
            drop(live.all.clear());
        }
    }
}

/// A line of the log. What a run waits for, somebody must mend: that is said to the quiet too.
fn plain(line: &str) {
    if line.starts_with("waiting: ") {
        output::stderr_line(&output::for_stderr(line));
    } else {
        output::note(line);
    }
}

impl LiveView {
    fn new() -> Self {
        let all = MultiProgress::new();
        // The templates are constants: a mistake in them would show as a plain line, never as a failure.
        let plain =
            || ProgressStyle::with_template("  {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = ProgressStyle::with_template("{spinner} [{bar:20}] {wide_msg} {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        let line = || all.add(ProgressBar::new_spinner().with_style(plain()));
        let level = all.add(ProgressBar::new(1).with_style(bar));
        level.enable_steady_tick(Duration::from_millis(200));
        let (judged, votes, jobs, money) = (line(), line(), line(), line());
        LiveView {
            level,
            judged,
            votes,
            jobs,
            money,
            all,
        }
    }

    fn show(&self, view: &RunView, lines: &[String]) {
        let color = output::stderr_color();
        for line in lines {
            drop(self.all.println(tint(&output::for_stderr(line), color)));
        }
        let (done, all) = view.steps();
        self.level.set_length(all);
        self.level.set_position(done);
        self.level.set_message(view.state_line());
        self.judged.set_message(view.examples_line());
        self.votes.set_message(view.votes.clone());
        self.jobs.set_message(view.jobs_line());
        self.money.set_message(view.budget_line());
    }
}

fn tint(line: &str, color: bool) -> String {
    let line_color = if line.contains("warning:") || line.starts_with("waiting:") {
        Color::Yellow
    } else if line.contains(" rejected") || line.contains(": wrong") || line.contains("quarantined") {
        Color::Dim
    } else if line.contains(" accepted, fixes") {
        Color::Green
    } else {
        return line.to_owned();
    };
    line_color.paint(line, color)
}
