//! The object store of tasks, whose data may be larger than a message. An object is named by the hash of its content,
//! so that the same task is stored once and cannot change under a run.

use async_nats::jetstream::object_store::{GetErrorKind, InfoErrorKind, ObjectStore};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;

use crate::connection::Bus;
use crate::error::BusError;
use crate::subjects::{TASK_BUCKET, object_stream};

impl Bus {
    /// Stores a task and returns the SHA-256 of its bytes in hexadecimal, under which it is found again.
    ///
    /// # Errors
    /// The server cannot be reached, or is full.
    pub async fn put_task(&self, task: &[u8]) -> Result<String, BusError> {
        const DOING: &str = "storing a task";
        let hash = hash(task);
        let store = self.task_store(DOING).await?;
        match store.info(&hash).await {
            Ok(found) if !found.deleted && found.size == task.len() => return Ok(hash),
            Ok(_) => {}
            Err(error) if error.kind() == InfoErrorKind::NotFound => {}
            Err(error) => return Err(BusError::failed(DOING, error)),
        }
        let mut content = task;
        match store.put(hash.as_str(), &mut content).await {
            Ok(_) => Ok(hash),
            Err(error) => Err(self.not_stored(DOING, &error.to_string()).await),
        }
    }

    /// The task of this hash, if it is there, checked against the hash.
    ///
    /// # Errors
    /// The server cannot be reached; the content is not what the hash says.
    pub async fn task(&self, hash_of_task: &str) -> Result<Option<Bytes>, BusError> {
        const DOING: &str = "reading a task";
        let mut object = match self.task_store(DOING).await?.get(hash_of_task).await {
            Ok(object) => object,
            Err(error) if error.kind() == GetErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(BusError::failed(DOING, error)),
        };
        let mut content = Vec::new();
        object
            .read_to_end(&mut content)
            .await
            .map_err(|error| BusError::failed(DOING, error))?;
        if hash(&content) != hash_of_task {
            return Err(BusError::Corrupt {
                bucket: TASK_BUCKET,
                hash: hash_of_task.to_owned(),
            });
        }
        Ok(Some(content.into()))
    }

    /// The client hands on only the words of the server.
    async fn not_stored(&self, doing: &'static str, reason: &str) -> BusError {
        let full = ["maximum bytes exceeded", "insufficient resources", "no space left"];
        match full.into_iter().find(|words| reason.contains(words)) {
            Some(words) => self.full(doing, &object_stream(TASK_BUCKET), words).await,
            None => BusError::failed(doing, reason),
        }
    }

    async fn task_store(&self, doing: &'static str) -> Result<ObjectStore, BusError> {
        self.jetstream()
            .get_object_store(TASK_BUCKET)
            .await
            .map_err(|error| BusError::failed(doing, error))
    }
}

fn hash(content: &[u8]) -> String {
    Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
