//! What the streams hold and may hold: for people, and for holding runs back before there is no room left.

use std::time::Duration;

use crate::connection::Bus;
use crate::error::BusError;
use crate::limits::{Store, size};

/// Of a limit, so many thousandths may be used before runs are held back: the rest is for the answers that are on their
/// way, for the last decisions of what runs, and for what a user says.
pub const HIGH_WATER: u64 = 900;

/// What one stream holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreUse {
    /// Which one.
    pub store: Store,
    /// Messages in it.
    pub messages: u64,
    /// Bytes that they take, in each copy.
    pub bytes: u64,
    /// Most bytes, if there is a limit.
    pub max_bytes: Option<u64>,
    /// Longest age, if there is a limit.
    pub max_age: Option<Duration>,
    /// Copies.
    pub replicas: usize,
}

/// What all streams hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Each of them.
    pub stores: Vec<StoreUse>,
    /// Bytes in all streams of the account, also of others than sipdo, with their copies.
    pub total: u64,
    /// Most of them: what the account may, or what the settings say, whichever is less.
    pub max_total: Option<u64>,
}

impl Usage {
    /// Why nothing new should be begun, if so: a stream that refuses what is new, or all of them together, is filled to
    /// `per_mille` of its limit, or would be with `more` bytes of it.
    #[must_use]
    pub fn without_room(&self, more: u64, per_mille: u64) -> Option<String> {
        let tight = |bytes: u64, most: u64| {
            u128::from(bytes) + u128::from(more) > u128::from(most) * u128::from(per_mille) / 1000
        };
        let refusing = self.stores.iter().filter(|used| !used.store.forgets());
        for used in refusing.filter(|used| used.store != Store::Jobs) {
            if let Some(most) = used.max_bytes.filter(|most| tight(used.bytes, *most)) {
                return Some(format!(
                    "the stream {} holds {} of at most {} (limit of {})",
                    used.store.stream(),
                    size(used.bytes),
                    size(most),
                    used.store.name(),
                ));
            }
        }
        let most = self.max_total.filter(|most| tight(self.total, *most))?;
        Some(format!(
            "all streams together hold {} of at most {} (limit of total)",
            size(self.total),
            size(most)
        ))
    }
}

impl Bus {
    /// What every stream holds, and may hold.
    ///
    /// # Errors
    /// The server cannot be asked, or a stream is missing.
    pub async fn usage(&self) -> Result<Usage, BusError> {
        const DOING: &str = "asking what the streams hold";
        let stores = futures::future::try_join_all(Store::ALL.map(|store| self.store_use(store)));
        let (account, stores) = tokio::join!(self.jetstream().query_account(), stores);
        let account = account.map_err(|error| BusError::failed(DOING, error))?;
        // A limit by tier (of streams with so many copies) takes the place of one for the whole account.
        let tiers = account.tiers.values().map(|tier| tier.limits.max_storage);
        let limits = tiers.chain([account.limits.max_storage]).flatten();
        let limits = limits.filter_map(|most| u64::try_from(most).ok().filter(|most| *most > 0));
        Ok(Usage {
            stores: stores?,
            total: account.storage,
            max_total: limits.chain(self.settings().limits.total()).min(),
        })
    }

    async fn store_use(&self, store: Store) -> Result<StoreUse, BusError> {
        const DOING: &str = "asking what a stream holds";
        let stream = self.jetstream().get_stream_no_info(store.stream()).await;
        let stream = stream.map_err(|error| BusError::failed(DOING, error))?;
        let info = stream
            .get_info()
            .await
            .map_err(|error| BusError::failed(DOING, error))?;
        Ok(StoreUse {
            store,
            messages: info.state.messages,
            bytes: info.state.bytes,
            max_bytes: u64::try_from(info.config.max_bytes).ok().filter(|most| *most > 0),
            max_age: Some(info.config.max_age).filter(|age| !age.is_zero()),
            replicas: info.config.num_replicas.max(1),
        })
    }

    /// The error of a message that was refused for lack of room, with what the stream holds where that can be asked.
    pub(crate) async fn full(&self, doing: &'static str, stream: &str, server_says: &str) -> BusError {
        let store = Store::ALL.into_iter().find(|store| store.stream() == stream);
        let found = match store {
            Some(store) => self.store_use(store).await.ok(),
            None => None,
        };
        let reason = match found {
            Some(used) => {
                let most = used.max_bytes.map_or("without a limit of its own".to_owned(), |most| {
                    format!("of at most {} (limit of {})", size(most), used.store.name())
                });
                format!(
                    "the stream {stream} holds {} {most}; the server says: {server_says}",
                    size(used.bytes)
                )
            }
            None => format!("the stream {stream} takes no more; the server says: {server_says}"),
        };
        BusError::Full { doing, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(store: Store, bytes: u64, max_bytes: Option<u64>) -> StoreUse {
        StoreUse {
            store,
            messages: 1,
            bytes,
            max_bytes,
            max_age: None,
            replicas: 1,
        }
    }

    #[test]
    fn there_is_no_room_before_the_limit_is_met() {
        let room = |store, bytes, most, more| {
            let usage = Usage {
                stores: vec![used(store, bytes, most)],
                total: bytes,
                max_total: None,
            };
            usage.without_room(more, HIGH_WATER)
        };
        assert_eq!(room(Store::Runs, 900, Some(1000), 0), None);
        let told = room(Store::Runs, 901, Some(1000), 0).unwrap();
        assert!(told.contains("SIPDO_RUN holds 901 B of at most 1.0 kB"), "{told}");
        assert!(
            room(Store::Tasks, 100, Some(1000), 900).is_some(),
            "a task that would not fit"
        );
        assert_eq!(room(Store::Runs, u64::MAX, None, u64::MAX), None, "no limit");
        assert_eq!(
            room(Store::Completions, 1000, Some(1000), 0),
            None,
            "forgets its oldest"
        );
        assert_eq!(room(Store::Jobs, 1000, Some(1000), 0), None, "empties by itself");
    }

    #[test]
    fn all_together_may_be_too_much() {
        let usage = Usage {
            stores: vec![used(Store::Runs, 10, None)],
            total: 950,
            max_total: Some(1000),
        };
        assert!(usage.without_room(0, HIGH_WATER).unwrap().contains("limit of total"));
        assert_eq!(usage.without_room(0, 1000), None);
    }
}
