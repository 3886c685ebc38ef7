//! Chance by parameter: whoever needs random bytes takes a [`Chance`], so that a run can be replayed from a seed.

use std::sync::Mutex;

/// A source of random bytes.
pub trait Chance: Send + Sync {
    /// Fills `bytes` wholly.
    fn fill(&self, bytes: &mut [u8]);
}

/// The operating system's randomness: for everything that runs for real, secrets included.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemChance;

impl Chance for SystemChance {
    #[expect(
        clippy::expect_used,
        clippy::disallowed_methods,
        reason = "without the system's randomness no secret is safe: stop here"
    )]
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }
}

/// A repeatable source for tests and the simulator; never for secrets.
#[derive(Debug)]
pub struct Seeded(Mutex<u64>);

impl Seeded {
    /// The sequence that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    /// The next number below `most`, which is above 0. Good enough for tries: small numbers are a trifle more frequent.
    pub fn below(&self, most: u64) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes) % most
    }
}

impl Chance for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        // A panic elsewhere leaves only a counter behind, so a poisoned lock is still good.
        let mut state = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for chunk in bytes.chunks_mut(8) {
            // SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
            *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = *state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            let random = z.to_le_bytes();
            for (to, from) in chunk.iter_mut().zip(random) {
                *to = from;
            }
        }
    }
}
