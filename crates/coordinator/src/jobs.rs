//! A run's jobs as the journal knows them, for people who want to see where time and money went. Holds no content.

use crate::{
    follow::{Followers, Projection},
    refusal::{bad_request, not_found, unavailable},
};
use prost::Message as _;
use sipdo_bus::{RunId, RunMessage, RunSubject};
use sipdo_protocol::pb::{self, job_result::Finding, log_event::Event, run_event::Event as RunEvent};
use std::collections::HashMap;
use tonic::Status;

/// Jobs of a page where none is asked for, and the most.
const PAGE: usize = 500;
const LARGEST_PAGE: usize = 5_000;

/// One page of a run's jobs, in the order in which they were issued.
///
/// # Errors
/// No such run, a page that cannot be, or a bus that does not answer.
pub(crate) async fn list(
    followers: &Followers<Jobs>,
    run: &RunId,
    request: &pb::ListJobsRequest,
) -> Result<pb::ListJobsResponse, Status> {
    let size = match usize::try_from(request.page_size) {
        Ok(0) => PAGE,
        Ok(size) => size.min(LARGEST_PAGE),
        Err(_) => return Err(bad_request("PAGE_SIZE", "page_size", "must be at least 0")),
    };
    let from: usize = match request.page_token.as_str() {
        "" => 0,
        token => token
            .parse()
            .map_err(|_| bad_request("PAGE_TOKEN", "page_token", "use the token of the last response"))?,
    };
    let followed = followers.open(run).await.map_err(unavailable)?;
    let page = followed.and_then(|followed| followed.read(|jobs| jobs.page(request, from, size + 1)));
    let mut page = page.ok_or_else(|| not_found("run", run.as_str()))?;
    let more = page.len() > size;
    page.truncate(size);
    let next_page_token = if more { (from + size).to_string() } else { String::new() };
    Ok(pb::ListJobsResponse {
        jobs: page,
        next_page_token,
    })
}

/// The jobs of a run.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    known: bool,
    lines: Vec<pb::JobLine>,
    places: HashMap<String, usize>,
    level: u32,
    conclusion: bool,
}

impl Projection for Jobs {
    fn new(_: &RunId) -> Self {
        Jobs::default()
    }

    /// What cannot be decoded is left out: the run's leader keeps it as a dead letter.
    fn apply(&mut self, message: RunMessage) {
        match message.kind {
            RunSubject::Log => {
                if let Ok(entry) = pb::Entry::decode(message.payload) {
                    for event in entry.events.into_iter().filter_map(|event| event.event) {
                        self.apply_event(event, entry.at_ms);
                    }
                }
            }
            RunSubject::Result { .. } => {
                if let Ok(result) = pb::JobResult::decode(message.payload) {
                    self.done(result);
                }
            }
            _ => {}
        }
    }
}

impl Jobs {
    /// The jobs that a request is for, from the `from`-th of these on; none of a run without a log.
    fn page(&self, request: &pb::ListJobsRequest, from: usize, most: usize) -> Option<Vec<pb::JobLine>> {
        let wanted = self.lines.iter().filter(|job| {
            let level = request.level.is_none_or(|level| !job.conclusion && job.level == level);
            level && (!request.conclusion || job.conclusion)
        });
        self.known.then(|| wanted.skip(from).take(most).cloned().collect())
    }

    fn apply_event(&mut self, event: Event, at_ms: u64) {
        match event {
            // Also of a run that was deleted, and created again by the same request.
            Event::Created(_) => {
                *self = Jobs {
                    known: true,
                    ..Jobs::default()
                };
            }
            Event::Told(pb::EventRecorded {
                telling:
                    Some(pb::RunEvent {
                        event: Some(RunEvent::LevelBegun(begun)),
                    }),
                ..
            }) => self.level = begun.level,
            Event::Concluding(_) => self.conclusion = true,
            Event::Issued(issued) => match self.places.get(&issued.job).and_then(|at| self.lines.get_mut(*at)) {
                Some(line) => line.attempt = line.attempt.max(issued.attempt),
                None => {
                    self.places.insert(issued.job.clone(), self.lines.len());
                    self.lines.push(pb::JobLine {
                        role: issued.role,
                        operation: issued.operation,
                        level: if self.conclusion { 0 } else { self.level },
                        conclusion: self.conclusion,
                        issued_ms: at_ms,
                        attempt: issued.attempt,
                        job: issued.job,
                        done: None,
                        pool: issued.pool,
                    });
                }
            },
            _ => {}
        }
    }

    /// The first result counts, as it does for the run.
    fn done(&mut self, result: pb::JobResult) {
        let line = self.places.get(&result.job).and_then(|at| self.lines.get_mut(*at));
        if let Some(line) = line.filter(|line| line.done.is_none()) {
            line.done = Some(pb::JobDone {
                timing: result.timing,
                by: result.by,
                usage: result.usage,
                not_measured: match result.finding {
                    Some(Finding::NotMeasured(why)) => Some(why),
                    Some(Finding::Reply(_)) | None => None,
                },
            });
        }
    }
}
