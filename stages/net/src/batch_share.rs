//! A rank's share of a batch in data-parallel training.

/// A rank's patches in a batch: consecutive, in the batch's order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchShare {
    /// The first one's place in the batch.
    pub first: usize,
    /// Number of patches; at least 1.
    pub patches: usize,
    /// Patches of the whole batch.
    pub total: usize,
    /// True if no patch was left. The rank computes with the batch's first patch then, at no
    /// weight: all ranks take the same steps, as collective operations need.
    pub is_idle: bool,
}

impl BatchShare {
    /// The share of `rank` (from 0) among `ranks`. Where they do not divide the batch, the first
    /// ranks have one patch more.
    pub fn new(total: usize, rank: usize, ranks: usize) -> BatchShare {
        let (each, rest) = (total / ranks, total % ranks);
        let first = rank * each + rank.min(rest);
        match each + usize::from(rank < rest) {
            0 => BatchShare { first: 0, patches: total.min(1), total, is_idle: true },
            patches => BatchShare { first, patches, total, is_idle: false },
        }
    }

    /// The share's weight in means over the batch; those over all ranks add up to 1.
    pub fn weight(&self) -> f64 {
        if self.is_idle { 0.0 } else { self.patches as f64 / self.total as f64 }
    }

    /// True if the share is the whole batch.
    pub fn is_whole(&self) -> bool {
        self.patches == self.total && !self.is_idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_all_ranks_are_the_batch_in_order_and_their_weights_add_up_to_one() {
        for total in 1..20 {
            for ranks in 1..6 {
                let shares: Vec<BatchShare> =
                    (0..ranks).map(|rank| BatchShare::new(total, rank, ranks)).collect();
                let busy = shares.iter().filter(|share| !share.is_idle);
                let places: Vec<usize> =
                    busy.flat_map(|share| share.first..share.first + share.patches).collect();
                assert_eq!(places, (0..total).collect::<Vec<_>>());
                let sum: f64 = shares.iter().map(BatchShare::weight).sum();
                assert!((sum - 1.0).abs() < 1e-12);
                assert!(!shares[0].is_idle && shares.iter().all(|share| share.patches > 0));
            }
        }
        assert!(BatchShare::new(7, 0, 1).is_whole() && BatchShare::new(7, 0, 1).weight() == 1.0);
    }

    #[test]
    fn ranks_without_a_patch_compute_with_the_first_at_no_weight() {
        let share = BatchShare::new(2, 3, 4);
        assert_eq!(share, BatchShare { first: 0, patches: 1, total: 2, is_idle: true });
        assert_eq!(share.weight(), 0.0);
    }
}
