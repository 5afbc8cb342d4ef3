//! What was bought again, by the simulator's own ledger of calls.
//!
//! * A call *buys* where it was answered whole, that is with nothing spoilt by a fault, or where its caller went away before an answer
//!   that no fault held back: a provider would have done the work.
//! * An answer is *saved* once it is in a spool, in the completion store, or a result. The spool comes first, so this is when its process
//!   has had the time to write a file after the last byte came ([`TO_SPOOL_MS`]). Of a process that was killed before, the answer was
//!   saved by nobody; of one that was frozen before, that time begins when it wakes. A process that is only cut off from the server saves
//!   as any other: the agents of a role share the spool of their machine, so it is a place that the next owner can reach.
//! * A request that *starts* after an answer to the very same request was saved is a *finished* call bought again, whatever comes of it.
//!   There is to be none. When it starts is when the simulator has read it.
//! * Every other purchase beyond the first of a request is an *unfinished* call bought again: the first was still under way, or its answer
//!   had died with its process. Those are counted.
//!
//! Which process made a call is told by the port that it came from; a hurt process's ports are those it had open when it stood still.

use crate::cluster::simulator::Ledger;
use sipdo_simulator::Call;
use std::collections::{BTreeMap, BTreeSet};

/// A time in which a process could bring nothing to safety: killed, or frozen for a while.
#[derive(Debug, Clone)]
pub struct Hurt {
    /// Its role.
    pub role: String,
    /// From when, in Unix milliseconds.
    pub from_ms: u64,
    /// Until when it stood still; none where it was killed.
    pub until_ms: Option<u64>,
    /// The ports that it had open then; none where the system cannot tell, and every call of the role may have been its own.
    pub ports: Option<BTreeSet<u16>>,
}

/// What was bought again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Again {
    /// Each finished call that was bought again, in words.
    pub finished: Vec<String>,
    /// How many unfinished ones were.
    pub unfinished: usize,
}

/// How long a process takes at most to write an answer to its spool on a loaded machine, in milliseconds.
const TO_SPOOL_MS: u64 = 500;

/// Holds the ledger against the definitions above.
pub fn bought_again(ledger: &Ledger, hurts: &[Hurt]) -> Again {
    let mut requests: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    for call in &ledger.calls {
        requests.entry(&call.request).or_default().push(call);
    }
    let mut again = Again::default();
    for calls in requests.values() {
        // Answers may come in another order than their requests.
        let saved = calls.iter().filter_map(|call| saved_ms(call, hurts)).min();
        let late = |call: &&&Call| saved.is_some_and(|saved| call.received_ms > saved);
        again
            .finished
            .extend(calls.iter().filter(late).map(|call| told(call, calls, hurts)));
        let bought = calls.iter().filter(|call| buys(call) && !late(call)).count();
        again.unfinished += bought.saturating_sub(1);
    }
    again
}

fn buys(call: &Call) -> bool {
    Ledger::is_whole(call) || (call.outcome == "abandoned" && call.fault.is_none())
}

/// From when on a call's answer was saved, if it was.
fn saved_ms(call: &Call, hurts: &[Hurt]) -> Option<u64> {
    if !Ledger::is_whole(call) {
        return None;
    }
    let mut saved = call.ended_ms + TO_SPOOL_MS;
    for hurt in hurts.iter().filter(|hurt| hurt.strikes(call)) {
        match hurt.until_ms {
            _ if hurt.from_ms > saved => {}
            None => return None,
            Some(until) if until >= call.ended_ms => saved = saved.max(until + TO_SPOOL_MS),
            Some(_) => {}
        }
    }
    Some(saved)
}

impl Hurt {
    /// Whether the call was the process's own, made before or while it was hurt.
    fn strikes(&self, call: &Call) -> bool {
        let port = call.from.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let own = match (&self.ports, port) {
            (Some(ports), Some(port)) => ports.contains(&port),
            _ => self.role == call.role,
        };
        own && call.received_ms <= self.until_ms.unwrap_or(self.from_ms + TO_SPOOL_MS)
    }
}

/// All calls of one request, with the hurts around them; times in milliseconds from its first call.
fn told(late: &Call, calls: &[&Call], hurts: &[Hurt]) -> String {
    let start = calls.first().map_or(0, |first| first.received_ms) as i128;
    let at = |ms: u64| ms as i128 - start;
    let told = calls.iter().map(|call| {
        format!(
            "{}..{} {} {:?} from {}",
            at(call.received_ms),
            at(call.ended_ms),
            call.outcome,
            call.fault,
            call.from
        )
    });
    let near = hurts.iter().filter(|hurt| calls.iter().any(|call| hurt.strikes(call)));
    let hurts = near.map(|hurt| format!("{}..{:?}", at(hurt.from_ms), hurt.until_ms.map(at)));
    format!(
        "{} at {}: calls {:?}, hurts {:?}",
        late.role,
        at(late.received_ms),
        told.collect::<Vec<_>>(),
        hurts.collect::<Vec<_>>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipdo_simulator::{FaultKind, Totals};

    fn call(from: u16, received_ms: u64, ended_ms: u64, outcome: &str) -> Call {
        Call {
            id: received_ms,
            role: "learner".into(),
            model: "m".into(),
            request: "same".into(),
            from: format!("127.0.0.1:{from}"),
            outcome: outcome.into(),
            status: 200,
            fault: None,
            prompt_tokens: 1,
            completion_tokens: 1,
            received_ms,
            ended_ms,
        }
    }

    fn counted(calls: Vec<Call>, hurts: &[Hurt]) -> (usize, usize) {
        let totals = Totals::default();
        let again = bought_again(&Ledger { totals, calls }, hurts);
        (again.finished.len(), again.unfinished)
    }

    fn hurt(port: u16, from_ms: u64, until_ms: Option<u64>) -> Hurt {
        Hurt {
            role: "learner".into(),
            from_ms,
            until_ms,
            ports: Some(BTreeSet::from([port])),
        }
    }

    #[test]
    fn a_request_after_a_saved_answer_is_finished_and_one_before_it_is_not() {
        let first = call(1, 0, 100, "answered");
        assert_eq!(counted(vec![first.clone(), call(2, 601, 700, "answered")], &[]), (1, 0));
        assert_eq!(counted(vec![first.clone(), call(2, 599, 700, "answered")], &[]), (0, 1));
        assert_eq!(
            counted(vec![first.clone(), call(2, 601, 601, "refused")], &[]),
            (1, 0),
            "it was sent, whatever came of it"
        );
        assert_eq!(counted(vec![first], &[]), (0, 0));
    }

    #[test]
    fn a_retry_under_way_for_long_does_not_excuse_the_next_one() {
        let hangs = Call {
            fault: Some(FaultKind::Hang),
            ..call(1, 0, 6_000, "abandoned")
        };
        let calls = vec![
            hangs,
            call(2, 4_500, 4_700, "answered"),
            call(1, 6_200, 6_300, "answered"),
        ];
        assert_eq!(counted(calls, &[]), (1, 0));
    }

    #[test]
    fn an_answer_that_died_with_its_process_was_not_saved() {
        let calls = || vec![call(1, 0, 100, "answered"), call(2, 3_000, 3_100, "answered")];
        assert_eq!(counted(calls(), &[hurt(1, 300, None)]), (0, 1));
        assert_eq!(counted(calls(), &[hurt(3, 300, None)]), (1, 0), "another process died");
        assert_eq!(counted(calls(), &[hurt(1, 700, None)]), (1, 0), "it died later");
        let abandoned = vec![call(1, 0, 100, "abandoned"), call(2, 3_000, 3_100, "answered")];
        assert_eq!(counted(abandoned, &[hurt(1, 100, None)]), (0, 1));
    }

    #[test]
    fn an_answer_that_came_to_a_frozen_process_is_saved_when_it_wakes() {
        let calls = |again| vec![call(1, 0, 100, "answered"), call(2, again, again + 100, "answered")];
        let frozen = [hurt(1, 50, Some(4_000))];
        assert_eq!(counted(calls(3_000), &frozen), (0, 1));
        assert_eq!(counted(calls(4_600), &frozen), (1, 0));
    }

    #[test]
    fn a_call_that_a_fault_has_struck_buys_nothing() {
        let struck = |fault| Call {
            fault: Some(fault),
            ..call(1, 0, 100, "abandoned")
        };
        let calls = vec![struck(FaultKind::Hang), call(1, 6_000, 6_100, "answered")];
        assert_eq!(counted(calls, &[]), (0, 0));
        let spoilt = Call {
            fault: Some(FaultKind::Empty),
            ..call(1, 0, 100, "answered")
        };
        assert_eq!(counted(vec![spoilt, call(1, 6_000, 6_100, "answered")], &[]), (0, 0));
    }
}
