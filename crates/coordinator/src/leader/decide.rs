//! Deciding: what is to be appended now, the append, and what follows from it. Never the other way round.

use super::{Halt, Leader, LeaderExit};
use crate::{
    leadership::Draft,
    roster::{Roster, nobody, price_unknown},
    scheduler::plan::{MAX_ATTEMPTS, Plan, event},
    storage::SILENT,
};
use prost::Message as _;
use sipdo_bus::{AppendError, BusError, NewMessage, now_ms};
use sipdo_domain::{Amount, NotMeasured, Pool, Reason, Role};
use sipdo_protocol::{
    models::{Choices, resolve_all},
    pb,
    pb::log_event::Event,
    schema,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// How long a role may have no agent before the run says that it waits for one. At the start of a stack every agent needs some time.
const PATIENCE: Duration = Duration::from_secs(2);
/// The share of a cap on time that is kept for the conclusion, in thousandths. Calls and tokens are kept for it in the same way.
const FOR_CONCLUSION: u64 = 200;
/// How long the leader waits before it tries again to store an entry for which there was no room.
const NO_ROOM: Duration = Duration::from_secs(1);
/// The reason for giving up a job whose model was out when its run ended.
const STUCK: &str = "no agent could do it before the run ended; charged at its worst case";
/// The attempt number of a result that comes from no attempt: each attempt may be paid for and is charged at its worst case.
const NO_ATTEMPT: u32 = 0;
/// A run with so many jobs done makes room for others.
const LONG: u64 = 200;

impl Leader<'_> {
    /// Appends what is to be decided now, and then does what follows from it. Never the other way round.
    pub(super) async fn decide(&mut self) -> Result<(), Halt> {
        let roster = self.context.roster();
        if let Some((price, hold)) = roster.price(&Role::Learner.into()).zip(self.hold) {
            let nano_usd = hold.tokens.saturating_mul(price) / 1_000_000;
            self.state.ledger.hold(Amount { nano_usd, ..hold });
            self.hold = None;
        }
        self.set_windows(&roster);
        let no_room = self.context.storage.no_room();
        self.scheduler.pause_issuing(no_room.is_some());
        let choices = in_force(&self.models, &self.registry.borrow(), self.run.as_str());
        let mut plan = self.scheduler.plan(&mut self.state, &roster, &choices);
        self.read_cached_answers();
        self.plan_time(&mut plan);
        self.plan_waiting(&roster, &choices, no_room, &mut plan);
        if !plan.events.is_empty() {
            for events in self.fitting_entries(std::mem::take(&mut plan.events)) {
                self.observer.deciding(&events, &self.state);
                self.append(events).await?;
            }
            self.scheduler.refuse_waiting(&self.state);
        }
        self.observer.report_budget(&self.state);
        for recorded in self.recorded.drain(..) {
            drop(recorded.send(Ok(())));
        }
        for job in plan.publish {
            self.publish(job).await?;
        }
        for (job, role, attempt) in plan.give_up {
            let died = self.state.open.get(&job).map_or(0, |open| open.died);
            let why = NotMeasured::new(Reason::AttemptLost, given_up(died));
            self.give_up(&job, role, attempt, why).await?;
        }
        for (job, role) in plan.stuck {
            let why = NotMeasured::new(Reason::Unavailable, STUCK);
            self.give_up(&job, role, NO_ATTEMPT, why).await?;
            self.left_open.insert(job);
        }
        Ok(())
    }

    /// How many jobs of each pool are kept in flight: what its agents can do and half as much again, so that none waits for work.
    /// While other runs ask too, a long run keeps back, so that a short one behind it is soon through.
    fn set_windows(&mut self, roster: &Roster) {
        self.asking.set(!self.state.paused && self.scheduler.has_in_flight());
        let others = self.asking.others() + roster.led_by_others(self.context.id.as_str());
        let gives_way = others > 0 && self.state.summary.jobs_done > LONG;
        let window = |slots: usize| match (slots, gives_way) {
            (0, _) => self.context.window,
            (slots, true) => slots / 2 + slots / 8 + 1,
            (slots, false) => slots + slots / 2 + 4,
        };
        let windows = roster.pools().map(|pool| (pool.clone(), window(roster.slots(pool))));
        self.scheduler.set_windows(windows.collect());
    }

    /// The cap on time, of which a part is kept for the conclusion.
    fn plan_time(&self, plan: &mut Plan) {
        let phase = usize::from(self.state.concluding());
        let met = self.state.exhausted.get(phase).is_some_and(Option::is_some);
        let Some(seconds) = self.state.ledger.cap().seconds.filter(|_| !met) else {
            return;
        };
        let per_second = if self.state.concluding() {
            1000
        } else {
            1000 - FOR_CONCLUSION
        };
        if now_ms().saturating_sub(self.state.summary.created_ms) > seconds.saturating_mul(per_second) {
            plan.events
                .push(event(Event::Exhausted(pb::Exhausted { cap: "time".into() })));
        }
    }

    /// What the run waits for: room, an operator, an agent, a provider, a price. A run that is to come to its end, stopped or out of
    /// time, waits for none of those: what nobody can do now is given up, in the decision that says so.
    fn plan_waiting(&mut self, roster: &Roster, choices: &Choices, no_room: Option<String>, plan: &mut Plan) {
        let has_room = no_room.is_none();
        let mut reasons: Vec<String> = no_room.into_iter().collect();
        let mut stuck = BTreeSet::new();
        if self.state.paused {
            reasons.push("paused".to_owned());
        }
        for pool in self.scheduler.at_work() {
            let choice = choices.get(&pool.to_string());
            if let Some(trouble) = self.trouble(&pool, roster, choice) {
                reasons.push(trouble);
                stuck.insert(pool.clone());
            }
            if self.state.ledger.cap().nano_usd.is_some() && !roster.of(&pool).is_empty() {
                let unpriced = roster.unpriced(&pool, choice);
                reasons.extend(unpriced.iter().map(|model| price_unknown(model)));
            }
        }
        if has_room && self.scheduler.refuses(&self.state) {
            plan.stuck = self.scheduler.in_flight_of(&stuck, &self.state);
            plan.stuck.retain(|(job, _)| !self.left_open.contains(job));
        }
        if !plan.stuck.is_empty() {
            reasons.push("jobs that wait for it are given up because the run is ending".to_owned());
        }
        let reason = reasons.join("; ");
        if reason != self.state.summary.waiting {
            plan.events.push(event(Event::Waiting(pb::Waiting { reason })));
        }
    }

    /// Why nobody of a pool can work now: there is no agent, or the model of each is out.
    fn trouble(&mut self, pool: &Pool, roster: &Roster, choice: Option<&pb::ModelChoice>) -> Option<String> {
        if roster.of(pool).is_empty() {
            let since = *self.missing.entry(pool.clone()).or_insert_with(Instant::now);
            self.context.look_for_agents();
            return (since.elapsed() > PATIENCE).then(|| nobody(pool));
        }
        self.missing.remove(pool);
        let trouble = roster.trouble(pool, choice);
        if trouble.is_some() {
            self.context.look_for_agents();
        }
        trouble
    }

    /// Decisions in as many entries as their size asks for; one, nearly always.
    fn fitting_entries(&self, events: Vec<pb::LogEvent>) -> Vec<Vec<pb::LogEvent>> {
        let limit = self.context.bus.max_message() / 2;
        let (mut entries, mut size) = (Vec::new(), 0);
        let mut entry = Vec::new();
        for event in events {
            let more = event.encoded_len();
            if !entry.is_empty() && size + more > limit {
                entries.push(std::mem::take(&mut entry));
                size = 0;
            }
            size += more;
            entry.push(event);
        }
        entries.push(entry);
        entries
    }

    pub(super) async fn append(&mut self, events: Vec<pb::LogEvent>) -> Result<(), Halt> {
        let trace = self.observer.trace();
        if !trace.is_none() {
            self.state.trace = trace.clone();
        }
        let Draft { entry, id, expected } = self.leadership.draft(&mut self.state, events, now_ms());
        let message = NewMessage::encode(&entry, schema::ENTRY).traced(&trace);
        match self.append_when_there_is_room(&message, &id, expected).await {
            Ok(sequence) => {
                self.leadership.stored(&mut self.state, sequence);
                self.observer.decided(&entry.events);
                Ok(())
            }
            Err(AppendError::Fenced { last, .. }) => {
                tracing::warn!(run = %self.run, epoch = self.leadership.epoch(), expected, last, "another coordinator leads this run now");
                Err(Halt::LeaderExit(LeaderExit::Fenced))
            }
            Err(AppendError::Bus(error @ BusError::TooLarge { .. })) => Err(Halt::TooLarge(error.to_string())),
            Err(error) => Err(Halt::Failed(error.into())),
        }
    }

    /// Appends, and where there is no room waits until there is: the same entry, by its id. Meanwhile the run is ours, and nothing
    /// is issued.
    async fn append_when_there_is_room(
        &mut self,
        message: &NewMessage,
        id: &str,
        expected: u64,
    ) -> Result<u64, AppendError> {
        let storage = &self.context.storage;
        loop {
            let appended = self.journal.append(message.clone(), id, expected).await;
            match &appended {
                Err(AppendError::Bus(error @ BusError::Full { .. })) => {
                    storage.refused(&self.run, error.to_string());
                    tokio::time::sleep(NO_ROOM).await;
                    continue;
                }
                // A server whose disk is full says nothing at all, though it is there and can be read.
                Err(AppendError::Bus(error @ BusError::Unsettled { .. })) if self.context.bus.is_connected() => {
                    storage.refused(&self.run, format!("{error}; {SILENT}"));
                }
                _ => storage.taken(&self.run),
            }
            return appended;
        }
    }
}

/// The run's own choices with the registry's over them: what is reserved must suffice for what the agents will use, also where a
/// dearer model or a longer completion was set in mid-run.
fn in_force(own: &Choices, registry: &BTreeMap<String, sipdo_bus::Entry>, run: &str) -> Choices {
    let read = |entry: &sipdo_bus::Entry| pb::ModelChoice::decode(entry.value.clone()).ok();
    let entries = registry
        .iter()
        .filter_map(|(key, entry)| Some((key.clone(), read(entry)?)));
    resolve_all(own, &entries.collect(), Some(run))
}

/// Why a job is given up that was lost so often with its agent.
fn given_up(died: u32) -> String {
    if died < MAX_ATTEMPTS {
        return format!("lost {died} times with its agent, and the budget has no room for another attempt");
    }
    format!("given up: {died} attempts ended with the death of their agent, all but the first alone in theirs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_set_for_the_run_goes_before_one_for_all() {
        let most = |max_tokens| pb::ModelChoice {
            max_tokens: Some(max_tokens),
            ..Default::default()
        };
        let entry = |max_tokens| sipdo_bus::Entry {
            value: most(max_tokens).encode_to_vec().into(),
            revision: 1,
            time: std::time::SystemTime::UNIX_EPOCH,
        };
        let own = BTreeMap::from([("verifier".to_owned(), most(1)), ("learner".to_owned(), most(2))]);
        let registry = [
            ("verifier", 10),
            ("r1.verifier", 20),
            ("r2.verifier", 30),
            ("checker_a", 40),
        ];
        let registry = registry.map(|(key, most)| (key.to_owned(), entry(most))).into();
        let choices = in_force(&own, &registry, "r1");
        let choices: Vec<_> = choices
            .iter()
            .map(|(pool, choice)| (pool.as_str(), choice.max_tokens.unwrap_or(0)))
            .collect();
        assert_eq!(choices, [("checker_a", 40), ("learner", 2), ("verifier", 20)]);
    }
}
