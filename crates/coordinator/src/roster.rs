//! What the agents say of themselves, and what a job can cost at worst with the dearest of them.

use sipdo_domain::{Amount, Pool, Role};
use sipdo_protocol::pb;
use std::collections::{BTreeMap, BTreeSet};

/// What is reserved for an agent that does not state its overhead: its version is older than the statement.
const UNSTATED: pb::RequestOverhead = pb::RequestOverhead {
    request_bytes: 8_000,
    bytes_per_ask_byte: 1,
    repair_bytes: 400,
};

/// The newest roll call, by pool.
#[derive(Debug, Default, Clone)]
pub struct Roster {
    statuses: BTreeMap<Pool, Vec<pb::AgentStatus>>,
    runs_led: BTreeMap<String, u32>,
    /// What keeps a coordinator from storing its decisions.
    leader_troubles: BTreeMap<String, String>,
}

/// The worst case of one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorstCase {
    /// What is reserved.
    pub amount: Amount,
    /// Requests that the agent may pay for: completions, and repeats of a request that failed though it may be paid for.
    pub max_calls: u32,
    /// How many of `max_calls` are repeats.
    repeats: u32,
    /// Tokens of the first request and of each answer at most.
    input: u64,
    output: u64,
    /// Tokens that a repair adds at most beyond the answer that it repairs.
    repair: u64,
    /// The dearest of those that may do it.
    price: Price,
    /// Whether the price of every model is known that may do it.
    pub priced: bool,
}

impl WorstCase {
    /// Of so many completions and repeats. Repairs send the whole conversation again, and the longest request may be the one that is
    /// repeated.
    fn of([completions, repeats]: [u32; 2], [input, output, repair]: [u64; 3], price: Price, priced: bool) -> Self {
        let max_calls = completions + repeats;
        let (calls, longest) = (u64::from(max_calls), u64::from(completions.saturating_sub(1)));
        let repairs = (0..=longest).sum::<u64>() + longest * u64::from(repeats);
        let (input_tokens, output_tokens) = (input * calls + repairs * (output + repair), output * calls);
        // Rounded up, but where there is no price: what is unknown must not look like a cent.
        let cost = |tokens: u64, per_million: u64| match per_million {
            0 => 0,
            price => u128::from(tokens) * u128::from(price) / 1_000_000 + 1,
        };
        let nano_usd = cost(input_tokens, price.input) + cost(output_tokens, price.output);
        WorstCase {
            amount: Amount {
                calls,
                tokens: input_tokens + output_tokens,
                nano_usd: u64::try_from(nano_usd).unwrap_or(u64::MAX),
            },
            max_calls,
            repeats,
            input,
            output,
            repair,
            price,
            priced,
        }
    }

    /// The same job with at most so many calls, of which it needs one. What is not reserved is not done: a repair, or a request that is
    /// sent a second time.
    pub fn within(self, calls: u64) -> Self {
        let most = u32::try_from(calls).unwrap_or(u32::MAX).max(1);
        let completions = (self.max_calls - self.repeats).min(most);
        WorstCase::of(
            [completions, self.repeats.min(most - completions)],
            [self.input, self.output, self.repair],
            self.price,
            self.priced,
        )
    }

    /// The prices that a reservation covers: those of now, or lower ones in proportion where less was reserved before a price rose.
    pub fn prices(&self, reserved: Amount) -> pb::Prices {
        let (part, whole) = (reserved.nano_usd.min(self.amount.nano_usd), self.amount.nano_usd.max(1));
        let covered = |price: u64| {
            let covered = u128::from(price) * u128::from(part) / u128::from(whole);
            u64::try_from(covered).unwrap_or(u64::MAX)
        };
        pb::Prices {
            input: covered(self.price.input),
            output: covered(self.price.output),
        }
    }
}

impl Roster {
    /// Takes the statuses of a roll call. Of coordinators only the number of their runs and their trouble are kept.
    pub fn new(statuses: Vec<pb::AgentStatus>) -> Self {
        let mut roster = Roster::default();
        for status in statuses {
            if status.role.parse::<Role>().is_err() {
                if !status.trouble.is_empty() {
                    roster.leader_troubles.insert(status.agent.clone(), status.trouble);
                }
                roster.runs_led.insert(status.agent, status.busy);
                continue;
            }
            let pool = status
                .role
                .parse::<Role>()
                .and_then(|role| Pool::new(role, &status.pool));
            if let Ok(pool) = pool {
                roster.statuses.entry(pool).or_default().push(status);
            }
        }
        roster
    }

    /// The agents of a pool.
    pub fn of(&self, pool: &Pool) -> &[pb::AgentStatus] {
        self.statuses.get(pool).map(Vec::as_slice).unwrap_or_default()
    }

    /// Jobs that the agents of a pool can work on at a time.
    pub fn slots(&self, pool: &Pool) -> usize {
        self.of(pool).iter().map(|status| status.slots as usize).sum()
    }

    /// Runs led by other coordinators than this one.
    pub fn led_by_others(&self, own: &str) -> u32 {
        self.runs_led
            .iter()
            .filter(|(id, _)| *id != own)
            .map(|(_, runs)| runs)
            .sum()
    }

    /// Whether somebody of a pool takes suspects from their own queue.
    pub fn takes_suspects(&self, pool: &Pool) -> bool {
        self.of(pool).iter().any(|status| status.takes_suspects)
    }

    /// What keeps this coordinator from storing its decisions, as it says itself.
    pub fn leader_trouble(&self, coordinator: &str) -> Option<String> {
        self.leader_troubles.get(coordinator).cloned()
    }

    /// The pools that somebody belongs to.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.statuses.keys()
    }

    /// These agents, and of the others those that are not among them.
    pub fn with(mut self, other: &Roster) -> Self {
        let known: BTreeSet<String> = self
            .statuses
            .values()
            .flatten()
            .map(|status| status.agent.clone())
            .collect();
        for (pool, statuses) in &other.statuses {
            let missed = statuses.iter().filter(|status| !known.contains(&status.agent)).cloned();
            self.statuses.entry(pool.clone()).or_default().extend(missed);
        }
        self
    }

    /// The trouble that every agent of a pool has with the model that it will use, if each has one: nobody can work.
    /// `choice` is what registry and run lay over the agents' own models.
    pub fn trouble(&self, pool: &Pool, choice: Option<&pb::ModelChoice>) -> Option<String> {
        let statuses = self.of(pool).iter();
        let troubles: Option<Vec<String>> = statuses
            .map(|status| {
                let used = Used::by(status, choice);
                let why = trouble(status, &used)?;
                Some(format!("{pool} ({}/{}): {why}", used.endpoint, used.model))
            })
            .collect();
        troubles?.into_iter().next()
    }

    /// The worst case of a job with this many bytes of payload, over all agents that may take it; none while there is no agent.
    /// `choice` is what registry and run lay over the agents' own models.
    ///
    /// A token is at least one byte of text, so bytes bound tokens: dear, but it makes the cap hard.
    pub fn worst_case(&self, pool: &Pool, payload_bytes: usize, choice: Option<&pb::ModelChoice>) -> Option<WorstCase> {
        let statuses = self.of(pool);
        let max_calls = statuses.iter().map(|status| status.max_calls.max(1)).max()?;
        let output = choice
            .and_then(|choice| choice.max_tokens.map(u64::from))
            .or_else(|| statuses.iter().map(|status| u64::from(status.max_tokens)).max())?;
        let overheads = || statuses.iter().map(|status| status.overhead.unwrap_or(UNSTATED));
        let request = |overhead: pb::RequestOverhead| {
            let growth = u64::from(overhead.bytes_per_ask_byte.max(1));
            (payload_bytes as u64)
                .saturating_mul(growth)
                .saturating_add(overhead.request_bytes)
        };
        let input = overheads().map(request).max()?;
        let repair = overheads().map(|overhead| overhead.repair_bytes).max()?;
        let prices = statuses.iter().map(|status| Used::by(status, choice).price);
        let price = prices.clone().flatten().reduce(Price::max).unwrap_or_default();
        let priced = prices.clone().all(|price| price.is_some());
        let repeats = statuses.iter().map(|status| status.max_repeats).max()?;
        let tokens = [input, output, repair];
        Some(WorstCase::of([max_calls, repeats], tokens, price, priced))
    }

    /// Models that may answer a pool's jobs and whose price nobody knows, as `pool endpoint/model`.
    pub fn unpriced(&self, pool: &Pool, choice: Option<&pb::ModelChoice>) -> BTreeSet<String> {
        let used = self.of(pool).iter().map(|status| Used::by(status, choice));
        used.filter(|used| used.price.is_none())
            .map(|used| format!("{pool} {}/{}", used.endpoint, used.model))
            .collect()
    }

    /// What a million tokens of a pool cost at most, in billionths of a US dollar, 0 where unknown; none while there is no agent.
    pub fn price(&self, pool: &Pool) -> Option<u64> {
        let dearest = |status: &pb::AgentStatus| status.input_price.max(status.output_price).unwrap_or(0);
        self.of(pool).iter().map(dearest).max()
    }
}

/// What keeps an agent from using a model: its outage, or what the agent cannot do whatever the model.
fn trouble<'a>(status: &'a pb::AgentStatus, used: &Used<'_>) -> Option<&'a str> {
    let of = |endpoint: &str, model: &str| {
        let mut outages = status.outages.iter();
        outages.find(|out| (out.endpoint.as_str(), out.model.as_str()) == (endpoint, model))
    };
    match of(used.endpoint, used.model) {
        Some(out) => Some(&out.words),
        // Of its usual model alone.
        None if of(&status.endpoint, &status.model).is_some() => None,
        None => Some(status.trouble.as_str()).filter(|words| !words.is_empty()),
    }
}

/// The price of a million tokens in billionths of a US dollar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Price {
    input: u64,
    output: u64,
}

impl Price {
    fn max(self, other: Price) -> Price {
        Price {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
        }
    }
}

/// The model that an agent will use.
pub struct Used<'a> {
    /// Its endpoint's name.
    pub endpoint: &'a str,
    /// Its name.
    pub model: &'a str,
    price: Option<Price>,
}

impl<'a> Used<'a> {
    /// By the agent of this status, with `choice` over its own model.
    pub fn by(status: &'a pb::AgentStatus, choice: Option<&'a pb::ModelChoice>) -> Self {
        let or = |chosen: Option<&'a String>, own: &'a str| {
            chosen.filter(|chosen| !chosen.is_empty()).map_or(own, String::as_str)
        };
        let endpoint = or(choice.map(|choice| &choice.endpoint), &status.endpoint);
        let model = or(choice.map(|choice| &choice.model), &status.model);
        let price = if (endpoint, model) == (status.endpoint.as_str(), status.model.as_str()) {
            status
                .input_price
                .zip(status.output_price)
                .map(|(input, output)| Price { input, output })
        } else {
            let known = status
                .prices
                .iter()
                .find(|price| (endpoint, model) == (price.endpoint.as_str(), price.model.as_str()));
            known.map(|known| Price {
                input: known.input_price,
                output: known.output_price,
            })
        };
        Used { endpoint, model, price }
    }
}

/// Says that a run under a cap in USD does not buy of a model, given as `pool endpoint/model`.
pub fn price_unknown(model: &str) -> String {
    format!(
        "the price of {model} is unknown, and the run has a cap in USD: write it into [endpoints.NAME.prices.\"MODEL\"] of the agents, set another model, or lift the cap"
    )
}

/// Says that jobs wait and nobody takes them.
pub fn nobody(pool: &Pool) -> String {
    let Pool { role, name } = pool;
    match name.as_str() {
        "" => format!("no {role} answers: start one (sipdo-{role})"),
        name => format!("no {role} of the pool {name} answers: start one (sipdo-{role} --pool {name})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTRUCTIONS: u64 = UNSTATED.request_bytes;
    const REPAIR: u64 = UNSTATED.repair_bytes;

    fn status(max_calls: u32, price: u64) -> pb::AgentStatus {
        pb::AgentStatus {
            role: "checker".into(),
            max_tokens: 100,
            max_calls,
            input_price: Some(price),
            output_price: Some(price),
            ..Default::default()
        }
    }

    #[test]
    fn a_repeat_of_a_request_is_reserved_as_far_as_there_is_room() {
        let repeating = pb::AgentStatus {
            max_repeats: 1,
            ..status(3, 0)
        };
        let worst = Roster::new(vec![repeating])
            .worst_case(&Role::Checker.into(), 1_000, None)
            .unwrap();
        let repair = 100 + REPAIR;
        let tokens = |calls: u64, repairs: u64| calls * (1_000 + INSTRUCTIONS + 100) + repairs * repair;
        assert_eq!((worst.max_calls, worst.amount.tokens), (4, tokens(4, 1 + 2 + 2)));
        let of = |calls: u64| (worst.within(calls).amount.calls, worst.within(calls).amount.tokens);
        assert_eq!(of(3), (3, tokens(3, 1 + 2)), "a repeat is given up before a repair");
        assert_eq!(of(1), (1, tokens(1, 0)));
        assert_eq!(worst.within(9), worst);
    }

    #[test]
    fn the_dearest_agent_and_every_repair_are_reserved() {
        let roster = Roster::new(vec![status(1, 1_000_000_000), status(3, 2_000_000_000)]);
        let worst = roster.worst_case(&Role::Checker.into(), 1_000, None).unwrap();
        let input = 3 * (1_000 + INSTRUCTIONS) + (100 + REPAIR) * (1 + 2);
        assert_eq!(worst.max_calls, 3);
        assert_eq!(worst.amount.tokens, input + 300);
        assert_eq!(worst.amount.nano_usd, input * 2_000 + 300 * 2_000 + 2);
        let plain = roster.worst_case(&Role::Checker.into(), 1_000, None).unwrap().within(1);
        assert_eq!((plain.max_calls, plain.amount.calls), (1, 1));
        assert_eq!(plain.amount.tokens, 1_000 + INSTRUCTIONS + 100);
        assert_eq!(plain.amount.nano_usd, plain.amount.tokens * 2_000 + 2);
        assert_eq!((worst.within(9), worst.within(0)), (worst, plain));
        assert_eq!(
            roster.worst_case(&Role::Learner.into(), 1, None),
            None,
            "no agent, no price"
        );
    }

    #[test]
    fn an_agent_is_reserved_for_by_the_overhead_that_it_states() {
        let stated = |request_bytes, bytes_per_ask_byte, repair_bytes| pb::AgentStatus {
            overhead: Some(pb::RequestOverhead {
                request_bytes,
                bytes_per_ask_byte,
                repair_bytes,
            }),
            ..status(2, 0)
        };
        let tokens = |statuses: Vec<pb::AgentStatus>| {
            let worst = Roster::new(statuses).worst_case(&Role::Checker.into(), 1_000, None);
            worst.unwrap().amount.tokens
        };
        assert_eq!(tokens(vec![stated(10, 2, 7)]), 2 * 2_010 + (100 + 7) + 2 * 100);
        let largest = 2 * 2_010 + (100 + 70) + 2 * 100;
        assert_eq!(
            tokens(vec![stated(10, 2, 7), stated(20, 1, 70)]),
            largest,
            "over all agents"
        );
        let older = 2 * (1_000 + INSTRUCTIONS) + (100 + REPAIR) + 2 * 100;
        assert_eq!(
            tokens(vec![stated(10, 2, 7), status(2, 0)]),
            older,
            "one of an older version"
        );
    }

    #[test]
    fn a_model_that_is_chosen_is_reserved_for_at_its_own_price() {
        let dear = pb::ModelPrice {
            endpoint: "cloud".into(),
            model: "dear".into(),
            input_price: 9_000_000_000,
            output_price: 30_000_000_000,
        };
        let at_home = pb::AgentStatus {
            endpoint: "cloud".into(),
            model: "cheap".into(),
            prices: vec![dear],
            ..status(1, 1_000_000_000)
        };
        let roster = Roster::new(vec![at_home]);
        let chosen = |endpoint: &str, model: &str| pb::ModelChoice {
            endpoint: endpoint.into(),
            model: model.into(),
            ..Default::default()
        };
        let pool = Role::Checker.into();
        let prices = |choice: Option<&pb::ModelChoice>| {
            let worst = roster.worst_case(&pool, 0, choice).unwrap();
            worst.priced.then_some((worst.price.input, worst.price.output))
        };
        assert_eq!(prices(None), Some((1_000_000_000, 1_000_000_000)));
        assert_eq!(prices(Some(&chosen("", "dear"))), Some((9_000_000_000, 30_000_000_000)));
        let worst = roster.worst_case(&pool, 0, Some(&chosen("", "dear"))).unwrap();
        assert_eq!(worst.amount.nano_usd, INSTRUCTIONS * 9_000 + 100 * 30_000 + 2);
        let elsewhere = chosen("local", "dear");
        assert_eq!(prices(Some(&elsewhere)), None, "another endpoint has other prices");
        let unpriced = roster.unpriced(&pool, Some(&elsewhere));
        assert_eq!(unpriced, ["checker local/dear".to_owned()].into());
        let worst = roster.worst_case(&pool, 0, Some(&elsewhere)).unwrap();
        assert_eq!(worst.amount.nano_usd, 0, "what is unknown is no amount");
        assert!(roster.unpriced(&pool, None).is_empty());
    }

    #[test]
    fn a_pool_is_reserved_for_by_its_own_agents() {
        let big = pb::AgentStatus {
            pool: "big".into(),
            max_tokens: 9_000,
            agent: "b".into(),
            ..status(1, 0)
        };
        let roster = Roster::new(vec![status(1, 0), big.clone()]);
        let worst = |pool: &str| {
            roster
                .worst_case(&pool.parse().unwrap(), 0, None)
                .map(|worst| worst.amount.tokens)
        };
        assert_eq!(worst("checker"), Some(INSTRUCTIONS + 100));
        assert_eq!(worst("checker_big"), Some(INSTRUCTIONS + 9_000));
        assert_eq!(worst("checker_other"), None);
        let later = Roster::new(vec![big]).with(&roster);
        assert_eq!(
            later.of(&"checker_big".parse().unwrap()).len(),
            1,
            "nobody is counted twice"
        );
        assert_eq!(later.of(&Role::Checker.into()).len(), 1);
    }

    #[test]
    fn one_healthy_agent_is_enough() {
        let broken = pb::AgentStatus {
            trouble: "401".into(),
            ..status(1, 0)
        };
        let trouble = |statuses: Vec<pb::AgentStatus>| Roster::new(statuses).trouble(&Role::Checker.into(), None);
        assert!(trouble(vec![broken.clone()]).is_some());
        assert!(trouble(vec![broken, status(1, 0)]).is_none());
    }

    #[test]
    fn an_outage_holds_up_those_who_use_that_model_alone() {
        let out = |model: &str| pb::Outage {
            endpoint: "e".into(),
            model: model.into(),
            words: format!("no {model}"),
        };
        let trouble = |usual: &str, trouble: &str, outages: Vec<pb::Outage>, chosen: &str| {
            let status = pb::AgentStatus {
                endpoint: "e".into(),
                model: usual.into(),
                trouble: trouble.into(),
                outages,
                ..status(1, 0)
            };
            let choice = pb::ModelChoice {
                model: chosen.into(),
                ..Default::default()
            };
            Roster::new(vec![status]).trouble(&Role::Checker.into(), Some(&choice))
        };
        let of_run = Some("checker (e/set): no set".to_owned());
        assert_eq!(trouble("own", "", vec![out("set")], "set"), of_run);
        assert_eq!(trouble("own", "", vec![out("set")], ""), None);
        assert_eq!(trouble("own", "no own", vec![out("own")], "set"), None);
        let of_disk = Some("checker (e/set): no space".to_owned());
        assert_eq!(trouble("own", "no space", Vec::new(), "set"), of_disk);
    }
}
