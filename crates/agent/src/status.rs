//! What an agent says of itself when it is called by name or in a roll call.

use crate::context::{Context, MAX_REPEATS};
use bytes::Bytes;
use prost::Message as _;
use sipdo_protocol::pb;
use std::sync::LazyLock;

/// The status of this moment.
pub(crate) fn status(context: &Context) -> Bytes {
    let usual = context.models.usual();
    let (settings, price, trouble) = match &usual {
        Ok(target) => (target.settings(), target.model.price(), target.circuit.trouble()),
        Err(why) => (&context.settings.model, None, Some(why.to_string())),
    };
    let trouble = context.publisher.gate.trouble().or(trouble);
    let status = pb::AgentStatus {
        agent: context.publisher.id.to_string(),
        role: context.settings.role.name().to_owned(),
        endpoint: settings.endpoint.clone(),
        model: settings.model.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        busy: context.counters.in_work(),
        slots: context.settings.slots,
        done: context.counters.done(),
        started_ms: context.counters.started_ms(),
        max_tokens: settings.max_tokens,
        input_price: price.map(|price| price.dearest_input().0),
        output_price: price.map(|price| price.output_per_million.0),
        endpoints: context.models.endpoints().cloned().collect(),
        programs: context.settings.programs.keys().cloned().collect(),
        max_calls: context.max_calls(),
        max_repeats: MAX_REPEATS,
        trouble: trouble.unwrap_or_default(),
        host: HOST.clone(),
        pool: context.settings.pool.name.clone(),
        takes_suspects: true,
        prices: context.models.prices(),
        outages: context.models.outages(settings),
        overhead: Some(context.request_overhead()),
        notes: context.models.notes(),
    };
    status.encode_to_vec().into()
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
