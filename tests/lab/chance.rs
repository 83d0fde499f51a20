//! Chance that can be repeated: numbers from a seed that is printed where a test fails or ends.

pub struct Chance {
    pub seed: u64,
    state: u64,
}

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance { seed, state: seed }
    }

    /// The seed in the variable, or one of the moment.
    pub fn of_the_environment(variable: &str) -> Chance {
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
        let moment = || u64::from(now.subsec_nanos()) ^ now.as_secs();
        Chance::new(
            std::env::var(variable)
                .map_or_else(|_| moment(), |seed| seed.parse().expect("a number")),
        )
    }

    /// A number below `end` (splitmix64).
    pub fn below(&mut self, end: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}
