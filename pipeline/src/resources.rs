//! Resource amounts, for a stage's demand and the machine's budget.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resources {
    /// Stages waiting for I/O (downloads).
    pub io: u64,
    /// CPU stages.
    pub jobs: u64,
    /// CPU cores.
    pub cpus: u64,
    /// Memory in bytes.
    pub memory: u64,
    /// Graphics cards.
    pub gpus: u64,
}

impl Resources {
    fn amounts(self) -> [u64; 5] {
        [self.io, self.jobs, self.cpus, self.memory, self.gpus]
    }

    fn of([io, jobs, cpus, memory, gpus]: [u64; 5]) -> Resources {
        Resources { io, jobs, cpus, memory, gpus }
    }

    fn zip(self, other: Resources, each: fn(u64, u64) -> u64) -> Resources {
        let (mut amounts, others) = (self.amounts(), other.amounts());
        amounts.iter_mut().zip(others).for_each(|(amount, other)| *amount = each(*amount, other));
        Resources::of(amounts)
    }

    /// True if `free` covers every amount.
    pub fn fits(self, free: Resources) -> bool {
        self.lacking(free) == Resources::default()
    }

    /// Shortfall against `free` per resource.
    pub fn lacking(self, free: Resources) -> Resources {
        self.zip(free, u64::saturating_sub)
    }

    /// True if both need some common resource.
    pub fn overlaps(self, other: Resources) -> bool {
        self.amounts().iter().zip(other.amounts()).any(|(one, other)| *one > 0 && other > 0)
    }

    /// Element-wise minimum with `budget`.
    pub fn at_most(self, budget: Resources) -> Resources {
        self.zip(budget, u64::min)
    }
}

impl std::ops::AddAssign for Resources {
    fn add_assign(&mut self, other: Resources) {
        *self = self.zip(other, u64::saturating_add);
    }
}

impl std::ops::SubAssign for Resources {
    fn sub_assign(&mut self, other: Resources) {
        *self = self.zip(other, u64::saturating_sub);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_too_little_is_named_by_its_amount() {
        let free = Resources { gpus: 2, memory: 8, ..Resources::default() };
        let wants = Resources { gpus: 3, memory: 8, ..Resources::default() };
        assert!(!wants.fits(free) && wants.at_most(free).fits(free));
        let lacking = wants.lacking(free);
        assert_eq!(lacking, Resources { gpus: 1, ..Resources::default() });
        assert!(lacking.overlaps(Resources { gpus: 1, ..Resources::default() }));
        assert!(!lacking.overlaps(Resources { memory: 1, ..Resources::default() }));
    }
}
