//! A run of a hundred thousand jobs read back: the state is the one that its leader had, and each message takes no longer than the
//! first did. So nothing but the log is kept of a run, and no snapshots of it.

#![expect(clippy::unwrap_used, reason = "helpers of a test may fail it")]

use rustix::time::{ClockId, clock_gettime};
use sipdo_bus::{Headers, JobId, Role, RunMessage, RunSubject};
use sipdo_coordinator::{leadership::Leadership, replay::try_apply, run_state::RunState};
use sipdo_protocol::pb::{self, State, log_event::Event};
use std::time::{Duration, SystemTime};

const JOBS: usize = 100_000;
/// Jobs of an entry.
const BURST: usize = 50;
/// A message of the end may take so many times as long as one of the beginning: a state that looks through all that was before would
/// take a hundred times as long and more.
const SLOWER: u32 = 5;
/// Longer than it takes on any machine; a second or two on most.
const LONGEST: Duration = Duration::from_secs(30);

fn message(seq: u64, kind: RunSubject, message: &impl prost::Message) -> RunMessage {
    RunMessage {
        seq,
        kind,
        time: SystemTime::UNIX_EPOCH,
        headers: Headers::default(),
        payload: message.encode_to_vec().into(),
    }
}

fn amount() -> pb::Amount {
    pb::Amount {
        calls: 1,
        tokens: 700,
        nano_usd: 90,
    }
}

fn issued(job: &str) -> pb::LogEvent {
    let issued = pb::Issued {
        job: job.to_owned(),
        role: pb::Role::Learner.into(),
        operation: "answer".into(),
        attempt: 1,
        reserved: Some(amount()),
        ..Default::default()
    };
    pb::LogEvent {
        event: Some(Event::Issued(issued)),
    }
}

fn result(job: &str) -> pb::JobResult {
    let answer = pb::reply::Reply::Answer(pb::Answer {
        text: "Answer: 7".into(),
    });
    pb::JobResult {
        job: job.to_owned(),
        attempt: 1,
        finding: Some(pb::job_result::Finding::Reply(pb::Reply { reply: Some(answer) })),
        usage: Some(pb::Usage {
            calls: 1,
            input_tokens: 500,
            output_tokens: 100,
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A leader's own state at the end, and the stream that it left behind.
fn led() -> (RunState, Vec<RunMessage>) {
    let mut state = RunState::new("r");
    let mut leadership = Leadership::after(&state, "leader".into());
    let (mut stream, mut seq) = (Vec::new(), 0);
    let mut append = |state: &mut RunState, stream: &mut Vec<RunMessage>, seq: &mut u64, events| {
        let draft = leadership.draft(state, events, *seq);
        *seq += 1;
        leadership.stored(state, *seq);
        stream.push(message(*seq, RunSubject::Log, &draft.entry));
    };
    let first = [
        Event::Created(pb::Created::default()),
        Event::Claimed(pb::Claimed {
            coordinator: "leader".into(),
        }),
    ];
    let first = first.map(|event| pb::LogEvent { event: Some(event) }).to_vec();
    append(&mut state, &mut stream, &mut seq, first);
    let role = Role::new("learner").unwrap();
    for burst in 0..JOBS / BURST {
        let jobs: Vec<String> = (0..BURST).map(|number| format!("job-{burst}-{number}")).collect();
        append(
            &mut state,
            &mut stream,
            &mut seq,
            jobs.iter().map(|job| issued(job)).collect(),
        );
        // They come back in another order than they were asked in, and every tenth a second time.
        for (number, job) in jobs.iter().enumerate().rev() {
            for _ in 0..=usize::from(number % 10 == 0) {
                seq += 1;
                let result = result(job);
                state.apply_result(seq, &result);
                let kind = RunSubject::Result {
                    role: role.clone(),
                    job: JobId::new(job.as_str()).unwrap(),
                };
                stream.push(message(seq, kind, &result));
            }
        }
    }
    let ended = pb::Ended {
        state: State::Finished.into(),
        ..Default::default()
    };
    let ended = pb::LogEvent {
        event: Some(Event::Ended(ended)),
    };
    append(&mut state, &mut stream, &mut seq, vec![ended]);
    (state, stream)
}

/// How long this thread has had a processor: what others do with it meanwhile is not to be timed.
fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap()
}

fn replayed(state: &mut RunState, messages: &[RunMessage]) -> Duration {
    let start = worked();
    for message in messages {
        try_apply(state, message).unwrap();
    }
    worked() - start
}

#[test]
fn a_run_of_a_hundred_thousand_jobs_is_read_back_as_it_was_in_linear_time() {
    let (led, stream) = led();
    let mut state = RunState::new("r");
    let parts: Vec<Duration> = stream
        .chunks(stream.len().div_ceil(10))
        .map(|messages| replayed(&mut state, messages))
        .collect();
    println!("{} messages in {parts:?}", stream.len());
    assert_eq!(state.summary, led.summary);
    assert_eq!(state.summary.jobs_done, JOBS as u64);
    assert_eq!(state.summary.spent.map(|spent| spent.calls), Some(JOBS as u64));
    assert_eq!(state.log_sequence, led.log_sequence);
    assert_eq!((state.open.len(), state.epoch), (0, led.epoch));
    assert_eq!(format!("{:?}", state.ledger), format!("{:?}", led.ledger));
    let (first, last): (Duration, Duration) = (parts[..3].iter().sum(), parts[7..].iter().sum());
    assert!(last < first * SLOWER, "it grows with what was before: {parts:?}");
    assert!(parts.iter().sum::<Duration>() < LONGEST, "{parts:?}");
    // All of it twice changes nothing: what is known is passed over.
    replayed(&mut state, &stream);
    assert_eq!(state.summary, led.summary);
}
