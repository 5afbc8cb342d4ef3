//! Runs as a whole: creating one, listing them, telling them what their user wants, calling them off.

use futures::{Stream, StreamExt as _};

use crate::connection::Bus;
use crate::error::BusError;
use crate::journal::{AppendError, Journal};
use crate::message::{NewMessage, Stored};
use crate::subjects::{self, RUN_STREAM, RunId};

/// Why a run was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateRunError {
    /// There is a run of this name; its first entry tells whether it is the same request sent twice.
    #[error("the run {run} exists already")]
    Exists {
        /// Which run.
        run: RunId,
        /// The first entry of its log.
        first: Box<Stored>,
    },
    /// Everything else.
    #[error(transparent)]
    Bus(#[from] BusError),
}

impl Bus {
    /// Creates `run` by the first entry of its log, and returns the entry's sequence.
    ///
    /// # Errors
    /// [`CreateRunError::Exists`] with the first entry, if the run is there already, by whomever.
    pub async fn create_run(&self, run: &RunId, first: NewMessage) -> Result<u64, CreateRunError> {
        let id = format!("created.{}", self.unique());
        match Journal::open(self, run).append(first, &id, 0).await {
            Ok(seq) => Ok(seq),
            Err(AppendError::Bus(error)) => Err(error.into()),
            Err(AppendError::Fenced { .. } | AppendError::IdUsed { .. }) => {
                let first = self.first_log(run).await?;
                let gone = || BusError::failed("creating a run", "its log was removed at the same moment");
                Err(CreateRunError::Exists {
                    run: run.clone(),
                    first: Box::new(first.ok_or_else(gone)?),
                })
            }
        }
    }

    /// The last log entry of every run there is, oldest first.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn list_runs(&self) -> Result<Vec<(RunId, Stored)>, BusError> {
        let last = self.last_of_each(RUN_STREAM, subjects::ALL_LOGS).await?;
        Ok(last
            .into_iter()
            .filter_map(|stored| Some((subjects::run_place(&stored.subject)?.0, stored)))
            .collect())
    }

    /// The first log entry of `run`, if the run exists.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn first_log(&self, run: &RunId) -> Result<Option<Stored>, BusError> {
        self.first_from_leader(RUN_STREAM, &subjects::run_log(run)).await
    }

    /// The sequence of the last message of `run`, of whatever kind, if there is any.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn last_sequence(&self, run: &RunId) -> Result<Option<u64>, BusError> {
        let last = self.last_from_leader(RUN_STREAM, &subjects::run_all(run)).await?;
        Ok(last.map(|last| last.seq))
    }

    /// The last log entry of `run`, if the run exists.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn last_log(&self, run: &RunId) -> Result<Option<Stored>, BusError> {
        self.last_from_leader(RUN_STREAM, &subjects::run_log(run)).await
    }

    /// Removes everything about `run`, and returns how many messages that were. Its task stays: other runs may have the same.
    ///
    /// The caller knows that it has ended: a leader would find its log gone.
    ///
    /// # Errors
    /// The server cannot be asked; called again, it goes on.
    pub async fn delete_run(&self, run: &RunId) -> Result<u64, BusError> {
        const DOING: &str = "deleting a run";
        let mut removed = 0;
        // The run's own stream last: while it has a log, the run is there to be deleted again.
        let beside = subjects::beside_run(run);
        for (stream, filter) in beside.into_iter().chain([(RUN_STREAM, subjects::run_all(run))]) {
            let stream = self.jetstream().get_stream_no_info(stream).await;
            let stream = stream.map_err(|error| BusError::failed(DOING, error))?;
            let purged = stream.purge().filter(filter).await;
            removed += purged.map_err(|error| BusError::failed(DOING, error))?.purged;
        }
        Ok(removed)
    }

    /// Tells `run` what its user wants, and returns the sequence of the message. The same `id` again, within two
    /// minutes, tells nothing new.
    ///
    /// # Errors
    /// Too large; refused; outcome unknown.
    pub async fn control(&self, run: &RunId, message: NewMessage, id: &str) -> Result<u64, BusError> {
        let (subject, id) = (subjects::run_control(run), format!("{run}.control.{id}"));
        self.deliver(RUN_STREAM, &subject, "control message", message, &id)
            .await
    }

    /// Tells all agents at once to stop working for `run`. Reaches whoever is there: the truth is in the log.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn broadcast_cancel(&self, run: &RunId) -> Result<(), BusError> {
        let sent = self.client().publish(subjects::cancel(run), bytes::Bytes::new()).await;
        sent.map_err(|error| BusError::failed("broadcasting a cancellation", error))
    }

    /// The runs called off from now on.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn cancellations(&self) -> Result<impl Stream<Item = RunId> + Send + Unpin + use<>, BusError> {
        let heard = self.client().subscribe(subjects::ALL_CANCELS).await;
        let heard = heard.map_err(|error| BusError::failed("listening for cancellations", error))?;
        // A subscription is active once the server has seen it, not once it was sent.
        self.flush().await?;
        Ok(heard.filter_map(|message| std::future::ready(subjects::cancelled_run(&message.subject))))
    }
}
