//! Every random choice of the simulator, drawn from a hash of the request and the server's seed.
//!
//! The same request to a server with the same seed is therefore always answered in the same way, whatever came before it.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// The generator used for every draw.
pub type Rng = ChaCha8Rng;

/// The source of all draws for one request.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    fingerprint: [u8; 32],
}

impl Draw {
    /// A source fixed by the server's seed and the parts of the request that matter.
    #[must_use]
    pub fn new<'a>(seed: u64, parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Sha256::new();
        hash.update(seed.to_le_bytes());
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self {
            fingerprint: hash.finalize().into(),
        }
    }

    /// An independent random stream for one topic.
    #[must_use]
    pub fn rng(&self, topic: &str) -> Rng {
        let mut seed = self.fingerprint;
        for (byte, salt) in seed
            .iter_mut()
            .zip(mix(fnv([topic.as_bytes()])).to_le_bytes().into_iter().cycle())
        {
            *byte ^= salt;
        }
        Rng::from_seed(seed)
    }

    /// True with probability `rate` (0..=1), by a stream of its own.
    #[must_use]
    pub fn chance(&self, topic: &str, rate: f64) -> bool {
        rate > 0.0 && (self.number(topic) as f64 / u64::MAX as f64) < rate
    }

    /// A number below `bound` (0 when the bound is 0).
    #[must_use]
    pub fn below(&self, topic: &str, bound: usize) -> usize {
        usize::try_from(self.number(topic) % (bound.max(1) as u64)).unwrap_or(0)
    }

    /// The first eight bytes of the fingerprint, as lower-case hexadecimal.
    #[must_use]
    pub fn short_hex(&self) -> String {
        self.fingerprint
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    fn number(&self, topic: &str) -> u64 {
        mix(fnv([&self.fingerprint[..], topic.as_bytes()]))
    }
}

/// FNV-1a over the parts: a fixed, cheap hash for choices that need no cryptography.
#[must_use]
pub fn fnv<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        for byte in part.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}

/// Spreads the bits of a hash (the finaliser of `MurmurHash3`), so that its low bits may be used.
#[must_use]
pub fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_request_and_the_seed() {
        let one = Draw::new(1, [b"ask".as_slice()]);
        assert_eq!(
            one.below("form", 1000),
            Draw::new(1, [b"ask".as_slice()]).below("form", 1000)
        );
        let others = [
            Draw::new(2, [b"ask".as_slice()]),
            Draw::new(1, [b"as".as_slice(), b"k".as_slice()]),
        ];
        for other in others {
            assert_ne!(one.short_hex(), other.short_hex());
        }
    }

    #[test]
    fn chances_come_out_at_their_rate() {
        let hits = (0..4000u32)
            .filter(|n| Draw::new(7, [&n.to_le_bytes()[..]]).chance("noise", 0.15))
            .count();
        assert!((500..700).contains(&hits), "{hits} of 4000 at rate 0.15");
        assert!(!Draw::new(7, []).chance("noise", 0.0));
        assert!(Draw::new(7, []).chance("noise", 1.0));
    }
}
