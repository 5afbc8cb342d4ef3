//! Messages that nobody can use, among those of a run under way.

use super::{super::kind::Poison, Effect, Injector, Struck};
use crate::observe::oracle::{Fact, History};
use anyhow::{Context as _, Result};
use sipdo_bus::{Created, JobId, JobMessage, NewMessage, Role, RunId, subjects::header};
use sipdo_protocol::{
    pb::{self, log_event::Event},
    schema,
};

/// Bytes that can be decoded as nothing.
const JUNK: u8 = 0xff;
const SMALL: usize = 9;
/// Of the largest message, so much is left for its headers.
const HEADERS: usize = 1_000;

impl Injector {
    /// Lays it among the messages of a run that has not ended. That has struck when it has become a dead letter with its reason.
    pub(super) async fn poison(&mut self, poison: Poison) -> Result<Struck> {
        if self.no_room {
            return Ok(Struck::No);
        }
        let open = self.open_runs().await;
        let Some(run) = self.one_of(&open) else {
            return Ok(Struck::No);
        };
        let run = RunId::new(&run.run)?;
        let Some(words) = words(poison) else {
            return self.second_result(&run).await;
        };
        let name = format!("poison-{}", self.below(u64::MAX));
        // Whatever the server says: it may have been stored.
        *self.log.poison.entry(words).or_default() += 1;
        Ok(match self.lay(poison, run, &name).await {
            Ok(()) => Struck::When(Effect::DeadLetter(words), None),
            Err(_) => Struck::No,
        })
    }

    async fn lay(&self, poison: Poison, run: RunId, name: &str) -> Result<()> {
        let bus = &self.site.bus;
        let large = bus.max_message() - HEADERS;
        let junk = |size, schema| NewMessage::new(vec![JUNK; size]).with(header::SCHEMA, schema);
        let (role, job) = (Role::new("learner")?, JobId::new(name)?);
        let message = match poison {
            Poison::Job => junk(SMALL, schema::JOB),
            Poison::LargeJob => junk(large, schema::JOB),
            Poison::JobSchema => junk(SMALL, "job.v9"),
            Poison::Result => junk(SMALL, schema::RESULT),
            Poison::LargeResult => junk(large, schema::RESULT),
            Poison::ResultSchema => junk(SMALL, "result.v0"),
            Poison::Control => junk(SMALL, schema::CONTROL),
            Poison::UnknownJob | Poison::SecondResult => NewMessage::encode(&result(&run, name), schema::RESULT),
        };
        match poison {
            Poison::Job | Poison::LargeJob | Poison::JobSchema => {
                let job = JobMessage {
                    role,
                    suspect: false,
                    run,
                    job,
                    attempt: 1,
                    epoch: 1,
                    repeat: 0,
                    message,
                };
                bus.publish_job(job).await?.settled().await?;
            }
            Poison::Control => drop(bus.control(&run, message, name).await?),
            _ => drop(bus.create_result(&run, &role, &job, message).await?),
        }
        Ok(())
    }

    /// Brings another result of a job that has one: it is refused.
    async fn second_result(&mut self, run: &RunId) -> Result<Struck> {
        let Ok(history) = History::read(&self.site.bus, run.as_str()).await else {
            return Ok(Struck::No);
        };
        let done = history.facts.iter().rev().find_map(|fact| match fact {
            Fact::Result(result) if !result.job.starts_with("poison") => Some(result.job.clone()),
            _ => None,
        });
        let issued = history.events().find_map(|(_, event)| match event {
            Event::Issued(issued) if Some(&issued.job) == done.as_ref() => Some(issued.clone()),
            _ => None,
        });
        let Some(issued) = issued else {
            return Ok(Struck::No);
        };
        let role = sipdo_domain::Role::try_from(issued.role()).context("a role")?;
        let (role, job) = (Role::new(role.name())?, JobId::new(&issued.job)?);
        let second = NewMessage::encode(&result(run, &issued.job), schema::RESULT);
        Ok(match self.site.bus.create_result(run, &role, &job, second).await {
            Ok(Created::Exists) => Struck::Yes,
            Ok(Created::Created(_)) => {
                let taken = format!("a second result of job {job} of run {run} was taken");
                self.log.broken.push(taken);
                Struck::Yes
            }
            Err(_) => Struck::No,
        })
    }
}

/// A result that says nothing.
fn result(run: &RunId, job: &str) -> pb::JobResult {
    pb::JobResult {
        run: run.as_str().to_owned(),
        job: job.to_owned(),
        attempt: 1,
        ..pb::JobResult::default()
    }
}

/// Words of the reason for which it becomes a dead letter; none where it is refused at once.
fn words(poison: Poison) -> Option<&'static str> {
    Some(match poison {
        Poison::Job | Poison::LargeJob => "the job cannot be decoded",
        Poison::JobSchema => "\"job.v9\" is unknown",
        Poison::Result | Poison::LargeResult => "a result that cannot be decoded",
        Poison::ResultSchema => "\"result.v0\" is unknown",
        Poison::UnknownJob => "which was never issued",
        Poison::Control => "a control request that cannot be decoded",
        Poison::SecondResult => return None,
    })
}
