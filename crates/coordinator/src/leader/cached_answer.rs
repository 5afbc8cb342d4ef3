//! Answers that the strategy asks for again after a takeover, read from the run's stream: a leader keeps no more of a result than its
//! place there.

use super::Leader;
use crate::scheduler::CachedAnswer;
use anyhow::{Context as _, Result};
use prost::Message as _;
use sipdo_bus::Bus;
use sipdo_protocol::pb;

/// Answers that are read at a time.
const AT_ONCE: usize = 256;

impl Leader<'_> {
    /// Reads what is asked again, so much at a time.
    pub(super) fn read_cached_answers(&mut self) {
        while self.cached_answers.len() < AT_ONCE
            && let Some(cached) = self.scheduler.next_cached_answer()
        {
            self.cached_answers
                .push(Box::pin(read(self.context.bus.clone(), cached)));
        }
    }
}

async fn read(bus: Bus, cached: CachedAnswer) -> Result<()> {
    let message = bus.run_message(cached.sequence).await?;
    let result = pb::JobResult::decode(message.payload).context("a result that was read before cannot be decoded")?;
    cached.answer(result);
    Ok(())
}
