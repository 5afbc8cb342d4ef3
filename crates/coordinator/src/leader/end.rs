//! How a run ends: by its strategy, by its user, or with a reason.

use super::{Leader, failed};
use prost::Message as _;
use sipdo_domain::{Ending, Outcome};
use sipdo_protocol::{pb, pb::State};
use sipdo_strategies::Stop;
use tokio::task::JoinError;

impl Leader<'_> {
    /// Cancels what is queued and in flight.
    pub(super) async fn cancelled(&mut self) -> pb::Ended {
        if let Err(error) = self.context.bus.purge_jobs(&self.run).await {
            tracing::warn!(run = %self.run, %error, "cannot remove the queued jobs of the cancelled run");
        }
        if let Err(error) = self.context.bus.broadcast_cancel(&self.run).await {
            tracing::warn!(run = %self.run, %error, "cannot tell the agents that the run is cancelled");
        }
        pb::Ended {
            state: State::Cancelled.into(),
            outcome: None,
            reason: "cancelled".into(),
        }
    }

    pub(super) fn ending(&self, joined: Result<Result<Outcome, Stop>, JoinError>) -> pb::Ended {
        match joined {
            Ok(Ok(outcome)) => {
                let state = match &outcome.ending {
                    Ending::Finished => State::Finished,
                    Ending::BudgetExhausted(_) => State::BudgetExhausted,
                    Ending::StoppedEarly => State::Stopped,
                };
                let outcome = self.fitting(outcome.into());
                pb::Ended {
                    state: state.into(),
                    outcome: Some(outcome),
                    reason: String::new(),
                }
            }
            Ok(Err(stop)) => failed(stop.to_string()),
            Err(error) => failed(format!("the strategy failed: {error}")),
        }
    }

    /// An outcome that fits into one message. The recorded events hold prompts and examples too; corrections are left out first.
    fn fitting(&self, mut outcome: pb::Outcome) -> pb::Outcome {
        let limit = self.context.bus.max_message() * 9 / 10;
        if outcome.encoded_len() > limit {
            outcome.corrections.clear();
            outcome
                .warnings
                .push("the outcome was too large for one message: only the journal holds the corrections".into());
        }
        if outcome.encoded_len() > limit {
            outcome.synthetic.clear();
            outcome.warnings.push(
                "the outcome was too large for one message: only the journal holds the synthetic examples".into(),
            );
        }
        outcome
    }
}
