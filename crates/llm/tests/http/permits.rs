//! A permit is asked before each request, and its no ends the call with what was paid so far.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use sipdo_llm::{ChatModel, ModelError, Paid, Permit, Schema, structured};

use crate::mock::{Line, Mock, in_time, question};

/// Lets so many requests through.
struct Quota(AtomicUsize);

impl Quota {
    fn of(requests: usize) -> Self {
        Self(AtomicUsize::new(requests))
    }
}

impl Permit for Quota {
    fn may_send(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        let left = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        Box::pin(async move { left.is_ok() })
    }
}

#[tokio::test]
async fn a_retry_is_not_sent_without_leave() {
    let mock = Mock::start([Line::error(500, "down"), Line::answer("4")]).await;
    let outcome = in_time(mock.model().permitted(&Quota::of(1)).complete(&question())).await;
    assert_eq!(outcome.result.unwrap_err(), ModelError::Withheld);
    assert_eq!((outcome.attempts.len(), mock.seen().len()), (1, 1));

    let mock = Mock::start([Line::error(500, "down"), Line::answer("4")]).await;
    let outcome = in_time(mock.model().permitted(&Quota::of(2)).complete(&question())).await;
    assert_eq!(outcome.result.unwrap().text, "4");
}

#[tokio::test]
async fn a_repair_is_not_sent_without_leave_and_what_it_was_to_repair_stays_on_the_bill() {
    let mock = Mock::start([Line::answer("no object"), Line::answer("{}")]).await;
    let schema = Arc::new(Schema::new("thing", json!({"type": "object"})).unwrap());
    let (model, quota) = (mock.model(), Quota::of(1));
    let permitted = model.permitted(&quota);
    let done = in_time(structured(&permitted, question(), &schema, 2)).await;
    assert_eq!(done.result.unwrap_err().kind(), "withheld");
    assert_eq!((done.completions.len(), mock.seen().len()), (1, 1));
}

#[tokio::test]
async fn nothing_at_all_is_sent_where_the_first_request_has_no_leave() {
    let mock = Mock::start([Line::answer("4")]).await;
    let outcome = in_time(mock.model().permitted(&Quota::of(0)).complete(&question())).await;
    assert_eq!(outcome.result.unwrap_err(), ModelError::Withheld);
    assert!(outcome.attempts.is_empty() && mock.seen().is_empty());
}

/// Counts requests, and has room for so many that may be paid for.
struct Room {
    most: usize,
    sent: AtomicUsize,
    unpaid: AtomicUsize,
}

impl Room {
    fn of(most: usize) -> Self {
        let (sent, unpaid) = Default::default();
        Self { most, sent, unpaid }
    }

    fn counts(&self) -> (usize, usize) {
        (self.sent.load(Ordering::SeqCst), self.unpaid.load(Ordering::SeqCst))
    }
}

impl Permit for Room {
    fn may_send(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async { true })
    }

    fn has_room(&self) -> bool {
        let (sent, unpaid) = self.counts();
        sent - unpaid < self.most
    }

    fn sending(&self) {
        self.sent.fetch_add(1, Ordering::SeqCst);
    }

    fn ended(&self, paid: Paid) {
        self.unpaid.fetch_add(usize::from(paid == Paid::No), Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_request_that_may_be_paid_for_is_repeated_only_where_there_is_room() {
    let down = || [Line::error(500, "down"), Line::error(502, "gateway"), Line::answer("4")];
    let (mock, room) = (Mock::start(down()).await, Room::of(1));
    let outcome = in_time(mock.model().permitted(&room).complete(&question())).await;
    assert_eq!(outcome.result.unwrap_err().kind(), "unavailable");
    assert_eq!(mock.seen().len(), 2, "what was refused was free and is repeated");
    assert_eq!(room.counts(), (2, 1));

    let (mock, room) = (Mock::start(down()).await, Room::of(2));
    let outcome = in_time(mock.model().permitted(&room).complete(&question())).await;
    assert_eq!(outcome.result.unwrap().text, "4");
    assert_eq!(room.counts(), (3, 1));
}

#[tokio::test]
async fn without_room_an_answer_is_not_repaired() {
    let mock = Mock::start([Line::answer("no object"), Line::answer("{}")]).await;
    let schema = Arc::new(Schema::new("thing", json!({"type": "object"})).unwrap());
    let (model, room) = (mock.model(), Room::of(1));
    let done = in_time(structured(&model.permitted(&room), question(), &schema, 2)).await;
    assert_eq!(done.result.unwrap_err().kind(), "malformed");
    assert_eq!((done.completions.len(), mock.seen().len()), (1, 1));
}
