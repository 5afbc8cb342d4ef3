//! Who is alive. Every process answers for itself, and the server knows at once when there is nobody left to answer.

use std::time::Duration;

use async_nats::{Client, RequestErrorKind, Subject};
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::connection::Bus;
use crate::error::BusError;
use crate::subjects::{self, AgentId, ROLL_CALL};

/// Longer than any process takes to come back to a server that is there.
const COME_BACK: Duration = Duration::from_millis(600);
/// After our own connection was made, others are given this long to make theirs.
const SETTLE: Duration = Duration::from_secs(3);

/// Whether a process is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Liveness {
    /// It answered, with its card.
    Alive(Bytes),
    /// The server has nobody of that name: the process has ended.
    Dead,
    /// It is connected, or was until just now, and does not answer: paused, overloaded, or cut off.
    Silent,
}

/// Answers for this process until it is dropped.
#[derive(Debug)]
pub struct Presence(JoinHandle<()>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Bus {
    /// Answers, in the name of `agent`, everybody who asks for it or for all, with the card that `card` gives at that
    /// moment. The card is some bytes of the caller's: role, model, version, load.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn announce(
        &self,
        agent: &AgentId,
        card: impl Fn() -> Bytes + Send + Sync + 'static,
    ) -> Result<Presence, BusError> {
        const DOING: &str = "announcing this process";
        let failed = |error| BusError::failed(DOING, error);
        let own = self.client().subscribe(subjects::ping(agent)).await.map_err(failed)?;
        let all = self.client().subscribe(ROLL_CALL).await.map_err(failed)?;
        self.flush().await?;
        let client = self.client().clone();
        let mut asked = futures::stream::select(own, all);
        Ok(Presence(tokio::spawn(async move {
            while let Some(question) = asked.next().await {
                if let Some(reply) = question.reply {
                    answer(&client, reply, card()).await;
                }
            }
        })))
    }

    /// The cards of all processes that answer within `wait`.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn roll_call(&self, wait: Duration) -> Result<Vec<Bytes>, BusError> {
        const DOING: &str = "asking who is there";
        let inbox = self.client().new_inbox();
        let answers = self
            .client()
            .subscribe(inbox.clone())
            .await
            .map_err(|error| BusError::failed(DOING, error))?;
        let sent = self.client().publish_with_reply(ROLL_CALL, inbox, Bytes::new()).await;
        sent.map_err(|error| BusError::failed(DOING, error))?;
        // Where nobody listens the server itself answers, with a status.
        let cards = answers
            .filter(|answer| std::future::ready(answer.status.is_none()))
            .map(|answer| answer.payload);
        Ok(cards.take_until(tokio::time::sleep(wait)).collect().await)
    }

    /// Whether `agent` is alive; waits at most `wait` for its answer.
    ///
    /// Nobody there is believed only when it is said twice, with time for a process in between to come back, and only
    /// when our own connection is not itself brand new: after a restart of the server all are gone for a moment.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn is_alive(&self, agent: &AgentId, wait: Duration) -> Result<Liveness, BusError> {
        self.is_alive_after(agent, wait, COME_BACK, SETTLE).await
    }

    /// As [`Bus::is_alive`], for whom being wrong about a death does no harm: `come_back` is the time in between, `settle` that
    /// since our own connection was made.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn is_alive_after(
        &self,
        agent: &AgentId,
        wait: Duration,
        come_back: Duration,
        settle: Duration,
    ) -> Result<Liveness, BusError> {
        match self.ask(agent, wait).await? {
            Liveness::Dead => {}
            known => return Ok(known),
        }
        let link = self.link().borrow().clone();
        let settled = if link.connected {
            link.since + settle
        } else {
            Instant::now() + settle
        };
        tokio::time::sleep_until(settled.max(Instant::now() + come_back)).await;
        self.ask(agent, wait).await
    }

    async fn ask(&self, agent: &AgentId, wait: Duration) -> Result<Liveness, BusError> {
        let request = async_nats::Request::new().payload(Bytes::new()).timeout(Some(wait));
        match self.client().send_request(subjects::ping(agent), request).await {
            Ok(answer) => Ok(Liveness::Alive(answer.payload)),
            Err(error) => match error.kind() {
                RequestErrorKind::NoResponders => Ok(Liveness::Dead),
                RequestErrorKind::TimedOut => Ok(Liveness::Silent),
                _ => Err(BusError::failed("asking whether a process is alive", error)),
            },
        }
    }
}

async fn answer(client: &Client, reply: Subject, card: Bytes) {
    if let Err(error) = client.publish(reply, card).await {
        tracing::debug!(%error, "could not answer who this is");
    }
}
