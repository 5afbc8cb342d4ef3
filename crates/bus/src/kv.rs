//! The key-value buckets: models and completions. One last value per key, with a revision.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::consumer::DeliverPolicy;
use bytes::Bytes;
use tokio::sync::watch;

use crate::connection::Bus;
use crate::error::BusError;
use crate::message::{NewMessage, Stored};
use crate::subjects::{COMPLETION_BUCKET, MODEL_BUCKET, bucket_key, bucket_stream, header};
use crate::tail::Tail;

/// Besides watching, a bucket is listed anew this often: entries that expire are told to nobody, and a watch is an
/// old source of trouble.
const RELIST: Duration = Duration::from_secs(15);
const RETRY: Duration = Duration::from_secs(1);
const CHUNK: usize = 1024;

/// A key-value bucket.
#[derive(Debug, Clone)]
pub struct Bucket {
    bus: Bus,
    name: &'static str,
    stream: String,
}

/// The value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Bytes,
    /// Grows with every change anywhere in the bucket.
    pub revision: u64,
    /// When it was put.
    pub time: SystemTime,
}

/// One change of a key, as the bucket remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// What stands there from then on; none where it was removed.
    pub value: Option<Bytes>,
    /// Who changed it, in words; empty where nobody said.
    pub by: String,
    /// Grows with every change anywhere in the bucket.
    pub revision: u64,
    /// When the server took it.
    pub time: SystemTime,
}

impl Bus {
    /// Which model each role, or a role of one run, uses. Keys: `role` or `run.role`.
    #[must_use]
    pub fn models(&self) -> Bucket {
        self.bucket(MODEL_BUCKET)
    }

    /// Answers already bought. Keys: the hash of the whole request.
    #[must_use]
    pub fn completions(&self) -> Bucket {
        self.bucket(COMPLETION_BUCKET)
    }

    fn bucket(&self, name: &'static str) -> Bucket {
        Bucket {
            bus: self.clone(),
            name,
            stream: bucket_stream(name),
        }
    }
}

impl Bucket {
    /// Puts a value and returns its revision. What is there is overwritten.
    ///
    /// # Errors
    /// A key that is not made of letters, digits and `-/_=.`; too large; outcome unknown.
    pub async fn put(&self, key: &str, value: impl Into<Bytes>) -> Result<u64, BusError> {
        self.write(key, NewMessage::new(value)).await
    }

    /// As [`Bucket::put`], and as [`Bucket::remove`] where there is no value; keeps who did it.
    ///
    /// # Errors
    /// As [`Bucket::put`].
    pub async fn change(&self, key: &str, value: Option<Bytes>, by: &str) -> Result<u64, BusError> {
        let message = match value {
            Some(value) => NewMessage::new(value),
            None => removal(),
        };
        self.write(key, message.with(header::BY, by)).await
    }

    /// Every change that the bucket still remembers, oldest first.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn history(&self) -> Result<Vec<Change>, BusError> {
        let filter = bucket_key(self.name, ">");
        let all = self.bus.collect(&self.stream, &filter, DeliverPolicy::All).await?;
        let change = |stored: &Stored| {
            Some(Change {
                key: self.key_of(stored)?,
                value: entry(stored).map(|entry| entry.value),
                by: stored.headers.get(header::BY).unwrap_or_default().to_owned(),
                revision: stored.seq,
                time: stored.time,
            })
        };
        Ok(all.iter().filter_map(change).collect())
    }

    /// Removes the value of a key.
    ///
    /// # Errors
    /// As [`Bucket::put`].
    pub async fn remove(&self, key: &str) -> Result<(), BusError> {
        self.write(key, removal()).await.map(|_| ())
    }

    /// The value of a key. In a cluster it may be a moment old.
    ///
    /// # Errors
    /// An impossible key; the server cannot be asked.
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, BusError> {
        check_key(key)?;
        let last = self
            .bus
            .last_from_anyone(&self.stream, &bucket_key(self.name, key))
            .await?;
        Ok(last.and_then(|stored| entry(&stored)))
    }

    /// All keys and their values.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn list(&self) -> Result<BTreeMap<String, Entry>, BusError> {
        let all = self.bus.last_of_each(&self.stream, &bucket_key(self.name, ">")).await?;
        Ok(all
            .iter()
            .filter_map(|stored| Some((self.key_of(stored)?, entry(stored)?)))
            .collect())
    }

    /// All keys and their values now, and again whenever one changes, until the receiver is dropped. Survives whatever
    /// happens to the server.
    ///
    /// # Errors
    /// The server cannot be asked for the values of now.
    pub async fn watch(&self) -> Result<watch::Receiver<BTreeMap<String, Entry>>, BusError> {
        let (sender, receiver) = watch::channel(self.list().await?);
        let bucket = self.clone();
        tokio::spawn(async move { bucket.follow(&sender).await });
        Ok(receiver)
    }

    async fn follow(&self, sender: &watch::Sender<BTreeMap<String, Entry>>) {
        let mut tail = self.tail();
        let mut relist = tokio::time::interval_at(tokio::time::Instant::now() + RELIST, RELIST);
        relist.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = sender.closed() => return,
                changes = tail.next_chunk(CHUNK) => match changes {
                    Ok(changes) => sender.send_if_modified(|known| self.apply(known, &changes)),
                    Err(error) => {
                        tracing::warn!(bucket = self.name, %error, "cannot follow the bucket, trying again");
                        tokio::time::sleep(RETRY).await;
                        tail = self.tail();
                        continue;
                    }
                },
                _ = relist.tick() => match self.list().await {
                    Ok(listed) => sender.send_if_modified(|known| replace(known, listed)),
                    Err(error) => {
                        tracing::debug!(bucket = self.name, %error, "cannot list the bucket");
                        false
                    }
                },
            };
        }
    }

    fn tail(&self) -> Tail {
        Tail::new(
            &self.bus,
            self.stream.clone(),
            bucket_key(self.name, ">"),
            DeliverPolicy::LastPerSubject,
        )
    }

    /// Applies changes to what is known, and tells whether they changed anything.
    fn apply(&self, known: &mut BTreeMap<String, Entry>, changes: &[Stored]) -> bool {
        let mut changed = false;
        for stored in changes {
            let Some(key) = self.key_of(stored) else { continue };
            if known.get(&key).is_some_and(|entry| entry.revision >= stored.seq) {
                continue;
            }
            changed |= match entry(stored) {
                Some(entry) => known.insert(key, entry).is_none_or(|old| old.revision < stored.seq),
                None => known.remove(&key).is_some(),
            };
        }
        changed
    }

    fn key_of(&self, stored: &Stored) -> Option<String> {
        stored
            .subject
            .strip_prefix(&bucket_key(self.name, ""))
            .map(str::to_owned)
    }

    async fn write(&self, key: &str, message: NewMessage) -> Result<u64, BusError> {
        check_key(key)?;
        let subject = bucket_key(self.name, key);
        let what = match self.name {
            MODEL_BUCKET => "model of a role",
            _ => "stored completion",
        };
        // Without a message id: a value put, removed and put again must not be taken for a repetition.
        self.bus.deliver(&self.stream, &subject, what, message, "").await
    }
}

/// Replaces what is known by what was listed, keeping what a watch has brought since, and tells whether that changed
/// anything.
fn replace(known: &mut BTreeMap<String, Entry>, mut listed: BTreeMap<String, Entry>) -> bool {
    let newest = listed.values().map(|entry| entry.revision).max().unwrap_or_default();
    for (key, entry) in known.iter().filter(|(_, entry)| entry.revision > newest) {
        listed.insert(key.clone(), entry.clone());
    }
    if *known == listed {
        return false;
    }
    *known = listed;
    true
}

fn removal() -> NewMessage {
    NewMessage::default().with(header::KV_OPERATION, "DEL")
}

fn entry(stored: &Stored) -> Option<Entry> {
    let removed = matches!(stored.headers.get(header::KV_OPERATION), Some("DEL" | "PURGE"));
    (!removed).then(|| Entry {
        value: stored.payload.clone(),
        revision: stored.seq,
        time: stored.time,
    })
}

fn check_key(key: &str) -> Result<(), BusError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-/_=.".contains(c);
    if !key.is_empty() && key.split('.').all(|part| !part.is_empty()) && key.chars().all(fits) {
        return Ok(());
    }
    Err(BusError::InvalidName {
        what: "key of a bucket",
        text: key.to_owned(),
        reason: "only letters, digits and `-/_=.`, without empty parts".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(revision: u64) -> Entry {
        Entry {
            value: Bytes::from(revision.to_string()),
            revision,
            time: SystemTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_listing_does_not_undo_what_the_watch_has_brought_since() {
        let mut known = BTreeMap::from([
            ("gone".to_owned(), at(1)),
            ("a".to_owned(), at(2)),
            ("new".to_owned(), at(9)),
        ]);
        let listed = BTreeMap::from([("a".to_owned(), at(5))]);
        assert!(replace(&mut known, listed.clone()));
        assert_eq!(
            known,
            BTreeMap::from([("a".to_owned(), at(5)), ("new".to_owned(), at(9))])
        );
        assert!(!replace(&mut known.clone(), known.clone()));
    }

    #[test]
    fn impossible_keys_are_refused_before_they_become_subjects() {
        for bad in ["", ".", "a..b", ".a", "a.", "qwen3:4b", "a b", "*", ">"] {
            assert!(check_key(bad).is_err(), "{bad:?}");
        }
        assert!(check_key("run-1.learner").is_ok());
    }
}
