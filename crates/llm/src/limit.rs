//! How fast one process may call one endpoint: a limit on calls in flight that adapts, and the operator's rates.
//!
//! The limit in flight is additive-increase, multiplicative-decrease, as TCP's: it halves when the endpoint says that
//! it is overloaded (once per burst: calls that started before a halving do not halve again) and grows by about one
//! per round of successes, up to the operator's `concurrency`. The rates are the generic cell rate algorithm. It is our
//! own because a call's tokens are known only afterwards: what was reserved has to be corrected, which the rate-limit
//! libraries have no word for.

use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// A share of the per-minute rate that may be used at once after a pause.
const BURST_SHARE: f64 = 0.25;

/// An endpoint that asks for a longer pause than this gets this one.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The limits of one endpoint, shared by all its calls.
pub(crate) struct Limiter {
    state: Mutex<State>,
    freed: Notify,
    most: f64,
}

struct State {
    limit: f64,
    in_flight: u32,
    /// Counts halvings, so that one burst of rejections halves once.
    era: u64,
    paused_until: Option<Instant>,
    requests: Option<Pace>,
    tokens: Option<Pace>,
}

impl Limiter {
    pub(crate) fn new(concurrency: u32, requests_per_minute: Option<u32>, tokens_per_minute: Option<u32>) -> Self {
        let state = State {
            limit: f64::from(concurrency),
            in_flight: 0,
            era: 0,
            paused_until: None,
            requests: requests_per_minute.map(Pace::new),
            tokens: tokens_per_minute.map(Pace::new),
        };
        Self {
            state: Mutex::new(state),
            freed: Notify::new(),
            most: f64::from(concurrency),
        }
    }

    /// Waits for a slot, for the end of a pause the endpoint asked for, and for the rates; `tokens` is an estimate.
    pub(crate) async fn acquire(&self, tokens: u64) -> Slot<'_> {
        let slot = self.take_slot(tokens).await;
        loop {
            let pause = self.lock().paused_until.filter(|until| *until > Instant::now());
            match pause {
                Some(until) => sleep_until(until).await,
                None => break,
            }
        }
        let now = Instant::now();
        let go = {
            let mut state = self.lock();
            let requests = state.requests.as_mut().map(|pace| pace.reserve(1.0, now));
            let tokens = state.tokens.as_mut().map(|pace| pace.reserve(tokens as f64, now));
            requests.max(tokens)
        };
        if let Some(go) = go
            && go > now
        {
            sleep_until(go).await;
        }
        slot
    }

    /// Calls in flight allowed at this moment.
    pub(crate) fn limit(&self) -> u32 {
        self.lock().limit as u32
    }

    async fn take_slot(&self, tokens: u64) -> Slot<'_> {
        loop {
            if let Some(slot) = self.try_slot(tokens) {
                return slot;
            }
            // In line before looking again, or a slot freed in between could wake nobody.
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable();
            if let Some(slot) = self.try_slot(tokens) {
                return slot;
            }
            freed.await;
        }
    }

    fn try_slot(&self, tokens: u64) -> Option<Slot<'_>> {
        let mut state = self.lock();
        if f64::from(state.in_flight) >= state.limit.floor() {
            return None;
        }
        state.in_flight += 1;
        Some(Slot {
            limiter: self,
            era: state.era,
            tokens,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to have one call in flight; given back when dropped.
pub(crate) struct Slot<'a> {
    limiter: &'a Limiter,
    era: u64,
    tokens: u64,
}

impl Slot<'_> {
    /// The endpoint answered: the limit creeps up, and the token rate learns what was really used, if it was said.
    pub(crate) fn succeeded(self, tokens_used: Option<u64>) {
        let mut state = self.limiter.lock();
        let before = state.limit;
        state.limit = (before + 1.0 / before).min(self.limiter.most);
        let grown = state.limit.floor() > before.floor();
        if let (Some(pace), Some(used)) = (state.tokens.as_mut(), tokens_used) {
            pace.correct(used as f64 - self.tokens as f64);
        }
        drop(state);
        if grown {
            self.limiter.freed.notify_one();
        }
    }

    /// The endpoint asked for less: the limit halves, and all wait if it said how long.
    pub(crate) fn overloaded(self, retry_after: Option<Duration>) {
        let mut state = self.limiter.lock();
        if state.era == self.era {
            state.era += 1;
            state.limit = (state.limit.min(f64::from(state.in_flight)) / 2.0).max(1.0);
        }
        if let Some(pause) = retry_after {
            let until = Instant::now() + pause.min(LONGEST_PAUSE);
            state.paused_until = Some(state.paused_until.map_or(until, |other| other.max(until)));
        }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.limiter.lock().in_flight -= 1;
        self.limiter.freed.notify_one();
    }
}

/// A rate of units per minute: the time at which everything reserved so far is due.
struct Pace {
    seconds_per_unit: f64,
    burst_seconds: f64,
    due: Option<Instant>,
}

impl Pace {
    fn new(per_minute: u32) -> Self {
        let seconds_per_unit = 60.0 / f64::from(per_minute);
        // At least one unit, or a rate of one a minute would never begin.
        Self {
            seconds_per_unit,
            burst_seconds: (60.0 * BURST_SHARE).max(seconds_per_unit),
            due: None,
        }
    }

    /// Reserves `units` and says when they may be used.
    fn reserve(&mut self, units: f64, now: Instant) -> Instant {
        let idle_since = self.due.filter(|due| *due > now).unwrap_or(now);
        let due = idle_since + Duration::from_secs_f64(units * self.seconds_per_unit);
        self.due = Some(due);
        due.checked_sub(Duration::from_secs_f64(self.burst_seconds))
            .unwrap_or(now)
            .max(now)
    }

    /// Adds `units` used beyond what was reserved, or gives them back if negative.
    fn correct(&mut self, units: f64) {
        let shift = Duration::from_secs_f64(units.abs() * self.seconds_per_unit);
        self.due = match self.due {
            Some(due) if units < 0.0 => due.checked_sub(shift),
            Some(due) => Some(due + shift),
            None => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_burst_of_rejections_halves_once_and_successes_climb_back() {
        let limiter = Limiter::new(8, None, None);
        let mut slots = Vec::new();
        for _ in 0..8 {
            slots.push(limiter.acquire(0).await);
        }
        for slot in slots {
            slot.overloaded(None);
        }
        assert_eq!(limiter.limit(), 4);
        for _ in 0..200 {
            limiter.acquire(0).await.succeeded(None);
        }
        assert_eq!(limiter.limit(), 8, "never above the operator's limit");
    }

    #[tokio::test]
    async fn it_never_falls_below_one() {
        let limiter = Limiter::new(2, None, None);
        for _ in 0..5 {
            limiter.acquire(0).await.overloaded(None);
        }
        assert_eq!(limiter.limit(), 1);
        limiter.acquire(0).await.succeeded(None);
    }

    #[tokio::test]
    async fn waiting_calls_get_the_slots_that_are_freed() {
        let limiter = Arc::new(Limiter::new(1, None, None));
        let first = limiter.acquire(0).await;
        let waiting: Vec<_> = (0..20)
            .map(|_| {
                let limiter = Arc::clone(&limiter);
                tokio::spawn(async move { drop(limiter.acquire(0).await) })
            })
            .collect();
        tokio::task::yield_now().await;
        // One of those waiting gives up: its place must not be lost.
        waiting[3].abort();
        drop(first);
        for (number, task) in waiting.into_iter().enumerate() {
            assert_eq!(task.await.is_ok(), number != 3);
        }
    }

    #[tokio::test]
    async fn a_pause_that_was_asked_for_holds_everyone() {
        let limiter = Limiter::new(4, None, None);
        let start = Instant::now();
        limiter.acquire(0).await.overloaded(Some(Duration::from_millis(80)));
        drop(limiter.acquire(0).await);
        assert!(start.elapsed() >= Duration::from_millis(80), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn rates_hold_back_what_goes_beyond_their_burst() {
        // 1200 a minute: 300 at once, then one every 50 ms.
        let limiter = Limiter::new(1_000, Some(1_200), None);
        let start = Instant::now();
        for _ in 0..302 {
            drop(limiter.acquire(0).await);
        }
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(95), "{took:?}");
    }

    #[test]
    fn a_rate_gives_a_quarter_of_a_minute_at_once_and_then_its_pace() {
        let (mut pace, now) = (Pace::new(60), Instant::now());
        let waits: Vec<f64> = (0..75).map(|_| (pace.reserve(1.0, now) - now).as_secs_f64()).collect();
        assert!(waits[..15].iter().all(|wait| *wait < 1e-6), "{waits:?}");
        assert!(
            (waits[15] - 1.0).abs() < 1e-3 && (waits[74] - 60.0).abs() < 1e-3,
            "{waits:?}"
        );
    }

    #[test]
    fn tokens_that_were_not_used_are_given_back() {
        let now = Instant::now();
        let last_wait = |unused: f64| {
            let mut pace = Pace::new(60_000);
            let mut last = now;
            for _ in 0..60 {
                last = pace.reserve(1_000.0, now);
                pace.correct(-unused);
            }
            (last - now).as_secs_f64()
        };
        assert!((last_wait(0.0) - 45.0).abs() < 0.01);
        assert!(last_wait(900.0) < 0.01);
    }

    #[test]
    fn one_a_minute_begins_at_once() {
        let (mut pace, now) = (Pace::new(1), Instant::now());
        assert_eq!(pace.reserve(1.0, now), now);
        assert!((pace.reserve(1.0, now) - now).as_secs() >= 59);
    }
}
