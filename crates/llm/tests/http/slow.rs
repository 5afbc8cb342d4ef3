//! A body that comes drop by drop: whole if its time suffices, and given up as a whole if not, however steadily it drips.

use std::time::Duration;

use sipdo_llm::{ChatModel, Endpoint, Outcome, Paid};

use crate::mock::{Line, Mock, in_time, model, question};

/// A provider that does not stand still where the caller does, with this script.
fn apart(script: [Line; 2]) -> Mock {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            drop(tell.send(Mock::start(script).await));
            std::future::pending::<()>().await;
        });
    });
    told.recv().unwrap()
}

/// Twenty drops with a pause of 100 ms, and a whole answer after it, within this time each.
async fn dripping(timeout_seconds: f64) -> (Outcome, usize) {
    let mock = Mock::start([Line::Drip("4", Duration::from_millis(100)), Line::answer("5")]).await;
    let model = model(Endpoint {
        timeout_seconds,
        ..mock.endpoint()
    });
    let outcome = in_time(model.complete(&question())).await;
    let asked = mock.seen().len();
    (outcome, asked)
}

#[tokio::test]
async fn a_body_that_drips_is_waited_for_and_whole() {
    let (outcome, asked) = dripping(10.0).await;
    assert_eq!((outcome.result.unwrap().text.as_str(), asked), ("4", 1));
}

#[tokio::test]
async fn a_body_that_drips_for_too_long_is_given_up_and_asked_for_again() {
    let (outcome, asked) = dripping(1.0).await;
    assert_eq!((outcome.result.unwrap().text.as_str(), asked), ("5", 2));
    let first = &outcome.attempts[0];
    assert_eq!(
        (first.kind, first.paid),
        ("timeout", Paid::Unknown),
        "each drop is no sign of an end"
    );
}

#[tokio::test]
async fn an_answer_that_came_while_the_process_stood_still_is_taken_though_its_time_is_over() {
    let mock = apart([Line::Drip("4", Duration::from_millis(1)), Line::answer("5")]);
    let model = model(Endpoint {
        timeout_seconds: 0.5,
        ..mock.endpoint()
    });
    let (question, stands_still) = (question(), async {
        let asked = async {
            while mock.seen().is_empty() {
                tokio::task::yield_now().await
            }
        };
        in_time(asked).await;
        // Not a wait: this thread is the process that stands still.
        std::thread::sleep(Duration::from_secs(2));
    });
    let (outcome, ()) = tokio::join!(in_time(model.complete(&question)), stands_still);
    assert_eq!((outcome.result.unwrap().text.as_str(), mock.seen().len()), ("4", 1));
}
