//! How fast the bus is on this machine, against a private nats-server: jobs through one agent process, and the replay of
//! the run they leave. `cargo run --release -p sipdo-bus --example throughput [jobs]`
//!
//! One process publishes jobs within the window, takes them with 64 slots, creates each result, and reads the results
//! back as a leader does. Last it prints one line per figure.
#![expect(clippy::print_stdout, reason = "it is a program that prints figures")]

use std::collections::VecDeque;
use std::time::Instant;

use sipdo_bus::local::{NatsServer, NatsServerOptions};
use sipdo_bus::{
    Bus, BusError, BusSettings, Delivery, JobId, JobMessage, JobQueue, NewMessage, Published, Role, RunId, RunReader,
};

const SLOTS: usize = 64;
const WINDOW: usize = 256;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let jobs = std::env::args().nth(1).map_or(Ok(30_000), |jobs| jobs.parse())?;
    let folder = tempfile::tempdir()?;
    let mut server = NatsServer::start(NatsServerOptions::new(folder.path())).await?;
    let settings = || BusSettings::new(server.url());
    let (leader, agent) = (Bus::connect(settings()).await?, Bus::connect(settings()).await?);
    leader.ensure_streams().await?;
    let (run, role) = (RunId::new("bench")?, Role::new("learner")?);

    let mut queue = JobQueue::join(&agent, &role, SLOTS).await?;
    let agent_task = tokio::spawn({
        let agent = agent.clone();
        async move {
            for _ in 0..jobs {
                let Some(job) = queue.next().await else { return };
                tokio::spawn(answer(agent.clone(), job));
            }
        }
    });

    let start = Instant::now();
    let mut reader = RunReader::open(&leader, &run, 0).await?;
    let mut waiting: VecDeque<usize> = (0..jobs).collect();
    let (mut open, mut done, mut largest) = (0, 0, 0);
    while done < jobs {
        let now: Vec<usize> = waiting.drain(..waiting.len().min(WINDOW - open)).collect();
        let mut acks = Vec::new();
        for &n in &now {
            acks.push(leader.publish_job(job(&run, &role, n)?).await?);
        }
        for (ack, n) in acks.into_iter().zip(now) {
            // The window counts what is acknowledged, which may be a moment later than its result is read.
            match ack.settled().await? {
                Published::WindowFull => waiting.push_front(n),
                Published::Queued | Published::Repeated => open += 1,
            }
        }
        if open == 0 {
            continue;
        }
        let chunk = reader.next_chunk().await?;
        done += chunk.messages.len();
        open -= chunk.messages.len();
        largest = largest.max(chunk.messages.len());
    }
    let per_second = jobs as f64 / start.elapsed().as_secs_f64();
    agent_task.await?;

    let start = Instant::now();
    let mut replay = RunReader::open(&leader, &run, 0).await?;
    while !replay.caught_up() {
        replay.next_chunk().await?;
    }
    let replayed = jobs as f64 / start.elapsed().as_secs_f64();
    println!("{jobs} jobs, {SLOTS} slots, window {WINDOW}, largest chunk {largest}");
    println!("figure bus.jobs_per_second {per_second:.0} jobs/s");
    println!("figure bus.replay {replayed:.0} messages/s");
    server.terminate().await?;
    Ok(())
}

fn job(run: &RunId, role: &Role, n: usize) -> Result<JobMessage, BusError> {
    let job = JobId::new(format!("job-{n}"))?;
    let message = NewMessage::new(vec![b'x'; 1024]);
    Ok(JobMessage {
        role: role.clone(),
        suspect: false,
        run: run.clone(),
        job,
        attempt: 1,
        epoch: 1,
        repeat: 0,
        message,
    })
}

async fn answer(agent: Bus, job: Delivery) {
    let Some(Ok(id)) = job.headers.get("Sipdo-Job").map(JobId::new) else {
        return;
    };
    let result = NewMessage::new(vec![b'y'; 1024]);
    if agent.create_result(&job.run, job.role(), &id, result).await.is_ok() {
        drop(job.ack().await);
    }
}
