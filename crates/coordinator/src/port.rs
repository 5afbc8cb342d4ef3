//! The port [`Agents`] over the bus: asks become requests to the run's leader, who makes jobs of them.

use crate::scheduler::{Answered, Request};
use sipdo_domain::{Ask, Measured, Reply, RunEvent, Signed};
use sipdo_protocol::{job_id, pb};
use sipdo_strategies::{Agents, Stop};
use tokio::sync::{mpsc, oneshot};

/// What the strategy sends to the leader.
#[derive(Debug)]
pub enum Command {
    /// Ask one job.
    Ask(Request),
    /// Record an event.
    Emit(pb::RunEvent, oneshot::Sender<Result<(), Stop>>),
    /// Go over to the conclusion.
    Conclude(oneshot::Sender<Result<(), Stop>>),
}

/// The strategy's end of the channel to the leader.
#[derive(Debug, Clone)]
pub struct BusAgents {
    run: String,
    leader: mpsc::UnboundedSender<Command>,
}

impl BusAgents {
    /// The port of one run. The channel needs no bound: a strategy waits for its own answers.
    pub fn new(run: &str) -> (Self, mpsc::UnboundedReceiver<Command>) {
        let (leader, commands) = mpsc::unbounded_channel();
        (
            BusAgents {
                run: run.to_owned(),
                leader,
            },
            commands,
        )
    }

    async fn send<T>(&self, command: Command, answer: oneshot::Receiver<Result<T, Stop>>) -> Result<T, Stop> {
        let gone = || Stop::Halted("the run's leader is gone".into());
        self.leader.send(command).map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

impl Agents for BusAgents {
    async fn ask(&self, ask: Ask, sample: u32) -> Result<Measured<Signed<Reply>>, Stop> {
        let (pool, operation) = (ask.pool(), ask.operation());
        let ask = pb::Ask::from(ask);
        let job = job_id(&self.run, &ask, sample);
        let (reply, answer) = oneshot::channel::<Answered>();
        self.send(
            Command::Ask(Request {
                job,
                pool,
                operation,
                ask,
                sample,
                reply,
            }),
            answer,
        )
        .await
    }

    async fn emit(&self, run_event: RunEvent) -> Result<(), Stop> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Emit(run_event.into(), reply), answer).await
    }

    async fn conclude(&self) -> Result<(), Stop> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Conclude(reply), answer).await
    }
}
