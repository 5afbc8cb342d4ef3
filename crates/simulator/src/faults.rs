//! What can go wrong on purpose: by script (consumed in order) or by chance.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::draw::Draw;
use crate::request::Role;

/// A way for a call to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Status 429.
    RateLimited,
    /// Status 500, or the script's own status.
    ServerError,
    /// Status 529.
    Overloaded,
    /// No answer for a long time.
    Hang,
    /// The body comes in small pieces with pauses.
    SlowDrip,
    /// The connection is reset without an answer.
    Reset,
    /// The body breaks off in the middle, with the connection.
    CutOff,
    /// The answer is cut to its first half; the finish reason is `length`.
    Truncated,
    /// The answer's content is broken: JSON that does not parse, or words that say nothing.
    MalformedContent,
    /// The HTTP body is not JSON.
    MalformedBody,
    /// The content is the empty text.
    Empty,
    /// The model refuses; the finish reason is `content_filter`.
    Refusal,
    /// Status 200 with a web page instead of JSON.
    WrongContentType,
    /// Only slow: the script's `delay_ms` (2 s by chance), then a good answer.
    Delay,
}

impl FaultKind {
    /// All kinds, in the order in which chance tries them.
    pub const ALL: [Self; 14] = [
        Self::RateLimited,
        Self::ServerError,
        Self::Overloaded,
        Self::Hang,
        Self::SlowDrip,
        Self::Reset,
        Self::CutOff,
        Self::Truncated,
        Self::MalformedContent,
        Self::MalformedBody,
        Self::Empty,
        Self::Refusal,
        Self::WrongContentType,
        Self::Delay,
    ];

    /// The kind's name in scripts and settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RateLimited => "rate_limited",
            Self::ServerError => "server_error",
            Self::Overloaded => "overloaded",
            Self::Hang => "hang",
            Self::SlowDrip => "slow_drip",
            Self::Reset => "reset",
            Self::CutOff => "cut_off",
            Self::Truncated => "truncated",
            Self::MalformedContent => "malformed_content",
            Self::MalformedBody => "malformed_body",
            Self::Empty => "empty",
            Self::Refusal => "refusal",
            Self::WrongContentType => "wrong_content_type",
            Self::Delay => "delay",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// All names, for messages.
    #[must_use]
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

/// One entry of a script.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// How many calls it strikes.
    #[serde(default = "once")]
    pub times: u32,
    /// Only calls of this role.
    #[serde(default)]
    pub role: Option<String>,
    /// Only calls to this model.
    #[serde(default)]
    pub model: Option<String>,
    /// Only calls with this request, by its hash in the ledger.
    #[serde(default)]
    pub request: Option<String>,
    /// Another status than the kind's own.
    #[serde(default)]
    pub status: Option<u16>,
    /// The `Retry-After` header, as it shall be sent.
    #[serde(default)]
    pub retry_after: Option<String>,
    /// How long a delay or hang takes, in milliseconds.
    #[serde(default)]
    pub delay_ms: Option<u64>,
}

fn once() -> u32 {
    1
}

impl Fault {
    /// One plain fault of this kind.
    #[must_use]
    pub fn of(kind: FaultKind) -> Self {
        Self {
            kind,
            times: 1,
            role: None,
            model: None,
            request: None,
            status: None,
            retry_after: None,
            delay_ms: None,
        }
    }
}

/// Scripted faults, and those by chance.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    script: Mutex<VecDeque<Fault>>,
    rates: BTreeMap<FaultKind, f64>,
    /// How often each request was seen, so that a repeated one meets a fresh draw.
    seen: Mutex<HashMap<String, u32>>,
}

impl Faults {
    pub(crate) fn new(rates: BTreeMap<FaultKind, f64>) -> Self {
        Self {
            rates,
            ..Self::default()
        }
    }

    /// Adds to the script.
    pub(crate) fn add(&self, faults: Vec<Fault>) -> usize {
        let mut script = lock(&self.script);
        script.extend(faults.into_iter().filter(|fault| fault.times > 0));
        script.len()
    }

    /// The script as it stands.
    pub(crate) fn script(&self) -> Vec<Fault> {
        lock(&self.script).iter().cloned().collect()
    }

    /// Empties the script and forgets what was seen.
    pub(crate) fn clear(&self) {
        lock(&self.script).clear();
        lock(&self.seen).clear();
    }

    /// The fault that strikes this call: the first fitting one of the script, else one by chance.
    pub(crate) fn strike(&self, role: Role, model: &str, draw: &Draw) -> Option<Fault> {
        self.scripted(role, model, &draw.short_hex())
            .or_else(|| self.by_chance(draw))
    }

    fn scripted(&self, role: Role, model: &str, request: &str) -> Option<Fault> {
        let mut script = lock(&self.script);
        let fits = |want: &Option<String>, is: &str| want.as_deref().is_none_or(|want| want == is);
        let at = script.iter().position(|fault| {
            fits(&fault.role, role.name()) && fits(&fault.model, model) && fits(&fault.request, request)
        })?;
        let fault = script.get_mut(at)?;
        fault.times -= 1;
        let strikes = fault.clone();
        if fault.times == 0 {
            script.remove(at);
        }
        Some(strikes)
    }

    fn by_chance(&self, draw: &Draw) -> Option<Fault> {
        if self.rates.is_empty() {
            return None;
        }
        let mut seen = lock(&self.seen);
        let times = seen.entry(draw.short_hex()).or_default();
        *times += 1;
        let strikes = |kind: &FaultKind, rate: f64| draw.chance(&format!("{} {times}", kind.name()), rate);
        self.rates
            .iter()
            .find(|(kind, rate)| strikes(kind, **rate))
            .map(|(kind, _)| Fault::of(*kind))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_consumed_in_order_by_whom_they_name() {
        let faults = Faults::default();
        let checker = Fault {
            role: Some("checker".into()),
            times: 2,
            ..Fault::of(FaultKind::Empty)
        };
        faults.add(vec![checker, Fault::of(FaultKind::Hang)]);
        let draw = Draw::new(1, []);
        let strike = |role| faults.strike(role, "m", &draw).map(|fault| fault.kind);
        assert_eq!(strike(Role::Learner), Some(FaultKind::Hang));
        assert_eq!(strike(Role::Learner), None);
        assert_eq!(strike(Role::Checker), Some(FaultKind::Empty));
        assert_eq!(strike(Role::Checker), Some(FaultKind::Empty));
        assert_eq!(strike(Role::Checker), None);
    }

    #[test]
    fn a_repeated_request_meets_a_fresh_draw() {
        let faults = Faults::new([(FaultKind::ServerError, 0.5)].into());
        let draw = Draw::new(1, [b"request".as_slice()]);
        let struck = (0..200)
            .filter(|_| faults.strike(Role::Learner, "m", &draw).is_some())
            .count();
        assert!((60..140).contains(&struck), "{struck} of 200 at rate 0.5");
    }
}
