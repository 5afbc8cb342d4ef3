//! How fast one process may call one endpoint: a limit on calls in flight that adapts, and the operator's rates.
//!
//! The limit in flight is additive-increase, multiplicative-decrease, as TCP's: it halves when the endpoint says that
//! it is overloaded (once per burst: calls that started before a halving do not halve again) and grows by about one
//! per round of successes, up to the operator's `concurrency`. One refusal holds only the call that was refused. A second one within its
//! window holds the whole endpoint: as long as the endpoint asks, or for pauses that grow; afterwards requests start with a gap between
//! them, which doubles with each such hold and shrinks slowly with successes. The rates are the generic cell rate algorithm. It is our
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

/// Refusals of one endpoint within this time, or within the pause that it asked for, belong together.
const WINDOW: Duration = Duration::from_secs(10);

/// What a success leaves of the gap between two requests.
const GAP_KEPT: f64 = 0.98;

/// The limits of one endpoint, shared by all its calls.
pub(crate) struct Limiter {
    state: Mutex<State>,
    freed: Notify,
    most: f64,
    /// The first and the longest pause of our own choosing.
    pauses: (Duration, Duration),
}

struct State {
    limit: f64,
    in_flight: u32,
    /// Counts halvings, so that one burst of rejections halves once.
    era: u64,
    paused_until: Option<Instant>,
    /// Until when another refusal belongs to the last one.
    window_until: Option<Instant>,
    /// The last hold of our own choosing; zero since the last success.
    hold: Duration,
    /// The time between the starts of two requests, learned from refusals.
    gap: Duration,
    next_start: Option<Instant>,
    requests: Option<Pace>,
    tokens: Option<Pace>,
}

impl Limiter {
    /// `pauses`: the first and the longest pause where the endpoint asks for none.
    pub(crate) fn new(
        concurrency: u32,
        requests_per_minute: Option<u32>,
        tokens_per_minute: Option<u32>,
        pauses: (Duration, Duration),
    ) -> Self {
        let state = State {
            limit: f64::from(concurrency),
            in_flight: 0,
            era: 0,
            paused_until: None,
            window_until: None,
            hold: Duration::ZERO,
            gap: Duration::ZERO,
            next_start: None,
            requests: requests_per_minute.map(Pace::new),
            tokens: tokens_per_minute.map(Pace::new),
        };
        Self {
            state: Mutex::new(state),
            freed: Notify::new(),
            most: f64::from(concurrency),
            pauses,
        }
    }

    /// Waits for a slot, for the end of a pause the endpoint asked for, and for the rates; `tokens` is an estimate.
    pub(crate) async fn acquire(&self, tokens: u64) -> Slot<'_> {
        let slot = self.take_slot(tokens).await;
        self.pause_ended().await;
        if let Some(start) = self.reserve(tokens) {
            sleep_until(start).await;
            // The endpoint may have been held meanwhile.
            self.pause_ended().await;
        }
        slot
    }

    /// Waits until the endpoint is not held.
    async fn pause_ended(&self) {
        loop {
            let pause = self.lock().paused_until.filter(|until| *until > Instant::now());
            match pause {
                Some(until) => sleep_until(until).await,
                None => return,
            }
        }
    }

    /// Reserves the rates and the gap; when to start, if not at once.
    fn reserve(&self, tokens: u64) -> Option<Instant> {
        let now = Instant::now();
        let mut state = self.lock();
        let by_requests = state.requests.as_mut().map(|pace| pace.reserve(1.0, now));
        let by_tokens = state.tokens.as_mut().map(|pace| pace.reserve(tokens as f64, now));
        let by_gap = (!state.gap.is_zero()).then(|| {
            let start = state.next_start.map_or(now, |next| next.max(now));
            state.next_start = Some(start + state.gap);
            start
        });
        by_requests.max(by_tokens).max(by_gap).filter(|start| *start > now)
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
        state.hold = Duration::ZERO;
        state.gap = state.gap.mul_f64(GAP_KEPT);
        if state.gap < self.limiter.pauses.0 / 100 {
            state.gap = Duration::ZERO;
        }
        let grown = state.limit.floor() > before.floor();
        if let (Some(pace), Some(used)) = (state.tokens.as_mut(), tokens_used) {
            pace.correct(used as f64 - self.tokens as f64);
        }
        drop(state);
        if grown {
            self.limiter.freed.notify_one();
        }
    }

    /// The endpoint asked for less: the limit halves. A second time within the window of the first all wait: as long as it said, or for
    /// a pause that grows.
    pub(crate) fn overloaded(self, retry_after: Option<Duration>) {
        let (first, longest) = self.limiter.pauses;
        let now = Instant::now();
        let mut state = self.limiter.lock();
        let repeated = state.window_until.is_some_and(|until| now < until);
        let asked = retry_after.unwrap_or_default().min(LONGEST_PAUSE);
        state.window_until = Some(now + asked.max(WINDOW));
        let is_news = state.era == self.era;
        if is_news {
            state.era += 1;
            state.limit = (state.limit.min(f64::from(state.in_flight)) / 2.0).max(1.0);
        }
        if !repeated {
            return;
        }
        // Once for each burst, and once for each row of refusals without a success between them.
        if state.hold.is_zero() {
            state.gap = (state.gap * 2).clamp((first / 2).min(longest), longest);
        }
        if is_news || state.hold.is_zero() {
            state.hold = (state.hold * 2).clamp(first.min(longest), longest);
        }
        let until = now + if retry_after.is_some() { asked } else { state.hold };
        state.paused_until = Some(state.paused_until.map_or(until, |other| other.max(until)));
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

    fn limiter(concurrency: u32, requests_per_minute: Option<u32>, tokens_per_minute: Option<u32>) -> Limiter {
        let pauses = (Duration::from_millis(4), Duration::from_millis(32));
        Limiter::new(concurrency, requests_per_minute, tokens_per_minute, pauses)
    }

    #[tokio::test]
    async fn a_burst_of_rejections_halves_once_and_successes_climb_back() {
        let limiter = limiter(8, None, None);
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
        let limiter = limiter(2, None, None);
        for _ in 0..5 {
            limiter.acquire(0).await.overloaded(None);
        }
        assert_eq!(limiter.limit(), 1);
        limiter.acquire(0).await.succeeded(None);
    }

    #[tokio::test]
    async fn waiting_calls_get_the_slots_that_are_freed() {
        let limiter = Arc::new(limiter(1, None, None));
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

    #[tokio::test(start_paused = true)]
    async fn one_refusal_holds_nobody_else_and_a_second_one_holds_everyone() {
        let limiter = limiter(4, None, None);
        let start = Instant::now();
        limiter.acquire(0).await.overloaded(Some(Duration::from_secs(30)));
        drop(limiter.acquire(0).await);
        assert_eq!(start.elapsed(), Duration::ZERO, "an isolated refusal");
        limiter.acquire(0).await.overloaded(Some(Duration::from_secs(30)));
        drop(limiter.acquire(0).await);
        assert!(start.elapsed() >= Duration::from_secs(30), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_far_from_each_other_are_isolated() {
        let limiter = limiter(4, None, None);
        limiter.acquire(0).await.overloaded(None);
        tokio::time::advance(WINDOW).await;
        let start = Instant::now();
        limiter.acquire(0).await.overloaded(None);
        drop(limiter.acquire(0).await);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_word_on_the_pause_holds_grow_until_a_success() {
        let limiter = limiter(1, None, None);
        let mut waits = Vec::new();
        for _ in 0..6 {
            let start = Instant::now();
            let slot = limiter.acquire(0).await;
            waits.push(start.elapsed().as_millis());
            slot.overloaded(None);
        }
        assert_eq!(waits[..2], [0, 0]);
        assert!(waits[2..].is_sorted() && waits[2] >= 4 && waits[5] <= 40, "{waits:?}");
        limiter.acquire(0).await.succeeded(None);
        let gap = limiter.lock().gap;
        assert!(gap > Duration::ZERO, "slower than before");
        for _ in 0..500 {
            limiter.acquire(0).await.succeeded(None);
        }
        assert_eq!(limiter.lock().gap, Duration::ZERO, "and as fast as before in the end");
    }

    #[tokio::test(start_paused = true)]
    async fn a_quota_of_a_minute_is_kept_to_in_the_end() {
        // 20 requests in each minute; who comes beyond is refused without a word.
        let limiter = Limiter::new(8, None, None, (Duration::from_millis(500), Duration::from_secs(30)));
        let (start, mut minute, mut used, mut answered, mut refused) = (Instant::now(), 0, 0, 0, 0);
        while answered < 100 {
            let slot = limiter.acquire(0).await;
            let now = start.elapsed().as_secs() / 60;
            if now != minute {
                (minute, used) = (now, 0);
            }
            used += 1;
            if used <= 20 {
                answered += 1;
                slot.succeeded(None);
            } else {
                refused += 1;
                slot.overloaded(None);
            }
        }
        assert!(
            refused < 50 && start.elapsed() < Duration::from_secs(900),
            "{refused} {:?}",
            start.elapsed()
        );
    }

    #[tokio::test]
    async fn rates_hold_back_what_goes_beyond_their_burst() {
        // 1200 a minute: 300 at once, then one every 50 ms.
        let limiter = limiter(1_000, Some(1_200), None);
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
