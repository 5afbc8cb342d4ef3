//! What an agent says of itself when it is called by name or in a roll call, and the counts behind it.

use crate::agent::Agent;
use bytes::Bytes;
use prost::Message as _;
use sipdo_protocol::pb;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Counts of one process.
#[derive(Debug)]
pub(crate) struct Counters {
    busy: AtomicU32,
    done: AtomicU64,
    started_ms: u64,
}

/// Counts a job as in work until it is dropped.
#[derive(Debug)]
pub(crate) struct Busy<'a>(&'a Counters);

impl Counters {
    pub fn new() -> Self {
        Self {
            busy: AtomicU32::new(0),
            done: AtomicU64::new(0),
            started_ms: now_ms(),
        }
    }

    /// One more job is in work.
    pub fn busy(&self) -> Busy<'_> {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(self)
    }

    /// One more job is finished.
    pub fn finished(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Agent {
    /// The card of this moment.
    pub fn status(&self) -> Bytes {
        let usual = self.models.usual();
        let (settings, price, trouble) = match &usual {
            Ok(target) => (target.settings(), target.model.price(), target.circuit.trouble()),
            Err(why) => (&self.settings.model, None, Some(why.to_string())),
        };
        let trouble = self.purchase_gate.trouble().or(trouble);
        let status = pb::AgentStatus {
            agent: self.id.to_string(),
            role: self.settings.role.name().to_owned(),
            endpoint: settings.endpoint.clone(),
            model: settings.model.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            busy: self.counters.busy.load(Ordering::Relaxed),
            slots: self.settings.slots,
            done: self.counters.done.load(Ordering::Relaxed),
            started_ms: self.counters.started_ms,
            max_tokens: settings.max_tokens,
            input_price: price.map(|price| price.dearest_input().0),
            output_price: price.map(|price| price.output_per_million.0),
            endpoints: self.models.endpoints().cloned().collect(),
            programs: self.settings.programs.keys().cloned().collect(),
            max_calls: self.max_calls(),
            trouble: trouble.unwrap_or_default(),
            host: HOST.clone(),
            pool: self.settings.pool.name.clone(),
            takes_suspects: true,
            prices: self.models.prices(),
            outages: self.models.outages(settings),
        };
        status.encode_to_vec().into()
    }
}

/// Unix time in milliseconds.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The host's name; empty where it cannot be told without asking anybody.
static HOST: LazyLock<String> = LazyLock::new(|| {
    let files = ["/proc/sys/kernel/hostname", "/etc/hostname"];
    let from_file = || files.iter().find_map(|path| std::fs::read_to_string(path).ok());
    std::env::var("HOSTNAME")
        .ok()
        .or_else(from_file)
        .unwrap_or_default()
        .trim()
        .to_owned()
});
