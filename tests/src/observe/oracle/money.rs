//! A run's money, folded anew from its stream: what was reserved, settled and charged, against the cap.

use super::{Fact, Findings, History};
use sipdo_protocol::pb::{self, State, log_event::Event};
use std::collections::{BTreeMap, BTreeSet};

/// Calls, tokens and billionths of a US dollar.
type Sum = [u64; 3];

/// The run's money, folded anew.
#[derive(Default)]
pub(super) struct Money {
    reserved: BTreeMap<(String, u32), Sum>,
    attempts: BTreeMap<String, u32>,
    done: BTreeSet<String>,
    spent: Sum,
    cap: [Option<u64>; 3],
}

impl Money {
    pub(super) fn check(mut self, history: &History, findings: &mut Findings) {
        for fact in &history.facts {
            match fact {
                Fact::Entry(entry) => entry
                    .events
                    .iter()
                    .filter_map(|event| event.event.as_ref())
                    .for_each(|event| self.event(event, findings)),
                Fact::Result(result) => self.result(result, findings),
                Fact::Lost(lost) => {
                    let worst = self.reserved.remove(&(lost.job.clone(), lost.attempt));
                    self.spend(worst.filter(|_| !lost.unpaid).unwrap_or_default());
                }
                Fact::Other => {}
            }
            findings.over_cap += usize::from(self.is_over());
        }
        if history.state() != State::Cancelled {
            findings.results_lost = self.attempts.keys().filter(|job| !self.done.contains(*job)).count();
        }
    }

    /// Whether spent and reserved together pass one of the caps.
    fn is_over(&self) -> bool {
        let reserved = self.reserved.values().fold(self.spent, plus);
        reserved
            .iter()
            .zip(self.cap)
            .any(|(sum, cap)| cap.is_some_and(|cap| *sum > cap))
    }

    fn spend(&mut self, cost: Sum) {
        self.spent = plus(self.spent, &cost);
    }

    fn event(&mut self, event: &Event, findings: &mut Findings) {
        match event {
            Event::Created(created) => self.cap = caps(created.budget),
            Event::Controlled(pb::Controlled { control: Some(control) })
                if control.kind() == pb::control::Kind::SetBudget =>
            {
                self.cap = caps(control.budget);
            }
            Event::Issued(issued) => {
                let before = self.attempts.insert(issued.job.clone(), issued.attempt).unwrap_or(0);
                if issued.attempt != before + 1 {
                    findings.broken.push(format!(
                        "attempt {} of {} was granted after {before}",
                        issued.attempt, issued.job
                    ));
                }
                findings.granted_again += usize::from(issued.attempt > 1);
                let worst = issued.reserved.unwrap_or_default();
                let worst = [worst.calls, worst.tokens, worst.nano_usd];
                self.reserved.insert((issued.job.clone(), issued.attempt), worst);
            }
            _ => {}
        }
    }

    fn result(&mut self, result: &pb::JobResult, findings: &mut Findings) {
        let Some(attempts) = self.attempts.get(&result.job).copied() else {
            // A result of nobody's asking counts for nothing.
            return;
        };
        if !self.done.insert(result.job.clone()) {
            findings.broken.push(format!("job {} has two results", result.job));
        }
        for attempt in 1..=attempts {
            let Some(worst) = self.reserved.remove(&(result.job.clone(), attempt)) else {
                continue;
            };
            if attempt != result.attempt {
                self.spend(worst);
                continue;
            }
            let usage = result.usage.unwrap_or_default();
            let tokens = usage.input_tokens + usage.output_tokens;
            let cost = [u64::from(usage.calls), tokens, usage.nano_usd.unwrap_or(0)];
            if cost.iter().zip(worst).any(|(cost, worst)| *cost > worst) {
                findings
                    .broken
                    .push(format!("job {} cost {cost:?} of {worst:?} reserved", result.job));
            }
            self.spend(cost);
        }
    }
}

fn plus(sum: Sum, more: &Sum) -> Sum {
    std::array::from_fn(|at| sum.get(at).zip(more.get(at)).map_or(0, |(one, other)| one + other))
}

fn caps(budget: Option<pb::Budget>) -> [Option<u64>; 3] {
    let budget = budget.unwrap_or_default();
    [budget.calls, budget.tokens, budget.nano_usd]
}
