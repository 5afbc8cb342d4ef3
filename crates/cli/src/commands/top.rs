//! `sipdo runs top`: what every role does at this moment, and where the runs stand.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::json;
use sipdo_protocol::pb;

use crate::{
    ask::{newest, roll_call},
    client::Api,
    commands::agents::trouble,
    failure::{Exit, Failure, Outcome},
    global::Global,
    json,
    output::{self, Table},
    words::{amount_words, is_over, level_words, pool_words, state_name},
};

/// How long a roll call waits for answers, in milliseconds.
const ROLL_CALL_MS: u32 = 250;
/// Runs that are looked at.
const RUNS: u32 = 50;

/// Flags of `sipdo runs top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Seconds between two updates
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    every: f64,
    /// Number of updates [default: until Ctrl-C; one if stdout is no terminal]
    #[arg(long, short = 'n', value_name = "N")]
    times: Option<u64>,
}

/// Shows it again and again.
///
/// # Errors
/// No coordinator runs.
pub async fn run(global: &Global, args: &TopArgs) -> Outcome {
    if !(args.every.is_finite() && args.every > 0.0) {
        return Err(Failure::usage("--every is a number of seconds above 0"));
    }
    let every = Duration::from_secs_f64(args.every.min(86_400.0));
    let terminal = output::animated() && !output::json();
    let times = args.times.or((!output::animated()).then_some(1));
    global
        .with_api(None, async |api| {
            let (mut before, mut drawn, mut updates) = (Snapshot::default(), 0, 0);
            loop {
                let snapshot = Snapshot::now(api).await?;
                if output::json() {
                    output::json_line(&snapshot.json()?)?;
                } else {
                    let text = snapshot.text(&before, output::stdout_columns().filter(|_| terminal));
                    // Up over what was drawn before, and clear from there.
                    let up = if drawn > 0 && terminal {
                        format!("\x1b[{drawn}A\x1b[0J")
                    } else {
                        String::new()
                    };
                    output::data(&format!("{up}{text}"))?;
                    drawn = text.lines().count();
                }
                updates += 1;
                if times.is_some_and(|times| updates >= times) {
                    return Ok(Exit::Ok);
                }
                before = snapshot;
                tokio::time::sleep(every).await;
            }
        })
        .await
}

/// What is seen at one moment.
#[derive(Default)]
struct Snapshot {
    at: Option<Instant>,
    agents: Vec<pb::AgentStatus>,
    runs: Vec<pb::Summary>,
}

#[derive(Default)]
struct Role {
    agents: u64,
    busy: u32,
    slots: u32,
    done: u64,
    models: Vec<String>,
    trouble: String,
}

impl Snapshot {
    async fn now(api: &mut Api) -> Result<Self, Failure> {
        let agents = roll_call(api, ROLL_CALL_MS).await?;
        let mut runs = newest(api, RUNS).await?;
        runs.retain(|run| !is_over(run.state()));
        Ok(Snapshot {
            at: Some(Instant::now()),
            agents,
            runs,
        })
    }

    /// Pools of a role are apart: they carry different models on purpose.
    fn roles(&self) -> BTreeMap<String, Role> {
        let mut roles: BTreeMap<String, Role> = BTreeMap::new();
        for card in &self.agents {
            let role = roles.entry(pool_words(&card.role, &card.pool)).or_default();
            role.agents += 1;
            role.busy += card.busy;
            role.slots += card.slots;
            role.done += card.done;
            let model = format!("{}/{}", card.endpoint, card.model);
            if model != "/" && !role.models.contains(&model) {
                role.models.push(model);
            }
            if role.trouble.is_empty() {
                role.trouble = trouble(card);
            }
        }
        roles
    }

    /// The tables, with lines no longer than the terminal that they are drawn on again and again.
    fn text(&self, before: &Snapshot, columns: Option<usize>) -> String {
        let cut = |table: Table| output::cut(&table.render(false), columns);
        let mut table =
            Table::new(&["role", "agents", "busy", "jobs/s", "done", "model", "trouble"]).right(&[1, 2, 3, 4]);
        let earlier = before.roles();
        for (name, role) in self.roles() {
            let busy = if role.slots == 0 {
                role.busy.to_string()
            } else {
                format!("{}/{}", role.busy, role.slots)
            };
            let speed = self.speed(before, role.done, earlier.get(&name).map(|role| role.done));
            table.row([
                name,
                role.agents.to_string(),
                busy,
                speed,
                output::count(role.done),
                role.models.join(", "),
                output::short(&role.trouble, 60),
            ]);
        }
        let mut text = headed(&cut(table));
        text.push('\n');
        if self.runs.is_empty() {
            text.push_str("no run is in progress\n");
            return text;
        }
        let mut table = Table::new(&["run", "task", "state", "level", "jobs", "spent", "waiting for"]).right(&[4]);
        for run in &self.runs {
            table.row([
                run.run.clone(),
                run.task.clone(),
                state_name(run.state()).into(),
                level_words(run),
                output::count(run.jobs_done),
                amount_words(&run.spent.unwrap_or_default(), run.unpriced_calls),
                output::short(&run.waiting, 60),
            ]);
        }
        text.push_str(&headed(&cut(table)));
        text
    }

    /// Jobs a second since the snapshot before, where there was one and nobody has left.
    fn speed(&self, before: &Snapshot, done: u64, earlier: Option<u64>) -> String {
        let (Some(now), Some(then), Some(earlier)) = (self.at, before.at, earlier) else {
            return "-".into();
        };
        let seconds = now.duration_since(then).as_secs_f64().max(0.001);
        match done.checked_sub(earlier) {
            Some(more) => format!("{:.1}", more as f64 / seconds),
            None => "-".into(),
        }
    }

    fn json(&self) -> Result<serde_json::Value, Failure> {
        let agents: Result<Vec<_>, _> = self
            .agents
            .iter()
            .map(|card| json::message("AgentStatus", card))
            .collect();
        let runs: Result<Vec<_>, _> = self.runs.iter().map(|run| json::message("Summary", run)).collect();
        Ok(json!({ "agents": agents?, "runs": runs? }))
    }
}

/// A table with its first line as a heading.
fn headed(table: &str) -> String {
    match table.split_once('\n') {
        Some((head, rows)) => format!("{}\n{rows}", output::Color::Bold.paint(head, output::stdout_color())),
        None => table.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(at: Instant, done: u64) -> Snapshot {
        let card = |agent: &str, busy| pb::AgentStatus {
            role: "learner".into(),
            agent: agent.into(),
            endpoint: "e".into(),
            model: "m".into(),
            busy,
            slots: 16,
            done,
            ..Default::default()
        };
        Snapshot {
            at: Some(at),
            agents: vec![card("a", 3), card("b", 4)],
            runs: Vec::new(),
        }
    }

    #[test]
    fn agents_of_a_role_are_one_line_with_their_speed() {
        let start = Instant::now();
        let (before, now) = (snapshot(start, 100), snapshot(start + Duration::from_secs(2), 110));
        let text = now.text(&before, None);
        let line = text.lines().find(|line| line.starts_with("learner")).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words, ["learner", "2", "7/32", "10.0", "220", "e/m"], "{text}");
        assert!(text.contains("no run is in progress"), "{text}");
        assert!(
            now.text(&Snapshot::default(), None).contains(" - "),
            "nothing to compare with"
        );
    }
}
