//! What the agents say of themselves, and what a job can cost at worst with the dearest of them.

use sipdo_domain::{Amount, Pool, Role};
use sipdo_protocol::pb;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes that a role's own instructions and output schema add to an ask, at most.
const INSTRUCTIONS: u64 = 8_000;
/// Tokens that one repair adds to the conversation beyond the answer that it repairs.
const REPAIR: u64 = 400;

/// The newest roll call, by pool.
#[derive(Debug, Default, Clone)]
pub struct Roster {
    cards: BTreeMap<Pool, Vec<pb::AgentCard>>,
    led: BTreeMap<String, u32>,
    /// What keeps a coordinator from storing its decisions.
    leader_troubles: BTreeMap<String, String>,
}

/// The worst case of one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Worst {
    /// What is reserved.
    pub amount: Amount,
    /// Completions that the agent may buy.
    pub max_calls: u32,
    /// A million input tokens at most, in billionths of a US dollar.
    input_price: u64,
    /// A million output tokens at most.
    output_price: u64,
}

impl Worst {
    /// The prices that a reservation covers: those of now, or lower ones in proportion where less was reserved before a price rose.
    pub fn prices(&self, reserved: Amount) -> pb::Prices {
        let (part, whole) = (reserved.nano_usd.min(self.amount.nano_usd), self.amount.nano_usd.max(1));
        let covered = |price: u64| {
            let covered = u128::from(price) * u128::from(part) / u128::from(whole);
            u64::try_from(covered).unwrap_or(u64::MAX)
        };
        pb::Prices {
            input: covered(self.input_price),
            output: covered(self.output_price),
        }
    }
}

impl Roster {
    /// Takes the cards of a roll call. Of coordinators only the number of their runs and their trouble are kept.
    pub fn new(cards: Vec<pb::AgentCard>) -> Self {
        let mut roster = Roster::default();
        for card in cards {
            if card.role.parse::<Role>().is_err() {
                if !card.trouble.is_empty() {
                    roster.leader_troubles.insert(card.agent.clone(), card.trouble);
                }
                roster.led.insert(card.agent, card.busy);
                continue;
            }
            let pool = card.role.parse::<Role>().and_then(|role| Pool::new(role, &card.pool));
            if let Ok(pool) = pool {
                roster.cards.entry(pool).or_default().push(card);
            }
        }
        roster
    }

    /// The cards of a pool.
    pub fn of(&self, pool: &Pool) -> &[pb::AgentCard] {
        self.cards.get(pool).map(Vec::as_slice).unwrap_or_default()
    }

    /// Jobs that the agents of a pool can work on at a time.
    pub fn slots(&self, pool: &Pool) -> usize {
        self.of(pool).iter().map(|card| card.slots as usize).sum()
    }

    /// Runs led by other coordinators than this one.
    pub fn led_by_others(&self, own: &str) -> u32 {
        self.led.iter().filter(|(id, _)| *id != own).map(|(_, runs)| runs).sum()
    }

    /// Whether somebody of a pool takes suspects from their own queue.
    pub fn takes_suspects(&self, pool: &Pool) -> bool {
        self.of(pool).iter().any(|card| card.takes_suspects)
    }

    /// What keeps this coordinator from storing its decisions, as it says itself.
    pub fn leader_trouble(&self, coordinator: &str) -> Option<String> {
        self.leader_troubles.get(coordinator).cloned()
    }

    /// The pools that somebody belongs to.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.cards.keys()
    }

    /// These cards, and of the others those whose agents are not among them.
    pub fn with(mut self, other: &Roster) -> Self {
        let known: BTreeSet<String> = self.cards.values().flatten().map(|card| card.agent.clone()).collect();
        for (pool, cards) in &other.cards {
            let missed = cards.iter().filter(|card| !known.contains(&card.agent)).cloned();
            self.cards.entry(pool.clone()).or_default().extend(missed);
        }
        self
    }

    /// The trouble that every agent of a pool has, if each has one: nobody can work.
    pub fn trouble(&self, pool: &Pool) -> Option<String> {
        let cards = self.of(pool);
        let first = cards.first()?;
        cards
            .iter()
            .all(|card| !card.trouble.is_empty())
            .then(|| format!("{pool} ({}/{}): {}", first.endpoint, first.model, first.trouble))
    }

    /// The worst case of a job with this many bytes of payload, over all agents that may take it; none while there is no agent.
    ///
    /// A token is at least one byte of text, so bytes bound tokens: dear, but it makes the cap hard. Repairs send the whole
    /// conversation again.
    pub fn worst(&self, pool: &Pool, payload_bytes: usize, choice: Option<&pb::ModelChoice>) -> Option<Worst> {
        let cards = self.of(pool);
        let most = |value: fn(&pb::AgentCard) -> u64| cards.iter().map(value).max();
        let max_calls = most(|card| u64::from(card.max_calls.max(1)))?;
        let output = choice
            .and_then(|choice| choice.max_tokens.map(u64::from))
            .or_else(|| most(|card| u64::from(card.max_tokens)))?;
        let input = payload_bytes as u64 + INSTRUCTIONS;
        let repairs: u64 = (0..max_calls).map(|repair| repair * (output + REPAIR)).sum();
        let (input_tokens, output_tokens) = (input * max_calls + repairs, output * max_calls);
        let price = |tokens: u64, per_million: u64| u128::from(tokens) * u128::from(per_million) / 1_000_000 + 1;
        let input_price = most(|card| card.input_price.unwrap_or(0))?;
        let output_price = most(|card| card.output_price.unwrap_or(0))?;
        let nano_usd = price(input_tokens, input_price) + price(output_tokens, output_price);
        Some(Worst {
            amount: Amount {
                calls: max_calls,
                tokens: input_tokens + output_tokens,
                nano_usd: u64::try_from(nano_usd).unwrap_or(u64::MAX),
            },
            max_calls: u32::try_from(max_calls).unwrap_or(u32::MAX),
            input_price,
            output_price,
        })
    }

    /// What a million tokens of a pool cost at most, in billionths of a US dollar, 0 where unknown; none while there is no agent.
    pub fn price(&self, pool: &Pool) -> Option<u64> {
        let dearest = |card: &pb::AgentCard| card.input_price.max(card.output_price).unwrap_or(0);
        self.of(pool).iter().map(dearest).max()
    }

    /// Names of models of these pools whose price is unknown, as `pool endpoint/model`.
    pub fn unpriced(&self, pools: &BTreeSet<Pool>) -> Vec<String> {
        let mut names: Vec<String> = self
            .cards
            .iter()
            .filter(|(pool, _)| pools.contains(pool))
            .flat_map(|(pool, cards)| cards.iter().map(move |card| (pool, card)))
            .filter(|(_, card)| card.input_price.is_none() || card.output_price.is_none())
            .map(|(pool, card)| format!("{pool} {}/{}", card.endpoint, card.model))
            .collect();
        names.dedup();
        names
    }
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

    fn card(max_calls: u32, price: u64) -> pb::AgentCard {
        pb::AgentCard {
            role: "checker".into(),
            max_tokens: 100,
            max_calls,
            input_price: Some(price),
            output_price: Some(price),
            ..Default::default()
        }
    }

    #[test]
    fn the_dearest_agent_and_every_repair_are_reserved() {
        let roster = Roster::new(vec![card(1, 1_000_000_000), card(3, 2_000_000_000)]);
        let worst = roster.worst(&Role::Checker.into(), 1_000, None).unwrap();
        let input = 3 * (1_000 + INSTRUCTIONS) + (100 + REPAIR) * (1 + 2);
        assert_eq!(worst.max_calls, 3);
        assert_eq!(worst.amount.tokens, input + 300);
        assert_eq!(worst.amount.nano_usd, input * 2_000 + 300 * 2_000 + 2);
        assert_eq!(roster.worst(&Role::Learner.into(), 1, None), None, "no agent, no price");
    }

    #[test]
    fn a_pool_is_reserved_for_by_its_own_agents() {
        let big = pb::AgentCard {
            pool: "big".into(),
            max_tokens: 9_000,
            agent: "b".into(),
            ..card(1, 0)
        };
        let roster = Roster::new(vec![card(1, 0), big.clone()]);
        let worst = |pool: &str| {
            roster
                .worst(&pool.parse().unwrap(), 0, None)
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
        let broken = pb::AgentCard {
            trouble: "401".into(),
            ..card(1, 0)
        };
        assert!(
            Roster::new(vec![broken.clone()])
                .trouble(&Role::Checker.into())
                .is_some()
        );
        assert!(
            Roster::new(vec![broken, card(1, 0)])
                .trouble(&Role::Checker.into())
                .is_none()
        );
    }
}
