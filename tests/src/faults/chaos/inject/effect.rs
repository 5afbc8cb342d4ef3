//! By what it is known that a fault has struck.

use super::{
    super::{
        fault_log::now_ms,
        kind::{Kind, Room},
    },
    Injector, Recovery,
};
use crate::cluster::client::connect;
use anyhow::Result;
use sipdo_protocol::pb;
use std::{
    mem,
    time::{Duration, Instant},
};

/// What is to be seen.
#[derive(Debug, Clone)]
pub(super) enum Effect {
    /// One more dead letter whose reason has these words.
    DeadLetter(&'static str),
    /// A run says that it waits for something with these words.
    RunWaits(&'static str),
    /// Every stream has a leader, and not this one.
    StreamsLed { not: Option<usize> },
    /// So many more agents have died of a request: the first that hung since then.
    AgentDeaths {
        since_ms: u64,
        request: Option<String>,
        left: usize,
    },
}

/// A fault that counts when its effect is seen.
#[derive(Debug)]
pub(super) struct Awaited {
    pub kind: Kind,
    effect: Effect,
    /// What mends it, and how long after the effect.
    pub then: Option<(u64, Recovery)>,
    since: Instant,
    since_ms: u64,
    looked: Instant,
}

/// How often it is looked for an effect.
const LOOK: Duration = Duration::from_millis(200);
/// What has not been seen so long after is wrong: longer than any patience.
const UNSEEN: Duration = Duration::from_secs(120);
/// A full server that nobody has met so long after has not struck: no run had
/// anything to write, or not every agent of a role.
const UNMET: Duration = Duration::from_secs(60);
/// A process that stands still does not answer.
const ANSWER: Duration = Duration::from_secs(1);
/// More dead letters than any round makes.
const LETTERS: usize = 500;

impl Awaited {
    pub fn new(kind: Kind, effect: Effect, then: Option<(u64, Recovery)>) -> Self {
        let now = Instant::now();
        Awaited {
            kind,
            effect,
            then,
            since: now,
            since_ms: now_ms(),
            looked: now,
        }
    }
}

impl Injector {
    /// Looks for the effects of what may have struck.
    ///
    /// # Errors
    /// A process cannot be hurt.
    pub async fn look(&mut self) -> Result<()> {
        for mut awaited in mem::take(&mut self.awaited) {
            if awaited.looked.elapsed() < LOOK {
                self.awaited.push(awaited);
                continue;
            }
            awaited.looked = Instant::now();
            let seen = self.shows(&mut awaited.effect).await?;
            let waited = awaited.since.elapsed();
            let unmet = matches!(awaited.kind, Kind::Room(Room::Server)) && waited > UNMET;
            if !seen && !unmet && waited < UNSEEN {
                self.awaited.push(awaited);
                continue;
            }
            if seen {
                self.count(awaited.kind);
            } else if unmet {
                self.round.schedule.put_back(self.round.ground, awaited.kind);
            } else {
                let (name, effect) = (awaited.kind.name(), &awaited.effect);
                self.log.broken.push(format!("no effect of {name}: {effect:?}"));
            }
            if let Kind::Node(_) = awaited.kind {
                self.log.outages.push((awaited.since_ms, now_ms()));
            }
            if let Some((ms, recovery)) = awaited.then {
                self.later(ms, recovery);
            }
        }
        Ok(())
    }

    async fn shows(&mut self, effect: &mut Effect) -> Result<bool> {
        Ok(match effect {
            Effect::DeadLetter(words) => self.has_letter(words).await,
            Effect::RunWaits(words) => self.waits(words).await,
            Effect::StreamsLed { not } => self.is_led(*not),
            Effect::AgentDeaths {
                since_ms,
                request,
                left,
            } => {
                *left = self.die_of(*since_ms, request, *left).await?;
                *left == 0
            }
        })
    }

    /// Whether there is a dead letter with these words that is the effect of nothing else yet.
    async fn has_letter(&mut self, words: &'static str) -> bool {
        if self.no_server {
            return false;
        }
        let asked = tokio::time::timeout(ANSWER, self.site.bus.dead_letters(None, LETTERS)).await;
        let Ok(Ok((letters, _))) = asked else { return false };
        let found = letters.iter().filter(|letter| letter.reason.contains(words)).count();
        let seen = self.letters.entry(words).or_default();
        let one_more = found > *seen;
        *seen += usize::from(one_more);
        one_more
    }

    /// Whether any coordinator says that a run waits for something with these words.
    async fn waits(&self, words: &str) -> bool {
        for (_, api) in &self.site.cluster.coordinators {
            let asked = tokio::time::timeout(ANSWER, async {
                let runs = connect(*api).await?.list_runs(pb::ListRunsRequest::default()).await?;
                anyhow::Ok(runs.into_inner().runs)
            });
            if let Ok(Ok(runs)) = asked.await
                && runs.iter().any(|run| run.waiting.contains(words))
            {
                return true;
            }
        }
        false
    }
}
