//! Which stored answers take the place of a new one: by their age, and by what the provider told of its model. Over a real nats-server and
//! a real HTTP provider, which counts.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of a test may fail it"
)]

mod support;

use sipdo_domain::Role;
use sipdo_protocol::{JobOutcome, pb};
use support::{Job, Mode, Plain, Provider, Running, World, eventually};

/// A model whose provider reports a dated name for it.
fn dated() -> Option<pb::ModelChoice> {
    Some(pb::ModelChoice {
        model: "dated".into(),
        ..pb::ModelChoice::default()
    })
}

/// Another run's job, at which an answer as old as this is too old, in milliseconds after the stored one was bought.
fn asks_again(run: &str, model: Option<pb::ModelChoice>, bought_ms: u64, after: (u64, u64)) -> Job {
    Job {
        model,
        reuse: Some(pb::Reuse {
            not_before_ms: bought_ms + after.0,
            without_revision_not_before_ms: bought_ms + after.1,
        }),
        ..Job::answer(run, "2+2?")
    }
}

async fn answered(world: &World, job: &Job) -> JobOutcome {
    world.publish(job).await;
    world.result(job).await
}

/// Buys the first answer, and says when.
async fn first(world: &World, model: Option<pb::ModelChoice>, stored: usize) -> u64 {
    let run = format!("first{stored}");
    let bought = answered(
        world,
        &Job {
            model,
            ..Job::answer(&run, "2+2?")
        },
    )
    .await;
    assert_eq!(bought.by.bought_ms, 0, "it was bought by its own job");
    eventually("the stored answer", || async {
        (world.bus.completions().list().await.unwrap().len() == stored).then_some(())
    })
    .await;
    bought.timing.started_ms
}

#[tokio::test]
async fn an_answer_of_a_model_that_tells_no_revision_is_reused_only_for_a_while() {
    let world = World::start().await;
    let provider = Provider::start(Mode::Say("four".into())).await;
    let _agent = Running::start(world.settings(Role::Learner, &provider, "one"), Box::new(Plain));
    let bought_ms = first(&world, None, 1).await;

    let young = answered(&world, &asks_again("young", None, bought_ms, (0, 0))).await;
    assert!(young.usage.from_store && young.by.bought_ms == bought_ms, "{young:?}");
    assert_eq!(provider.calls(), 1);

    let old = answered(&world, &asks_again("old", None, bought_ms, (0, 1))).await;
    assert!(!old.usage.from_store && old.by.bought_ms == 0, "{old:?}");
    assert_eq!(provider.calls(), 2);
}

#[tokio::test]
async fn an_answer_of_a_revision_that_is_told_is_reused_at_any_age_unless_all_are_to_be_fresh() {
    let world = World::start().await;
    let provider = Provider::start(Mode::Say("four".into())).await;
    let _agent = Running::start(world.settings(Role::Learner, &provider, "one"), Box::new(Plain));
    let bought_ms = first(&world, dated(), 1).await;

    let old = answered(&world, &asks_again("old", dated(), bought_ms, (0, 1))).await;
    assert!(old.usage.from_store, "{old:?}");
    assert_eq!(old.by.revision, "dated-2026-01-01");
    assert_eq!(provider.calls(), 1);

    let fresh = answered(&world, &asks_again("fresh", dated(), bought_ms, (1, 1))).await;
    assert!(!fresh.usage.from_store, "{fresh:?}");
    assert_eq!(provider.calls(), 2);
}
