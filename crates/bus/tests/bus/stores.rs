//! Models, completions and tasks.

use std::collections::BTreeMap;

use sipdo_bus::Entry;

use crate::kit::{self, bus, run};

fn values(entries: &BTreeMap<String, Entry>) -> Vec<(String, String)> {
    let text = |entry: &Entry| String::from_utf8_lossy(&entry.value).into_owned();
    entries.iter().map(|(key, entry)| (key.clone(), text(entry))).collect()
}

#[tokio::test]
async fn a_watch_of_models_shows_changes_also_after_a_killed_server() {
    let (mut server, bus) = bus().await;
    let models = bus.models();
    models.put("learner", "small").await.unwrap();
    models.put("checker", "medium").await.unwrap();
    let mut watched = models.watch().await.unwrap();
    assert_eq!(
        values(&watched.borrow()),
        [("checker".into(), "medium".into()), ("learner".into(), "small".into())]
    );

    let revision = models.put("learner", "large").await.unwrap();
    let is_large = |known: &BTreeMap<String, Entry>| known["learner"].value == "large";
    let seen = kit::soon("the change", watched.wait_for(is_large)).await.unwrap()["learner"].revision;
    assert_eq!(seen, revision);

    server.nats.kill().await.unwrap();
    server.nats.start_again().await.unwrap();
    models.put("run-1.learner", "tiny").await.unwrap();
    models.remove("checker").await.unwrap();
    let done = |known: &BTreeMap<String, Entry>| known.contains_key("run-1.learner") && !known.contains_key("checker");
    kit::soon("changes after the restart", watched.wait_for(done))
        .await
        .unwrap();
    assert_eq!(
        values(&models.list().await.unwrap()),
        [
            ("learner".into(), "large".into()),
            ("run-1.learner".into(), "tiny".into())
        ]
    );
    assert!(models.get("checker").await.unwrap().is_none());
}

#[tokio::test]
async fn the_registry_remembers_who_changed_what() {
    let (_server, bus) = bus().await;
    let models = bus.models();
    models.put("learner", "small").await.unwrap();
    models.change("checker", Some("medium".into()), "ann").await.unwrap();
    models
        .change("learner", Some("large".into()), "ben\nand more")
        .await
        .unwrap();
    models.change("checker", None, "cleo").await.unwrap();
    let history = models.history().await.unwrap();
    let told: Vec<_> = history
        .iter()
        .map(|change| (change.key.as_str(), change.value.as_deref(), change.by.as_str()))
        .collect();
    let value = |text: &'static str| Some(text.as_bytes());
    assert_eq!(
        told,
        [
            ("learner", value("small"), ""),
            ("checker", value("medium"), "ann"),
            ("learner", value("large"), "ben and more"),
            ("checker", None, "cleo"),
        ]
    );
    assert!(history.windows(2).all(|pair| pair[0].revision < pair[1].revision));
    assert_eq!(
        values(&models.list().await.unwrap()),
        [("learner".into(), "large".into())]
    );
}

#[tokio::test]
async fn a_trial_is_answered_by_the_one_that_is_asked() {
    let (_server, bus) = bus().await;
    let agent = sipdo_bus::AgentId::new("checker-1").unwrap();
    let wait = std::time::Duration::from_secs(5);
    assert_eq!(
        bus.probe(&agent, "x".into(), wait).await.unwrap(),
        None,
        "nobody is there"
    );
    let _probes = bus
        .answer_probes(&agent, |what| async move { [b"tried ", &what[..]].concat().into() })
        .await
        .unwrap();
    let answer = bus.probe(&agent, "this".into(), wait).await.unwrap();
    assert_eq!(answer.as_deref(), Some(b"tried this".as_slice()));
}

#[tokio::test]
async fn completions_are_found_by_anybody() {
    let (server, bus) = bus().await;
    let key = "0f".repeat(32);
    assert!(bus.completions().get(&key).await.unwrap().is_none());
    bus.completions().put(&key, "the answer").await.unwrap();
    let other = kit::connect(&server).await;
    assert_eq!(
        other.completions().get(&key).await.unwrap().unwrap().value,
        "the answer"
    );
}

#[tokio::test]
async fn a_listing_ends_also_where_a_batch_does() {
    let (_server, bus) = bus().await;
    let models = bus.models();
    // The server is asked for a thousand at a time.
    for count in [1000, 2000] {
        let puts = (count - 1000..count).map(|n| {
            let models = models.clone();
            async move { models.put(&format!("role-{n}"), "x").await.unwrap() }
        });
        futures::future::join_all(puts).await;
        assert_eq!(models.list().await.unwrap().len(), count);
    }
}

#[tokio::test]
async fn a_task_larger_than_a_message_comes_back_whole() {
    let server = kit::server_with(|options| options.max_payload = 256 << 10).await;
    let bus = kit::connect(&server).await;
    bus.ensure_streams().await.unwrap();
    let task: Vec<u8> = (0..700_000_u32).flat_map(u32::to_le_bytes).collect();
    let hash = bus.put_task(&task).await.unwrap();
    assert_eq!(hash.len(), 64);
    assert_eq!(bus.put_task(&task).await.unwrap(), hash, "stored once");
    assert!(bus.task(&hash).await.unwrap().unwrap() == task);
    assert!(bus.task(&"0".repeat(64)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_cancellation_is_heard_by_everybody() {
    let (server, bus) = bus().await;
    let other = kit::connect(&server).await;
    let mut heard = [bus.cancellations().await.unwrap(), other.cancellations().await.unwrap()];
    bus.broadcast_cancel(&run("r")).await.unwrap();
    for heard in &mut heard {
        let cancelled = kit::soon("the cancellation", futures::StreamExt::next(heard)).await;
        assert_eq!(cancelled, Some(run("r")));
    }
}
