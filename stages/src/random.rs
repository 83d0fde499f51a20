//! Randomness without state: every draw derives from (seed, epoch, item, purpose); neither resuming
//! nor the thread count changes it.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use voxflow_cache::Digest;

/// A random stream for a purpose and an item.
#[derive(Clone, Debug)]
pub struct Draw(ChaCha8Rng);

impl Draw {
    /// The stream of (seed, epoch, item, purpose): ChaCha8 seeded by their blake3 hash.
    pub fn new(seed: u64, epoch: u64, item: u64, purpose: &str) -> Draw {
        let mut key = Vec::with_capacity(24 + purpose.len());
        [seed, epoch, item].iter().for_each(|number| key.extend(number.to_le_bytes()));
        key.extend(purpose.as_bytes());
        Draw(ChaCha8Rng::from_seed(*Digest::of(&key).as_bytes()))
    }

    /// 64 uniform bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in [0, 1), with 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in [low, high).
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform in 0..n, without bias (Lemire's method with rejection). `n` must not be 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "no number is below 0");
        let threshold = n.wrapping_neg() % n;
        loop {
            let wide = u128::from(self.bits()) * u128::from(n);
            if wide as u64 >= threshold {
                return (wide >> 64) as u64;
            }
        }
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Standard normal (Box–Muller, by libm: the same on every machine).
    pub fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.unit()));
        radius * libm::cos(std::f64::consts::TAU * self.unit())
    }

    /// A random order of `items` (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_keys_draw_equal_numbers_and_each_part_of_the_key_counts() {
        let first = |seed, epoch, item, purpose| Draw::new(seed, epoch, item, purpose).bits();
        assert_eq!(first(1, 2, 3, "a"), first(1, 2, 3, "a"));
        let others =
            [first(0, 2, 3, "a"), first(1, 0, 3, "a"), first(1, 2, 0, "a"), first(1, 2, 3, "b")];
        assert!(others.iter().all(|other| *other != first(1, 2, 3, "a")));
    }

    #[test]
    fn numbers_below_n_are_uniform() {
        let mut draw = Draw::new(7, 0, 0, "test");
        let mut counts = [0u32; 5];
        (0..50_000).for_each(|_| counts[draw.below(5) as usize] += 1);
        let chi2: f64 = counts.iter().map(|&n| (f64::from(n) - 10_000.0).powi(2) / 10_000.0).sum();
        assert!(chi2 < 18.5, "chi-squared {chi2} with 4 degrees of freedom (p = 0.001)");
    }
}
