//! What an agent does in an outage of its provider: it does not burn through the queue.
//!
//! After a few failures in a row that cost nothing and would await every next job (no connection, server errors, a rate that is used up), or at the first one
//! that only an operator can mend (key refused, out of credit), the agent takes no new jobs for that model, says so in its status, and
//! keeps the jobs that it has a right to buy: one at a time tries again, after pauses that grow, and the first success lets all go on.
//! An outage of hours therefore pauses runs, and fails none.

use sipdo_llm::ModelError;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// When nobody has tried for so long after it was time, nobody waits for the end of an outage.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// When to stop, and how long to wait.
#[derive(Debug, Clone)]
pub struct Patience {
    /// Failures in a row that make an outage.
    pub failures: u32,
    /// The first pause before one job tries again; each next one is twice as long.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// How long a job in flight waits for the end of an outage before it is not measured.
    pub hold: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            failures: 3,
            first_pause: Duration::from_secs(2),
            longest_pause: Duration::from_secs(60),
            hold: Duration::from_secs(24 * 3600),
        }
    }
}

/// The state of one model at one endpoint.
#[derive(Debug)]
pub(crate) struct Circuit {
    patience: Patience,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    outage: Option<Outage>,
}

#[derive(Debug)]
struct Outage {
    detail: String,
    pause: Duration,
    next_try: Instant,
    trying: bool,
}

/// A job's turn to call. Tell it how the call ended; if it is dropped before, it counts as no call.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    circuit: &'a Circuit,
    /// Whether it is the one that tries for all.
    trial: bool,
}

impl Circuit {
    pub fn new(patience: Patience) -> Self {
        Self {
            patience,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// What is wrong, if there is an outage.
    pub fn trouble(&self) -> Option<String> {
        self.lock().outage.as_ref().map(|outage| outage.detail.clone())
    }

    /// Whether there is an outage whose end somebody waits for: a job tries, or has tried when it was time.
    pub fn is_waited_for(&self) -> bool {
        let state = self.lock();
        let waited = |outage: &Outage| outage.trying || outage.next_try + FORGOTTEN > Instant::now();
        state.outage.as_ref().is_some_and(waited)
    }

    /// Whether a job that nobody has a right to yet should be left to others for now.
    pub fn leave_to_others(&self) -> bool {
        self.lock()
            .outage
            .as_ref()
            .is_some_and(|outage| outage.trying || outage.next_try > Instant::now())
    }

    /// Waits until this job may call: at once without an outage, else when it is its turn to try, or the outage is over.
    /// None where `deadline` comes first.
    pub async fn turn(&self, deadline: Instant) -> Option<Turn<'_>> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let wake = {
                let mut state = self.lock();
                let Some(outage) = state.outage.as_mut() else {
                    return Some(Turn {
                        circuit: self,
                        trial: false,
                    });
                };
                if !outage.trying && outage.next_try <= Instant::now() {
                    outage.trying = true;
                    return Some(Turn {
                        circuit: self,
                        trial: true,
                    });
                }
                if outage.trying {
                    deadline
                } else {
                    outage.next_try.min(deadline)
                }
            };
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(wake) => {
                    if Instant::now() >= deadline {
                        return None;
                    }
                }
            }
        }
    }

    /// The pause of a job that failed alone, while others may succeed.
    pub fn pause(&self) -> Duration {
        self.patience.first_pause
    }

    /// When a job that starts to wait now gives up.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.patience.hold
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Whether it tries for all others in an outage. Then one request is enough: the pauses of the circuit stand for those of a call.
    pub fn tries_for_all(&self) -> bool {
        self.trial
    }

    /// The provider answered, whatever it said.
    pub fn answered(self) {
        let mut state = self.circuit.lock();
        state.failures = 0;
        // A call from before the outage that is answered late says nothing about now, unless it is the trial.
        let over = self.trial && state.outage.take().is_some();
        drop(state);
        if over {
            tracing::info!("the provider answers again");
        }
    }

    /// The provider did not answer. True if that makes (or goes on) an outage, in which the job should wait: always where only an `operator`
    /// can mend it, else after some failures in a row.
    pub fn failed(self, detail: &str, operator: bool) -> bool {
        let patience = &self.circuit.patience;
        let mut state = self.circuit.lock();
        state.failures = state.failures.saturating_add(1);
        let failures = state.failures;
        match state.outage.as_mut() {
            Some(outage) if self.trial => {
                outage.pause = (outage.pause * 2).min(patience.longest_pause);
                outage.next_try = Instant::now() + outage.pause;
                detail.clone_into(&mut outage.detail);
                true
            }
            Some(_) => true,
            None if operator || failures >= patience.failures => {
                tracing::warn!(
                    failures,
                    detail,
                    "the provider does not answer; the agent takes no new jobs until it does"
                );
                let pause = patience.first_pause;
                state.outage = Some(Outage {
                    detail: detail.to_owned(),
                    pause,
                    next_try: Instant::now() + pause,
                    trying: false,
                });
                true
            }
            None => false,
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.trial
            && let Some(outage) = self.circuit.lock().outage.as_mut()
        {
            outage.trying = false;
        }
        if self.trial {
            self.circuit.changed.notify_waiters();
        }
    }
}

/// Whether `error` would await every other job too, and has cost nothing. A rate that is used up passes as an outage does.
pub(crate) fn is_outage(error: &ModelError) -> bool {
    matches!(error, ModelError::Unavailable { .. } | ModelError::RateLimited { .. }) || error.needs_operator()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circuit() -> Circuit {
        Circuit::new(Patience {
            failures: 2,
            ..Patience::default()
        })
    }

    async fn turn(circuit: &Circuit) -> Turn<'_> {
        circuit.turn(Instant::now() + Duration::from_secs(1000)).await.unwrap()
    }

    #[test]
    fn what_passes_is_waited_for_and_what_is_the_requests_own_fault_is_not() {
        let detail = || "said".to_owned();
        let rate = ModelError::RateLimited {
            retry_after: None,
            detail: detail(),
        };
        assert!(
            is_outage(&rate) && !rate.needs_operator(),
            "a quota of a minute comes back by itself"
        );
        assert!(is_outage(&ModelError::OutOfCredit { detail: detail() }));
        assert!(!is_outage(&ModelError::BadRequest { detail: detail() }));
        assert!(!is_outage(&ModelError::TooLarge { detail: detail() }));
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_trial_of_an_outage_tries_for_all() {
        let circuit = circuit();
        let first = turn(&circuit).await;
        assert!(!first.tries_for_all());
        assert!(first.failed("out of credit", true));
        assert!(turn(&circuit).await.tries_for_all());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_make_an_outage_and_an_answer_between_them_does_not() {
        let circuit = circuit();
        assert!(!turn(&circuit).await.failed("down", false));
        turn(&circuit).await.answered();
        assert!(!turn(&circuit).await.failed("down", false));
        assert_eq!(circuit.trouble(), None);
        assert!(turn(&circuit).await.failed("still down", false));
        assert_eq!(circuit.trouble().as_deref(), Some("still down"));
        assert!(circuit.leave_to_others());
    }

    #[tokio::test(start_paused = true)]
    async fn what_only_an_operator_can_mend_is_an_outage_at_once() {
        let circuit = circuit();
        assert!(turn(&circuit).await.failed("key refused", true));
        assert_eq!(circuit.trouble().as_deref(), Some("key refused"));
        assert!(circuit.is_waited_for());
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(!circuit.is_waited_for(), "nobody has tried again");
        assert!(circuit.trouble().is_some(), "nor has it answered");
    }

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_tries_again_after_growing_pauses_and_success_frees_all() {
        let circuit = circuit();
        turn(&circuit).await.failed("down", false);
        turn(&circuit).await.failed("down", false);
        let start = Instant::now();
        let trial = turn(&circuit).await;
        assert_eq!(start.elapsed().as_secs(), 2);
        let patient = circuit.turn(Instant::now() + Duration::from_secs(1)).await;
        assert!(patient.is_none(), "no second one tries while one does");
        trial.failed("down", false);
        let start = Instant::now();
        let trial = turn(&circuit).await;
        assert_eq!(start.elapsed().as_secs(), 4);
        let (waiting, ()) = tokio::join!(turn(&circuit), async { trial.answered() });
        waiting.answered();
        assert_eq!(circuit.trouble(), None);
        assert!(!circuit.leave_to_others());
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_is_dropped_lets_another_try() {
        let circuit = circuit();
        turn(&circuit).await.failed("down", false);
        turn(&circuit).await.failed("down", false);
        drop(turn(&circuit).await);
        assert!(!circuit.leave_to_others(), "the next job may be the one that tries");
        turn(&circuit).await.answered();
        assert_eq!(circuit.trouble(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_from_before_does_not_end_an_outage() {
        let circuit = circuit();
        let early = turn(&circuit).await;
        turn(&circuit).await.failed("down", false);
        turn(&circuit).await.failed("down", false);
        early.answered();
        assert!(circuit.trouble().is_some());
    }

    /// What becomes of jobs in flight when the provider is out for so long: how many are answered, how many give up, how often it was
    /// asked meanwhile, and for how long the last one waited.
    async fn outage(length: Duration) -> (usize, usize, u32, Duration) {
        let circuit = Circuit::new(Patience::default());
        let (start, tries) = (Instant::now(), std::cell::Cell::new(0));
        let job = async || {
            let deadline = circuit.deadline();
            while let Some(turn) = circuit.turn(deadline).await {
                if start.elapsed() >= length {
                    turn.answered();
                    return true;
                }
                tries.set(tries.get() + 1);
                let out = turn.failed("503", false);
                assert!(
                    !out || circuit.trouble().is_some(),
                    "whoever asks is told of the outage"
                );
                if !out {
                    tokio::time::sleep(circuit.pause()).await;
                }
            }
            false
        };
        let done = futures::future::join_all((0..20).map(|_| job())).await;
        let answered = done.iter().filter(|answered| **answered).count();
        (answered, done.len() - answered, tries.get(), start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_of_an_hour_or_nearly_a_day_costs_no_job_and_few_tries() {
        for (length, most) in [(3_600, 160), (23 * 3_600, 2_800)] {
            let (answered, given_up, tries, waited) = outage(Duration::from_secs(length)).await;
            assert_eq!((answered, given_up), (20, 0));
            assert!(tries < most, "asked {tries} times in {length} s");
            assert!(waited.as_secs() <= length + 30, "they go on {waited:?} after its begin");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_day_jobs_in_hand_are_given_up() {
        let (answered, given_up, _, waited) = outage(Duration::from_secs(25 * 3_600)).await;
        assert_eq!((answered, given_up), (0, 20));
        assert!((24 * 3_600..24 * 3_600 + 60).contains(&waited.as_secs()), "{waited:?}");
    }
}
