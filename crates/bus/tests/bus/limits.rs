//! Limits of streams: set by an operator, applied to streams that are there, and what is told when one is met.

use std::time::Duration;

use sipdo_bus::{Bus, BusError, BusSettings, Limits, NewMessage, Store, StoreUse};

use crate::kit::{self, Server, run};

fn limits(bytes: &str, keep: &str) -> Limits {
    let mut limits = Limits::default();
    limits.max_bytes_of(bytes).unwrap();
    limits.keep_of(keep).unwrap();
    limits
}

async fn connect(server: &Server, limits: Limits) -> Bus {
    let settings = BusSettings {
        limits,
        ..kit::settings(server)
    };
    Bus::connect(settings).await.unwrap()
}

async fn used(bus: &Bus, store: Store) -> StoreUse {
    let usage = bus.usage().await.unwrap();
    usage.stores.into_iter().find(|used| used.store == store).unwrap()
}

#[tokio::test]
async fn what_is_truth_about_a_run_has_no_age_and_no_limit_unless_asked_for() {
    let (_server, bus) = kit::bus().await;
    for store in [Store::Runs, Store::Attempts, Store::Models, Store::Tasks] {
        let used = used(&bus, store).await;
        assert_eq!((used.max_age, used.max_bytes), (None, None), "{store:?}");
    }
    let month = Some(Duration::from_hours(24 * 30));
    assert_eq!(used(&bus, Store::Completions).await.max_age, month);
    let dead = used(&bus, Store::DeadLetters).await;
    assert_eq!((dead.max_age, dead.max_bytes), (month, Some(256 << 20)));
}

#[tokio::test]
async fn a_changed_limit_is_applied_to_a_stream_that_is_there_and_the_rest_stays() {
    let (server, first) = kit::bus().await;
    let bus = connect(
        &server,
        limits("runs=1MB,completions=2MB", "completions=7d,attempts=90d"),
    )
    .await;
    bus.ensure_streams().await.unwrap();
    assert_eq!(
        used(&first, Store::Runs).await.max_bytes,
        None,
        "applied only when it is asked for"
    );
    bus.apply_limits().await.unwrap();
    assert_eq!(used(&first, Store::Runs).await.max_bytes, Some(1_000_000));
    let completions = used(&first, Store::Completions).await;
    assert_eq!(completions.max_bytes, Some(2_000_000));
    assert_eq!(completions.max_age, Some(Duration::from_hours(24 * 7)));
    assert_eq!(
        used(&first, Store::Attempts).await.max_age,
        Some(Duration::from_hours(24 * 90))
    );
    // Others, who know nothing of these limits, neither mind nor change them.
    first.ensure_streams().await.unwrap();
    first.apply_limits().await.unwrap();
    assert_eq!(used(&first, Store::Runs).await.max_bytes, Some(1_000_000));
    // And it is lifted again.
    let lifted = connect(&server, limits("runs=none", "")).await;
    lifted.apply_limits().await.unwrap();
    assert_eq!(used(&first, Store::Runs).await.max_bytes, None);
    assert_eq!(used(&first, Store::Completions).await.max_bytes, Some(2_000_000));
}

#[tokio::test]
async fn a_limit_that_the_server_refuses_is_an_error_that_names_it() {
    let server = kit::server_with(|options| options.max_store = Some(1 << 30)).await;
    let bus = kit::connect(&server).await;
    bus.ensure_streams().await.unwrap();
    let bus = connect(&server, limits("runs=20GB", "")).await;
    let error = bus.apply_limits().await.unwrap_err().to_string();
    for words in ["SIPDO_RUN", "20.0 GB", "insufficient storage", "max_file_store"] {
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[tokio::test]
async fn a_full_stream_refuses_what_is_new_says_so_and_takes_it_when_there_is_room() {
    let server = kit::server().await;
    let bus = connect(&server, limits("runs=100kB,tasks=100kB", "")).await;
    bus.ensure_streams().await.unwrap();
    let large = || NewMessage::new(vec![7; 40_000]);
    bus.create_run(&run("r1"), large()).await.unwrap();
    bus.create_run(&run("r2"), large()).await.unwrap();
    let full = bus.create_run(&run("r3"), large()).await.unwrap_err().to_string();
    for words in ["SIPDO_RUN", "80.", "100.0 kB", "limit of runs", "runs delete"] {
        assert!(full.contains(words), "{words}: {full}");
    }
    let control = bus.control(&run("r1"), large(), "x").await.unwrap_err();
    assert!(matches!(control, BusError::Full { .. }), "{control}");
    let usage = bus.usage().await.unwrap();
    assert!(usage.without_room(0, 900).is_none() && usage.without_room(40_000, 900).is_some());
    assert!(
        bus.first_log(&run("r1")).await.unwrap().is_some(),
        "nothing old is forgotten"
    );
    bus.delete_run(&run("r1")).await.unwrap();
    bus.create_run(&run("r3"), large()).await.unwrap();

    let task = bus.put_task(&[1; 200_000]).await.unwrap_err();
    assert!(
        matches!(task, BusError::Full { .. }) && task.to_string().contains("OBJ_sipdo_tasks"),
        "{task}"
    );
}

#[tokio::test]
async fn a_full_store_of_completions_forgets_its_oldest() {
    let server = kit::server().await;
    let bus = connect(&server, limits("completions=100kB", "")).await;
    bus.ensure_streams().await.unwrap();
    for key in ["a", "b", "c"] {
        bus.completions().put(key, vec![7; 40_000]).await.unwrap();
    }
    assert!(bus.completions().get("a").await.unwrap().is_none());
    assert!(bus.completions().get("c").await.unwrap().is_some());
}

#[tokio::test]
async fn a_server_without_room_is_told_as_such() {
    let server = kit::server_with(|options| options.max_store = Some(1_000_000)).await;
    // Too little for the usual limit of dead letters, which is left out then.
    let bus = kit::connect(&server).await;
    bus.ensure_streams().await.unwrap();
    let large = || NewMessage::new(vec![7; 400_000]);
    let mut made = 0;
    let error = loop {
        made += 1;
        assert!(made < 10, "the server takes everything");
        if let Err(error) = bus.create_run(&run(&format!("r{made}")), large()).await {
            break error.to_string();
        }
    };
    assert!(
        error.contains("insufficient resources") && error.contains("without a limit of its own"),
        "{error}"
    );
    bus.delete_run(&run("r1")).await.unwrap();
    bus.create_run(&run("again"), large()).await.unwrap();
}
