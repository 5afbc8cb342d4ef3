//! What chaos came to: counted by kind, judged by ledger and streams.

use super::{
    Told,
    fault_log::{FaultLog, LeaderHurt},
    kind::{GIVEN_UP, Kind},
};
use crate::observe::oracle::{History, bought_again};
use sipdo_protocol::pb::State;
use std::collections::BTreeMap;

/// What is counted over all rounds.
#[derive(Debug, Default, Clone)]
pub struct Report {
    /// Faults by kind.
    pub by_kind: BTreeMap<String, usize>,
    /// Runs that ended.
    pub runs: usize,
    /// Runs whose every job was measured, and which were held against their undisturbed run.
    pub compared: usize,
    /// Issued jobs without a result, and runs that did not finish.
    pub results_lost: usize,
    /// Answers in safe hands that were bought again.
    pub finished_rebought: usize,
    /// Calls that were bought again while no answer of an earlier one was saved.
    pub unfinished_rebought: usize,
    /// Attempts that were granted beyond the first of a job.
    pub granted_again: usize,
    /// Moments above a cap, money that no run accounts for, and attempts that nobody granted.
    pub over_cap: usize,
    /// Compared runs with another prompt, score or story.
    pub diverged: usize,
    /// Milliseconds from the death of a leader to the claim of the next.
    pub killed_ms: Vec<u64>,
    /// The same for a frozen leader.
    pub frozen_ms: Vec<u64>,
    /// The same where no decision could be stored meanwhile, from the return of the server or of room: then everybody is first given the
    /// time to come back.
    pub returned_ms: Vec<u64>,
    /// Broken rules, in words.
    pub broken: Vec<String>,
}

impl Report {
    /// Faults of all kinds.
    pub fn faults(&self) -> usize {
        self.by_kind.values().sum()
    }

    /// Whether nothing was lost, bought twice, overspent or otherwise than without faults.
    pub fn is_clean(&self) -> bool {
        self.results_lost + self.finished_rebought + self.over_cap + self.diverged == 0 && self.broken.is_empty()
    }

    /// The median takeover of a killed leader while the server is there, and the slowest of any, in milliseconds.
    pub fn takeovers(&self) -> (Option<u64>, Option<u64>) {
        let mut killed = self.killed_ms.clone();
        killed.sort_unstable();
        (
            killed.get(killed.len() / 2).copied(),
            killed
                .iter()
                .chain(&self.frozen_ms)
                .chain(&self.returned_ms)
                .max()
                .copied(),
        )
    }

    /// Whether leaders were replaced as soon as they are meant to be: a killed one within a second at the median, a frozen one within
    /// four, and each within five.
    pub fn takes_over_in_time(&self) -> bool {
        let median = |times: &[u64]| {
            let mut times = times.to_vec();
            times.sort_unstable();
            times.get(times.len() / 2).copied().unwrap_or(0)
        };
        let (_, slowest) = self.takeovers();
        median(&self.killed_ms) < 1_000 && median(&self.frozen_ms) < 4_000 && slowest.unwrap_or(0) <= 5_000
    }

    /// Where it stands, in a line.
    pub fn line(&self) -> String {
        format!(
            "{} faults, {} runs ({} compared), lost {}, bought again {} finished and {} unfinished, over cap {}, diverged {}",
            self.faults(),
            self.runs,
            self.compared,
            self.results_lost,
            self.finished_rebought,
            self.unfinished_rebought,
            self.over_cap,
            self.diverged
        )
    }

    pub(super) fn judge(&mut self, alone: &Told, told: &Told, log: &FaultLog, spoils: bool) {
        for (kind, count) in &log.faults {
            *self.by_kind.entry(kind.clone()).or_default() += count;
        }
        self.broken.extend(log.broken.iter().cloned());
        self.judge_letters(told, log);
        let mut all_compared = true;
        for (quiet, history) in alone.histories.iter().zip(&told.histories) {
            self.judge_run(history, log);
            let measured = quiet.not_measured() + history.not_measured() == 0;
            all_compared &= measured && !spoils;
            if measured && !spoils {
                self.compared += 1;
                self.compare(quiet, history);
            }
        }
        let again = bought_again(&told.ledger, &log.hurts);
        self.finished_rebought += again.finished.len();
        self.unfinished_rebought += again.unfinished;
        self.broken.extend(
            again
                .finished
                .iter()
                .map(|calls| format!("a finished call was bought again: {calls}")),
        );
        self.judge_quiet(alone);
        self.judge_money(told);
        if all_compared && alone.asked() != told.asked() {
            self.diverged += 1;
            let (other, missing) = (
                told.asked().difference(&alone.asked()).count(),
                alone.asked().difference(&told.asked()).count(),
            );
            self.broken.push(format!(
                "asked {other} other things than without faults, and {missing} not"
            ));
        }
    }

    /// Without faults nothing is bought twice, and the runs account for what was bought, no more and no less.
    fn judge_quiet(&mut self, alone: &Told) {
        let again = bought_again(&alone.ledger, &[]);
        if again.unfinished > 0 || !again.finished.is_empty() {
            self.finished_rebought += again.finished.len();
            self.broken.push(format!("bought again without faults: {again:?}"));
        }
        if alone.spent().calls != alone.bought().calls || alone.spent().tokens != alone.bought().tokens {
            self.broken.push(format!(
                "{:?} was bought without faults, and {:?} is accounted for",
                alone.bought(),
                alone.spent()
            ));
        }
        self.judge_money(alone);
        self.judge_letters(alone, &FaultLog::default());
    }

    /// Nothing was bought that no run accounts for, or that nobody had a right to; and nothing is left in the queues.
    fn judge_money(&mut self, told: &Told) {
        let (spent, bought) = (told.spent(), told.bought());
        if bought.calls > spent.calls || bought.tokens > spent.tokens {
            self.over_cap += 1;
            self.broken
                .push(format!("{bought:?} was bought, and {spent:?} is accounted for"));
        }
        let left = &told.left;
        self.over_cap += left.ungranted.len();
        self.broken.extend(left.ungranted.iter().cloned());
        if left.jobs > 0 {
            self.broken.push(format!("{} jobs are left in the queues", left.jobs));
        }
    }

    /// Poison becomes a dead letter, and nothing else does. A job is given up that kills its agents again and again.
    fn judge_letters(&mut self, told: &Told, log: &FaultLog) {
        let mut poison = log.poison.clone();
        for reason in &told.left.dead {
            let meant = poison
                .iter_mut()
                .find(|(words, left)| **left > 0 && reason.contains(**words));
            match meant {
                Some((_, left)) => *left -= 1,
                None => self.broken.push(format!("a dead letter: {reason}")),
            }
        }
        let killers = log.faults.get(&Kind::Killer(GIVEN_UP).name()).copied().unwrap_or(0);
        let given_up: usize = told.histories.iter().map(History::given_up).sum();
        if given_up < killers {
            self.broken.push(format!(
                "{killers} jobs killed {GIVEN_UP} agents each, and {given_up} were given up"
            ));
        }
    }

    fn judge_run(&mut self, history: &History, log: &FaultLog) {
        let run = &history.run;
        let findings = history.check();
        self.results_lost += findings.results_lost;
        self.granted_again += findings.granted_again;
        self.over_cap += findings.over_cap;
        self.broken
            .extend(findings.broken.into_iter().map(|broken| format!("run {run}: {broken}")));
        if history.state() == State::Finished {
            self.runs += 1;
        } else {
            self.results_lost += 1;
            self.broken.push(format!(
                "run {run} is {} ({})",
                history.state().as_str_name(),
                history.summary().waiting
            ));
        }
        for (claimed_ms, before, _) in history.takeovers() {
            let hurt = log
                .leaders
                .iter()
                .rfind(|hurt| hurt.id == before && hurt.at_ms <= claimed_ms);
            let Some(hurt) = hurt else { continue };
            let back_ms = returned(hurt, claimed_ms, log);
            // While nothing could be stored, a takeover says nothing of the time that one takes.
            if back_ms.is_some_and(|back| back > claimed_ms) {
                continue;
            }
            let took = claimed_ms.saturating_sub(back_ms.unwrap_or(hurt.at_ms));
            match hurt.frozen_until_ms {
                // It came round again, and lost the run for another reason.
                Some(until) if claimed_ms > until => {}
                _ if back_ms.is_some() => self.returned_ms.push(took),
                None => self.killed_ms.push(took),
                Some(_) => self.frozen_ms.push(took),
            }
        }
    }

    fn compare(&mut self, quiet: &History, history: &History) {
        let (run, before) = (&history.run, self.broken.len());
        if quiet.best_prompt() != history.best_prompt() {
            self.broken.push(format!("run {run} came to another prompt"));
        }
        let scores = |history: &History| history.outcome().map(|outcome| outcome.arms.clone());
        if scores(quiet) != scores(history) {
            self.broken.push(format!("run {run} came to other scores"));
        }
        let (told, tells) = (quiet.run_events(), history.run_events());
        if told != tells {
            let at = told.iter().zip(&tells).take_while(|(one, other)| one == other).count();
            self.broken.push(format!(
                "run {run} tells another story from {at} of {}:\n  {:?}\n  {:?}",
                told.len(),
                told.get(at),
                tells.get(at)
            ));
        }
        self.diverged += usize::from(self.broken.len() > before);
    }
}

/// When decisions could be stored again that could not be between the hurt and the claim, if so.
fn returned(hurt: &LeaderHurt, claimed_ms: u64, log: &FaultLog) -> Option<u64> {
    let away = log.outages.iter();
    let away = away.filter(|(from, until)| *from <= claimed_ms && *until >= hurt.at_ms);
    away.map(|(_, until)| (*until).max(hurt.at_ms)).max()
}
