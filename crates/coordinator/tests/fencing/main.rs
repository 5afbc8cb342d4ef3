//! Random schedules of several coordinators over one log with compare-and-set, as NATS has it: pauses anywhere, sendings that get
//! lost, arrive late or are stored without a word, restarts. Whatever happens, the log is one story that is told once.
//!
//! The log is in memory; what runs over it is the code of the coordinator: how an append is settled, what a leadership may append and
//! what ends it, what a message means, and what the scheduler decides.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of a test may fail it"
)]

mod server;

use proptest::prelude::*;
use prost::Message as _;
use server::{Sending, Server};
use sipdo_bus::{
    JobId, Role as BusRole, RunSubject,
    settling::{NextAction, PublishReply, Settling},
};
use sipdo_coordinator::{
    leadership::{Draft, Leadership},
    replay::{Applied, try_apply},
    roster::Roster,
    run_state::RunState,
    scheduler::{
        Answered, Request, Scheduler,
        plan::{JobToPublish, event},
    },
};
use sipdo_domain::{AnswerRequest, Ask, Role};
use sipdo_protocol::{job_id, pb, pb::log_event::Event};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

const RUN: &str = "r";
const COORDINATORS: usize = 3;
/// Questions that the strategy asks one after the other; it tells of each answer.
const QUESTIONS: u32 = 5;

/// A process: one life after the other.
#[derive(Default)]
struct Coordinator {
    life: Option<Life>,
}

/// One attempt at leading.
struct Life {
    number: u32,
    state: RunState,
    leadership: Leadership,
    scheduler: Scheduler,
    /// Messages of the stream that it has read.
    read: usize,
    stage: Stage,
    asked: u32,
    answer: Option<oneshot::Receiver<Answered>>,
    told: u32,
}

enum Stage {
    Sending(Box<Draft>, Settling, Vec<JobToPublish>),
    Reading(Box<Draft>, Settling, Vec<JobToPublish>),
    Publishing(Vec<JobToPublish>),
    Leading,
}

/// How a life goes on after a step.
#[derive(PartialEq)]
enum Goes {
    On,
    /// It has stopped: fenced, given up, or at the end.
    Out,
}

impl Life {
    /// Reads the run and drafts its claim. None where there is nothing to lead.
    fn begin(server: &Server, number: u32) -> Option<Life> {
        let mut state = RunState::new(RUN);
        for message in &server.stream {
            try_apply(&mut state, message).expect("all can be decoded");
        }
        if state.ended() {
            return None;
        }
        let mut leadership = Leadership::after(&state, format!("life{number}"));
        let claimed = pb::Claimed {
            coordinator: number.to_string(),
        };
        let draft = leadership.draft(&mut state, vec![event(Event::Claimed(claimed))], 1);
        Some(Life {
            number,
            state,
            leadership,
            scheduler: Scheduler::new(2),
            read: server.stream.len(),
            stage: sending(draft, Vec::new()),
            asked: 0,
            answer: None,
            told: 0,
        })
    }

    fn step(&mut self, server: &mut Server, queue: &mut Vec<JobToPublish>, chance: u8) -> Goes {
        match std::mem::replace(&mut self.stage, Stage::Leading) {
            Stage::Sending(draft, mut settling, then) => {
                let sending = Sending {
                    draft: (*draft).clone(),
                    life: self.number,
                };
                let heard = match chance % 8 {
                    0 => {
                        server.arrives(sending);
                        PublishReply::Nothing
                    }
                    1 => PublishReply::Nothing,
                    2 => {
                        server.late.push(sending);
                        PublishReply::Nothing
                    }
                    _ => server.arrives(sending),
                };
                let next = settling.heard(heard);
                self.go_on(next, draft, settling, then, server)
            }
            // Patience ends: it stops without knowing.
            Stage::Reading(..) if chance.is_multiple_of(16) => Goes::Out,
            Stage::Reading(draft, mut settling, then) => {
                let last = (chance % 8 != 1).then(|| server.last(&draft.id));
                let next = settling.read(last);
                self.go_on(next, draft, settling, then, server)
            }
            Stage::Publishing(publications) => {
                for publication in &publications {
                    let grant = (publication.job.clone(), publication.attempt);
                    assert!(server.issued.contains(&grant), "published before it was decided");
                }
                queue.extend(publications);
                Goes::On
            }
            Stage::Leading => {
                if chance.is_multiple_of(2) {
                    return self.take_messages(server);
                }
                self.strategy();
                self.read_cached_answers(server);
                self.decide();
                Goes::On
            }
        }
    }

    fn go_on(
        &mut self,
        next: NextAction,
        draft: Box<Draft>,
        settling: Settling,
        then: Vec<JobToPublish>,
        server: &Server,
    ) -> Goes {
        match next {
            NextAction::Stored(seq) => {
                assert_eq!(server.ids.get(&draft.id), Some(&seq), "it believes what is not so");
                self.leadership.stored(&mut self.state, seq);
                self.scheduler.refuse_waiting(&self.state);
                self.stage = Stage::Publishing(then);
            }
            NextAction::Taken => return Goes::Out,
            NextAction::Repeated(_) => panic!("an id was used twice: {}", draft.id),
            NextAction::Read => self.stage = Stage::Reading(draft, settling, then),
            NextAction::Send => self.stage = Stage::Sending(draft, settling, then),
        }
        Goes::On
    }

    fn take_messages(&mut self, server: &Server) -> Goes {
        for message in server.stream.get(self.read..).unwrap_or_default() {
            self.read += 1;
            let applied = try_apply(&mut self.state, message).expect("all can be decoded");
            if self.leadership.is_ended_by(&applied) {
                return Goes::Out;
            }
            if let Applied::Settled(result) = applied {
                self.scheduler.settled(*result);
            }
        }
        Goes::On
    }

    /// Reads again what an earlier life was answered.
    fn read_cached_answers(&mut self, server: &Server) {
        while let Some(cached) = self.scheduler.next_cached_answer() {
            let message = server.stream.iter().find(|message| message.seq == cached.sequence);
            let result = pb::JobResult::decode(message.expect("it was read before").payload.clone());
            cached.answer(result.expect("it was decoded before"));
        }
    }

    /// Asks the questions one after the other, and tells of each answer.
    fn strategy(&mut self) {
        let answered = match &mut self.answer {
            Some(answer) => answer.try_recv().is_ok(),
            None => self.asked == 0,
        };
        if !answered {
            return;
        }
        if self.asked > 0 {
            let run_event = sipdo_domain::RunEvent::Warning {
                text: format!("answered {}", self.asked),
            };
            self.scheduler.emit(run_event.into());
            self.told += 1;
        }
        self.answer = None;
        if self.asked < QUESTIONS {
            self.asked += 1;
            self.ask();
        }
    }

    fn ask(&mut self) {
        let ask = pb::Ask::from(Ask::Answer(AnswerRequest {
            prompt: "p".into(),
            input: self.asked.to_string(),
            ..AnswerRequest::default()
        }));
        let (reply, answer) = oneshot::channel();
        self.answer = Some(answer);
        let request = Request {
            job: job_id(RUN, &ask, 0),
            pool: Role::Learner.into(),
            operation: "answer",
            ask,
            sample: 0,
            reply,
        };
        self.scheduler.ask(request, &self.state);
    }

    fn decide(&mut self) {
        let status = pb::AgentStatus {
            role: "learner".into(),
            max_calls: 1,
            max_tokens: 10,
            ..Default::default()
        };
        let plan = self
            .scheduler
            .plan(&mut self.state, &Roster::new(vec![status]), &BTreeMap::new());
        let mut events = plan.events;
        if self.told == QUESTIONS {
            events.push(event(Event::Ended(pb::Ended {
                state: pb::State::Finished.into(),
                ..Default::default()
            })));
        }
        self.stage = if events.is_empty() {
            Stage::Publishing(plan.publish)
        } else {
            sending(self.leadership.draft(&mut self.state, events, 1), plan.publish)
        };
    }
}

fn sending(draft: Draft, then: Vec<JobToPublish>) -> Stage {
    let settling = Settling::new(draft.expected, false);
    Stage::Sending(Box::new(draft), settling, then)
}

/// Everything.
struct World {
    server: Server,
    coordinators: Vec<Coordinator>,
    queue: Vec<JobToPublish>,
    lives: u32,
}

impl World {
    fn new() -> Self {
        let mut server = Server::default();
        let created = pb::Entry {
            run: RUN.into(),
            events: vec![event(Event::Created(pb::Created::default()))],
            ..Default::default()
        };
        let seq = server.push(RunSubject::Log, created.encode_to_vec());
        server.last = (seq, "created".into());
        World {
            server,
            coordinators: (0..COORDINATORS).map(|_| Coordinator::default()).collect(),
            queue: Vec::new(),
            lives: 0,
        }
    }

    fn step(&mut self, who: u8, chance: u8) {
        match who as usize {
            who if who < COORDINATORS => self.lead(who, chance),
            // The server takes what was on its way.
            3 if !self.server.late.is_empty() => {
                let which = chance as usize % self.server.late.len();
                let sending = self.server.late.remove(which);
                self.server.arrives(sending);
            }
            // An agent is done with a job. What came twice is done once.
            4 if !self.queue.is_empty() => {
                let which = chance as usize % self.queue.len();
                let job = self.queue.remove(which).job;
                if self.server.results.insert(job.clone()) {
                    let kind = RunSubject::Result {
                        role: BusRole::new("learner").unwrap(),
                        job: JobId::new(&job).unwrap(),
                    };
                    self.server.push(kind, result(job).encode_to_vec());
                }
            }
            // A process dies.
            5 => self.coordinators[chance as usize % COORDINATORS].life = None,
            _ => {}
        }
    }

    fn lead(&mut self, who: usize, chance: u8) {
        let coordinator = &mut self.coordinators[who];
        let Some(life) = &mut coordinator.life else {
            self.lives += 1;
            coordinator.life = Life::begin(&self.server, self.lives);
            return;
        };
        if life.step(&mut self.server, &mut self.queue, chance) == Goes::Out {
            coordinator.life = None;
        }
    }

    /// Nothing goes wrong any more: what is late arrives, and one coordinator goes on.
    fn settle(&mut self) {
        while !self.server.late.is_empty() {
            self.step(3, 0);
        }
        for turn in 0..2_000 {
            if self.server.ended {
                return;
            }
            // Odd and even numbers that stand for no fault, in no step with the stages.
            self.step(0, if turn % 3 == 0 { 6 } else { 7 });
            self.step(4, 0);
        }
        panic!("the run never ended: {} of {QUESTIONS} told", self.server.told);
    }
}

fn result(job: String) -> pb::JobResult {
    let answer = pb::Reply {
        reply: Some(pb::reply::Reply::Answer(pb::Answer { text: "a".into() })),
    };
    pb::JobResult {
        run: RUN.into(),
        job,
        attempt: 1,
        finding: Some(pb::job_result::Finding::Reply(answer)),
        usage: Some(pb::Usage::default()),
        by: Some(pb::Provenance::default()),
        timing: Some(pb::Timing::default()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_happens_to_its_coordinators_a_run_is_one_story_told_once(
        steps in prop::collection::vec((0u8..6, any::<u8>()), 0..250)
    ) {
        let mut world = World::new();
        for (who, chance) in steps {
            // Coordinators move more often than the rest happens.
            world.step(who, chance);
            world.step(chance % 3, who.wrapping_mul(41).wrapping_add(chance));
        }
        world.settle();
        prop_assert_eq!(world.server.told, QUESTIONS);
        prop_assert_eq!(world.server.issued.len(), QUESTIONS as usize);
    }
}
