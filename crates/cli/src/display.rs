//! Showing a run as it goes: a live picture on a terminal, a line for each thing told elsewhere, JSON for programs.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use sipdo_protocol::pb::RunUpdate;

use crate::{
    failure::Failure,
    output::{self, Ink},
    progress::Story,
};

/// How a run is shown.
pub enum Display {
    /// One JSON object for each update.
    Json,
    /// Plain lines.
    Plain,
    /// A picture of five lines below the story.
    Live(Box<Picture>),
}

/// The live picture: bar, judgments, votes, jobs, money.
pub struct Picture {
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
            Display::Live(Box::new(Picture::new()))
        } else {
            Display::Plain
        }
    }

    /// Shows an update that the story has just taken up.
    ///
    /// # Errors
    /// Stdout cannot be written (JSON only).
    pub fn show(&self, story: &Story, update: &RunUpdate, lines: &[String]) -> Result<(), Failure> {
        match self {
            Display::Json => return output::json_line(&crate::json::message("RunUpdate", update)?),
            Display::Plain => lines.iter().for_each(|line| plain(line)),
            Display::Live(picture) => picture.show(story, lines),
        }
        Ok(())
    }

    /// Says something between updates without tearing the picture.
    pub fn say(&self, text: &str) {
        match self {
            // A picture whose terminal has gone has nobody to tell.
            Display::Live(picture) => drop(picture.all.println(output::for_stderr(text))),
            _ => output::note(text),
        }
    }

    /// Takes the picture away: what comes next is the report.
    pub fn close(&self) {
        if let Display::Live(picture) = self {
            drop(picture.all.clear());
        }
    }
}

/// A line of the story. What a run waits for, somebody must mend: that is said to the quiet too.
fn plain(line: &str) {
    if line.starts_with("waiting: ") {
        output::stderr_line(&output::for_stderr(line));
    } else {
        output::note(line);
    }
}

impl Picture {
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
        Picture {
            level,
            judged,
            votes,
            jobs,
            money,
            all,
        }
    }

    fn show(&self, story: &Story, lines: &[String]) {
        let color = output::stderr_color();
        for line in lines {
            drop(self.all.println(tint(&output::for_stderr(line), color)));
        }
        self.level.set_length(u64::from(story.summary.levels.max(1)));
        self.level.set_position(u64::from(story.summary.level));
        self.level.set_message(story.standing());
        self.judged.set_message(story.judged());
        self.votes.set_message(story.votes.clone());
        self.jobs.set_message(story.flight());
        self.money.set_message(story.money());
    }
}

fn tint(line: &str, color: bool) -> String {
    let ink = if line.contains("warning:") || line.starts_with("waiting:") {
        Ink::Yellow
    } else if line.contains(" rejected") || line.contains(": wrong") || line.contains("quarantined") {
        Ink::Dim
    } else if line.contains(" accepted, fixes") {
        Ink::Green
    } else {
        return line.to_owned();
    };
    ink.paint(line, color)
}
