//! The table of `sipdo runs list`: everything where the terminal is wide, else what tells runs apart, in 80 columns.

use sipdo_protocol::pb;

use crate::{
    output::{self, Table, short},
    words::{level_words, standing_name, summary_gain},
};

/// What fits into every terminal, and into a file.
const COLUMNS: usize = 80;
/// Characters of a name in the narrow table.
const TASK: usize = 12;
const STRATEGY: usize = 8;
const STATE: usize = 13;

/// The runs in the order given.
pub fn table(runs: &[pb::Summary]) -> String {
    let now = jiff::Timestamp::now().as_millisecond();
    let color = output::stdout_color();
    fitting(
        runs,
        output::stdout_columns().unwrap_or(COLUMNS),
        u64::try_from(now).unwrap_or(0),
        color,
    )
}

fn fitting(runs: &[pb::Summary], columns: usize, now_ms: u64, color: bool) -> String {
    let fits = |text: &str| text.lines().all(|line| line.chars().count() <= columns);
    match wide(runs) {
        table if fits(&table.render(false)) => table.render(color),
        _ => narrow(runs, now_ms).render(color),
    }
}

fn wide(runs: &[pb::Summary]) -> Table {
    let mut table = Table::new(&[
        "run", "task", "strategy", "state", "level", "prompt", "held-out", "calls", "created",
    ])
    .right(&[7]);
    for run in runs {
        table.row([
            run.run.clone(),
            run.task.clone(),
            run.strategy.clone(),
            standing_name(run).into(),
            level_words(run),
            format!("v{}", run.prompt_version),
            summary_gain(run),
            output::count(run.spent.unwrap_or_default().calls),
            output::when(run.created_ms),
        ]);
    }
    table
}

fn narrow(runs: &[pb::Summary], now_ms: u64) -> Table {
    let mut table = Table::new(&["run", "task", "strategy", "state", "held-out", "age"]).right(&[5]);
    for run in runs {
        table.row([
            run.run.clone(),
            short(&run.task, TASK),
            short(&run.strategy, STRATEGY),
            short(standing_name(run), STATE),
            summary_gain(run).replace(" %", "").replace(" → ", "→"),
            age(now_ms.saturating_sub(run.created_ms) / 1000),
        ]);
    }
    table
}

/// Seconds in the largest unit that is not zero.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> pb::Summary {
        let score = |right| {
            Some(pb::Score {
                right,
                wrong: 120 - right,
                not_measured: 0,
            })
        };
        pb::Summary {
            run: "r7de0ddec334ab4b1e6a7".into(),
            task: "a-task-with-a-long-name".into(),
            strategy: "a-long-strategy".into(),
            state: pb::State::BudgetExhausted.into(),
            level: 10,
            levels: 10,
            created_ms: 1_000,
            seed_score: score(22),
            final_score: score(120),
            ..Default::default()
        }
    }

    #[test]
    fn the_list_fits_80_columns_whatever_the_names_are() {
        let text = fitting(&[run()], 80, 7_261_000, false);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        for word in ["r7de0ddec334ab4b1e6a7", "a-task-with", "18.3→100.0", "2h"] {
            assert!(text.contains(word), "{word} in\n{text}");
        }
    }

    #[test]
    fn a_wide_terminal_shows_everything() {
        let text = fitting(&[run()], 200, 7_261_000, false);
        assert!(
            text.contains("a-task-with-a-long-name") && text.contains("calls"),
            "{text}"
        );
    }

    #[test]
    fn an_age_has_one_unit() {
        assert_eq!([0, 59, 60, 7_200, 90_000].map(age), ["0s", "59s", "1m", "2h", "1d"]);
    }
}
