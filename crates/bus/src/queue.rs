//! The agent's side of the work queue: one job for each free slot, and no job without a slot.
//!
//! Prefetching would start the clock of jobs that nobody works on, so exactly as many messages are asked for as there
//! are free slots; slots that become free together are asked for together. While a job is worked on, the server is
//! told so every third of its patience. A job whose [`Delivery`] is dropped unsettled, or whose process dies, comes
//! again, to this agent or another, once that patience has run out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::{Message, StatusCode, Subject, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::connection::{Bus, Link};
use crate::error::BusError;
use crate::message::{DeliveryInfo, Headers, NewMessage, time_of};
use crate::subjects::{self, JOB_STREAM, Role, RunId, next_message};
use crate::tail::{pull_request, unanswered};

const EXPIRES: Duration = Duration::from_secs(5);
const HEARTBEAT: Duration = Duration::from_millis(500);
const SILENCE: Duration = Duration::from_millis(1700);
const RETRY: Duration = Duration::from_millis(200);
const MAX_ACK_PENDING: i64 = 20_000;
const MAX_WAITING: i64 = 4096;

/// Brings the jobs of one role to this process.
#[derive(Debug)]
pub struct JobQueue {
    jobs: mpsc::Receiver<Delivery>,
    stop: watch::Sender<bool>,
}

/// A job in the hands of this process. It holds a slot until it is dropped.
#[derive(Debug)]
pub struct Delivery {
    /// For which run.
    pub run: RunId,
    /// What is asked.
    pub payload: Bytes,
    /// Job id, epoch, attempt, trace context.
    pub headers: Headers,
    /// How often this job was delivered, from 1. Above 1, somebody has had it before.
    pub delivered: u64,
    /// Its place in the work queue.
    pub seq: u64,
    /// When it was published.
    pub published: SystemTime,
    subject: Subject,
    reply: Subject,
    shared: Arc<Shared>,
    lease: u64,
}

/// What the queue and its deliveries know together.
#[derive(Debug)]
struct Shared {
    bus: Bus,
    role: Role,
    /// The queue: the role's own, or that of its suspects.
    lane: Role,
    /// Free slots that nothing has been asked for yet.
    free: AtomicUsize,
    freed: Notify,
    next_lease: AtomicU64,
    /// Where to say that a job is being worked on.
    leases: Mutex<HashMap<u64, Subject>>,
}

impl JobQueue {
    /// Joins the agents of `role` with `slots` jobs at a time, at least one.
    ///
    /// # Errors
    /// The streams are not there ([`Bus::ensure_streams`]), or the server cannot be asked.
    pub async fn join(bus: &Bus, role: &Role, slots: usize) -> Result<Self, BusError> {
        Self::join_lane(bus, role, role.clone(), slots).await
    }

    /// Joins the agents that take the suspects of `role`, one at a time.
    ///
    /// # Errors
    /// As [`JobQueue::join`].
    pub async fn join_suspects(bus: &Bus, role: &Role) -> Result<Self, BusError> {
        Self::join_lane(bus, role, subjects::suspects(role)?, 1).await
    }

    async fn join_lane(bus: &Bus, role: &Role, lane: Role, slots: usize) -> Result<Self, BusError> {
        let slots = slots.max(1);
        ensure_consumer(bus, &lane).await?;
        let shared = Arc::new(Shared {
            bus: bus.clone(),
            role: role.clone(),
            lane,
            free: AtomicUsize::new(slots),
            freed: Notify::new(),
            next_lease: AtomicU64::new(0),
            leases: Mutex::new(HashMap::new()),
        });
        let (sender, jobs) = mpsc::channel(slots);
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(keep_alive(Arc::downgrade(&shared), bus.settings().ack_wait / 3));
        tokio::spawn(
            Puller {
                link: bus.link(),
                shared,
                sender,
                stopped,
            }
            .run(),
        );
        Ok(Self { jobs, stop })
    }

    /// The next job; `None` after [`JobQueue::drain`]. Safe to cancel.
    pub async fn next(&mut self) -> Option<Delivery> {
        self.jobs.recv().await
    }

    /// Stops asking for jobs and hands back those that nobody has taken yet. Jobs in work go on and may be settled.
    pub async fn drain(&mut self) {
        self.stop.send_replace(true);
        self.jobs.close();
        while let Some(job) = self.jobs.recv().await {
            hand_back_now(&job.shared.bus, job.reply.clone()).await;
        }
    }
}

impl Delivery {
    /// The role whose job it is.
    #[must_use]
    pub fn role(&self) -> &Role {
        &self.shared.role
    }

    /// Says that the job is done. Not confirmed: if it does not arrive the job comes again, and its result is found.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn ack(self) -> Result<(), BusError> {
        self.settle(AckKind::Ack).await
    }

    /// Says that the job is done, and waits until the server has taken note.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn ack_confirmed(self) -> Result<(), BusError> {
        let client = self.shared.bus.client();
        let confirmed = client.request(self.reply.clone(), AckKind::Ack.into()).await;
        confirmed
            .map(|_| ())
            .map_err(|error| BusError::failed("acknowledging a job", error))
    }

    /// Gives the job back, to be delivered again after `delay`, here or elsewhere.
    ///
    /// # Errors
    /// The connection is closed; the job then comes again later.
    pub async fn hand_back(self, delay: Duration) -> Result<(), BusError> {
        self.settle(AckKind::Nak((!delay.is_zero()).then_some(delay))).await
    }

    /// Keeps the job as a dead letter with the reason, and then removes it from the queue.
    ///
    /// # Errors
    /// The dead letter could not be kept; the job then comes again.
    pub async fn dead_letter(self, reason: &str) -> Result<(), BusError> {
        let message = NewMessage {
            payload: self.payload.clone(),
            headers: self.headers.clone(),
        };
        let (bus, role) = (&self.shared.bus, &self.shared.role);
        bus.keep_dead_letter(
            role,
            &self.run,
            message,
            (&self.subject, self.seq),
            self.delivered,
            reason,
        )
        .await?;
        self.settle(AckKind::Term).await
    }

    async fn settle(self, how: AckKind) -> Result<(), BusError> {
        let sent = self.shared.bus.client().publish(self.reply.clone(), how.into()).await;
        sent.map_err(|error| BusError::failed("settling a job", error))
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.shared.leases().remove(&self.lease);
        self.shared.free.fetch_add(1, Ordering::AcqRel);
        self.shared.freed.notify_one();
    }
}

impl Shared {
    fn leases(&self) -> MutexGuard<'_, HashMap<u64, Subject>> {
        // The map is whole after any panic: nothing is done with it but single inserts and removes.
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Turns a message from the queue into a delivery that holds a slot. A subject that is not ours is not a job.
    fn delivery(self: &Arc<Self>, message: Message) -> Option<Delivery> {
        let reply = message.reply?;
        let info = DeliveryInfo::parse(&reply)?;
        let (_, run) = subjects::job_place(&message.subject)?;
        let lease = self.next_lease.fetch_add(1, Ordering::Relaxed);
        self.leases().insert(lease, reply.clone());
        Some(Delivery {
            run,
            payload: message.payload,
            headers: Headers::from_nats(message.headers),
            delivered: info.delivered,
            seq: info.stream_seq,
            published: time_of(info.nanos),
            subject: message.subject,
            reply,
            shared: Arc::clone(self),
            lease,
        })
    }
}

/// Tells the server about the jobs in work, as long as there are any or there may be more.
async fn keep_alive(shared: Weak<Shared>, every: Duration) {
    loop {
        sleep(every).await;
        let Some(shared) = shared.upgrade() else { return };
        let in_work: Vec<_> = shared.leases().values().cloned().collect();
        for reply in in_work {
            if let Err(error) = shared.bus.client().publish(reply, AckKind::Progress.into()).await {
                tracing::warn!(%error, "could not say that a job is in work");
            }
        }
    }
}

/// Makes the durable consumer of a role, which all its agents share. Whoever comes first makes it.
async fn ensure_consumer(bus: &Bus, role: &Role) -> Result<(), BusError> {
    let config = pull::Config {
        durable_name: Some(role.to_string()),
        filter_subject: subjects::jobs_of_role(role),
        ack_policy: AckPolicy::Explicit,
        ack_wait: bus.settings().ack_wait,
        max_deliver: -1,
        max_ack_pending: MAX_ACK_PENDING,
        max_waiting: MAX_WAITING,
        ..pull::Config::default()
    };
    let made = bus.jetstream().create_consumer_on_stream(config, JOB_STREAM).await;
    made.map(|_| ())
        .map_err(|error| BusError::failed("joining the agents of a role", error))
}

/// Hands back, at once, what arrives for an inbox that is no longer wanted: jobs that crossed with its end.
async fn refuse_rest(bus: Bus, mut inbox: Subscriber) {
    if inbox.drain().await.is_ok() {
        while let Some(message) = inbox.next().await {
            if let (None, Some(reply)) = (message.status, message.reply) {
                hand_back_now(&bus, reply).await;
            }
        }
    }
}

async fn hand_back_now(bus: &Bus, reply: Subject) {
    if let Err(error) = bus.client().publish(reply, AckKind::Nak(None).into()).await {
        tracing::debug!(%error, "could not hand a job back; it comes again by itself");
    }
}

/// Asks for jobs while there are free slots.
struct Puller {
    link: watch::Receiver<Link>,
    shared: Arc<Shared>,
    sender: mpsc::Sender<Delivery>,
    stopped: watch::Receiver<bool>,
}

/// Why a session with the server ended.
enum Ended {
    /// Start another.
    Broken(&'static str),
    /// The queue is drained or dropped.
    Stopped,
}

/// One inbox and what was asked to be sent there.
struct Session {
    inbox: String,
    messages: Subscriber,
    asked: usize,
    heard: Instant,
}

impl Puller {
    async fn run(mut self) {
        let mut first = true;
        loop {
            if !std::mem::take(&mut first) && ensure_consumer(&self.shared.bus, &self.shared.lane).await.is_err() {
                tokio::select! {
                    () = sleep(RETRY) => continue,
                    _ = self.stopped.wait_for(|stop| *stop) => return,
                }
            }
            let bus = self.shared.bus.clone();
            let inbox = bus.client().new_inbox();
            let Ok(messages) = bus.client().subscribe(inbox.clone()).await else {
                return;
            };
            let mut session = Session {
                inbox,
                messages,
                asked: 0,
                heard: Instant::now(),
            };
            let ended = self.pull(&mut session).await;
            // What was asked for will not come here any more, so the slots are free again.
            self.shared.free.fetch_add(session.asked, Ordering::AcqRel);
            let rest = refuse_rest(bus, session.messages);
            match ended {
                Ended::Stopped => return rest.await,
                Ended::Broken(why) => {
                    tracing::debug!(lane = %self.shared.lane, why, "asking for jobs anew");
                    tokio::spawn(rest);
                    sleep(RETRY / 4).await;
                }
            }
        }
    }

    async fn pull(&mut self, session: &mut Session) -> Ended {
        let next = next_message(JOB_STREAM, self.shared.lane.as_str());
        let epoch = self.link.borrow().epoch;
        loop {
            let free = self.shared.free.swap(0, Ordering::AcqRel);
            if free > 0 {
                let ask = pull_request(free, EXPIRES, HEARTBEAT);
                if session.asked == 0 {
                    session.heard = Instant::now();
                }
                session.asked += free;
                let sent = self
                    .shared
                    .bus
                    .client()
                    .publish_with_reply(next.clone(), session.inbox.clone(), ask)
                    .await;
                if sent.is_err() {
                    return Ended::Stopped;
                }
            }
            let silent = async {
                match session.asked {
                    0 => std::future::pending().await,
                    _ => sleep_until(session.heard + SILENCE).await,
                }
            };
            let message = tokio::select! {
                biased;
                _ = self.stopped.wait_for(|stop| *stop) => return Ended::Stopped,
                () = self.sender.closed() => return Ended::Stopped,
                message = session.messages.next() => message,
                () = self.shared.freed.notified() => continue,
                _ = self.link.wait_for(|link| link.epoch != epoch) => return Ended::Broken("the connection is new"),
                () = silent => return Ended::Broken("the server is silent"),
            };
            let taken = message
                .ok_or("the inbox was closed")
                .and_then(|message| self.take(session, message));
            if let Err(why) = taken {
                return Ended::Broken(why);
            }
        }
    }

    fn take(&self, session: &mut Session, message: Message) -> Result<(), &'static str> {
        session.heard = Instant::now();
        match message.status {
            None | Some(StatusCode::OK) => {}
            Some(StatusCode::IDLE_HEARTBEAT) => return Ok(()),
            Some(_) => {
                // A request that ended tells how much of it was not answered; those slots are free to ask again. All
                // else - no such consumer, too many requests, a new leader - is better started anew.
                let rest = unanswered(&message)
                    .ok_or("the server ended a request")?
                    .min(session.asked);
                session.asked -= rest;
                self.shared.free.fetch_add(rest, Ordering::AcqRel);
                return Ok(());
            }
        }
        session.asked = session.asked.saturating_sub(1);
        let Some(delivery) = self.shared.delivery(message) else {
            self.shared.free.fetch_add(1, Ordering::AcqRel);
            return Ok(());
        };
        // There is room for every slot, and a delivery holds one; only a queue that was just drained has none.
        if let Err(refused) = self.sender.try_send(delivery) {
            tokio::spawn(refused.into_inner().hand_back(Duration::ZERO));
        }
        Ok(())
    }
}
