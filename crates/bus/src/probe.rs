//! Asking one process to try something and to say what came of it: a model that an operator wants to set.
//!
//! Nothing is kept of it: who asks waits, and where nobody answers nothing was tried.

use std::future::Future;
use std::time::Duration;

use async_nats::RequestErrorKind;
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::task::JoinHandle;

use crate::connection::Bus;
use crate::error::BusError;
use crate::subjects::{self, AgentId};

/// Answers for this process until it is dropped.
#[derive(Debug)]
pub struct Probes(JoinHandle<()>);

impl Drop for Probes {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Bus {
    /// Answers, in the name of `agent`, those who ask for a trial. One at a time: trials may cost something.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn answer_probes<F, Answer>(&self, agent: &AgentId, attempt: F) -> Result<Probes, BusError>
    where
        F: Fn(Bytes) -> Answer + Send + Sync + 'static,
        Answer: Future<Output = Bytes> + Send,
    {
        let asked = self.client().subscribe(subjects::probe(agent)).await;
        let mut asked = asked.map_err(|error| BusError::failed("offering to try models", error))?;
        self.flush().await?;
        let client = self.client().clone();
        Ok(Probes(tokio::spawn(async move {
            while let Some(question) = asked.next().await {
                let Some(reply) = question.reply else { continue };
                let answer = attempt(question.payload).await;
                if let Err(error) = client.publish(reply, answer).await {
                    tracing::debug!(%error, "could not say what came of a trial");
                }
            }
        })))
    }

    /// Asks `agent` for a trial; none where it does not answer within `wait`, or there is nobody of that name.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn probe(&self, agent: &AgentId, what: Bytes, wait: Duration) -> Result<Option<Bytes>, BusError> {
        let request = async_nats::Request::new().payload(what).timeout(Some(wait));
        match self.client().send_request(subjects::probe(agent), request).await {
            Ok(answer) => Ok(Some(answer.payload)),
            Err(error) => match error.kind() {
                RequestErrorKind::NoResponders | RequestErrorKind::TimedOut => Ok(None),
                _ => Err(BusError::failed("asking for a trial", error)),
            },
        }
    }
}
