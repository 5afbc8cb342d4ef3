//! What a run's records say of its held-out test: its task, its strategy, and what the learner and the verifier answered.

use std::collections::HashMap;

use anyhow::Context as _;
use prost::Message as _;
use serde_json::Value;
use sipdo_domain::Task;
use sipdo_protocol::{pb, schema};

use crate::{client::Api, failure::Failure};

/// The part of a run's records that the held-out test needs.
#[derive(Debug, Default)]
pub struct Records {
    /// The run.
    pub run: String,
    /// Its task.
    pub task: Option<Task>,
    /// How it was created.
    pub created: Option<pb::Created>,
    /// What came of it, where it has ended with an outcome.
    pub outcome: Option<pb::Outcome>,
    /// Results of learners and verifiers, by job.
    pub results: HashMap<String, pb::JobResult>,
}

impl Records {
    /// The records of a run, read from its coordinator.
    ///
    /// # Errors
    /// The coordinator does not answer, there is no such run, or a record cannot be decoded.
    pub async fn fetch(api: &mut Api, run: &str) -> Result<Self, Failure> {
        let request = pb::ExportRunRequest { run: run.to_owned() };
        let mut stream = api.export_run(request).await?.into_inner();
        let mut records = Records::default();
        while let Some(record) = stream.message().await? {
            records.add(record)?;
        }
        Ok(records)
    }

    /// Adds one record; those that say nothing of the test are passed over.
    ///
    /// # Errors
    /// A record that cannot be decoded.
    pub fn add(&mut self, record: pb::Record) -> anyhow::Result<()> {
        let payload = record.payload.as_slice();
        let of_test = |kind: &str| kind.starts_with("result.learner.") || kind.starts_with("result.verifier.");
        match (record.kind.as_str(), record.schema.as_str()) {
            ("task", _) => {
                let task = pb::Task::decode(payload).context("the task of the run cannot be decoded")?;
                self.task = Some(Task::try_from(task)?);
                self.run = record.run;
            }
            (_, schema::ENTRY) => {
                let entry = pb::Entry::decode(payload).context("an entry of the run cannot be decoded")?;
                entry.events.into_iter().for_each(|event| self.apply(event));
            }
            (kind, schema::RESULT) if of_test(kind) => {
                let result = pb::JobResult::decode(payload).context("a result of the run cannot be decoded")?;
                // The first one counts.
                self.results.entry(result.job.clone()).or_insert(result);
            }
            _ => {}
        }
        Ok(())
    }

    fn apply(&mut self, event: pb::LogEvent) {
        match event.event {
            Some(pb::log_event::Event::Created(created)) => self.created = Some(created),
            Some(pb::log_event::Event::Ended(ended)) => self.outcome = ended.outcome,
            _ => {}
        }
    }

    /// The strategy and its options, with the defaults of the version that created the run.
    pub fn strategy(&self) -> (String, Value) {
        let created = self.created.clone().unwrap_or_default();
        let json = |text: &str| serde_json::from_str(text).unwrap_or_default();
        let options = match created.resolved_options_json.as_str() {
            "" => sipdo_strategies::with_first_defaults(&created.strategy, json(&created.options_json)),
            resolved => json(resolved),
        };
        (created.strategy, options)
    }
}
