//! The one door between a strategy and the world.
//!
//! A strategy asks; an ask becomes a job; the same ask is the same job, bought once. What makes it durable is behind the port.

use sipdo_domain::{Ask, Measured, NotMeasured, Reason, Reply, RunEvent, Signed, ask::FromReply};
use std::future::Future;

/// Why a strategy must come to its end: nothing more will be asked. It returns its best so far.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// A cap stands in the way of the next ask; the cap's name.
    #[error("the budget is exhausted: {0}")]
    BudgetExhausted(String),
    /// The user asked for an early end.
    #[error("stopped early")]
    StoppedEarly,
    /// The run is no longer ours (cancelled, or another coordinator leads it): unwind at once, the outcome is thrown away.
    #[error("halted: {0}")]
    Halted(String),
}

/// What a strategy can do.
///
/// Determinism: results come back in any order; a strategy consumes them **in the order asked** (`join_all`), and tells from
/// sequential code, so that a replay makes the same asks and tells the same story.
pub trait Agents: Send + Sync {
    /// Asks one job. `sample` tells apart independent samples of the same ask. Asked again, the same ask answers from the journal.
    fn ask(&self, ask: Ask, sample: u32) -> impl Future<Output = Result<Measured<Signed<Reply>>, Stop>> + Send;

    /// Tells what happened. The k-th telling is recorded once, whatever a replay does.
    fn emit(&self, run_event: RunEvent) -> impl Future<Output = Result<(), Stop>> + Send;

    /// From here on the conclusion is asked: what the budget held back for it is released, and an early stop no longer stops.
    fn conclude(&self) -> impl Future<Output = Result<(), Stop>> + Send;

    /// [`Agents::ask`] for one kind of reply.
    fn ask_for<T: FromReply + Send>(
        &self,
        ask: Ask,
        sample: u32,
    ) -> impl Future<Output = Result<Measured<Signed<T>>, Stop>> + Send {
        async move {
            Ok(match self.ask(ask, sample).await? {
                Err(reason) => Err(reason),
                Ok(signed) => match T::from_reply(signed.value) {
                    Ok(value) => Ok(Signed { value, by: signed.by }),
                    Err(wrong) => Err(NotMeasured::new(Reason::Malformed, wrong.to_string())),
                },
            })
        }
    }
}
