//! Answers of long ago, read again from the run's stream: a leader keeps no more of a result than its place there.

use super::Leader;
use crate::scheduler::CachedAnswer;
use anyhow::{Context as _, Result};
use futures::future::BoxFuture;
use prost::Message as _;
use sipdo_bus::Bus;
use sipdo_protocol::pb;

/// Answers that are read at a time.
const AT_ONCE: usize = 256;

/// An answer on its way.
pub(super) type ReadingAnswer = BoxFuture<'static, Result<()>>;

impl Leader<'_> {
    /// Reads what is asked again, so much at a time.
    pub(super) fn recall(&mut self) {
        while self.cached_answers.len() < AT_ONCE
            && let Some(recall) = self.scheduler.recall()
        {
            self.cached_answers
                .push(Box::pin(read(self.context.bus.clone(), recall)));
        }
    }
}

async fn read(bus: Bus, recall: CachedAnswer) -> Result<()> {
    let message = bus.run_message(recall.sequence).await?;
    let result = pb::JobResult::decode(message.payload).context("a result that was read before cannot be decoded")?;
    recall.answer(result);
    Ok(())
}
