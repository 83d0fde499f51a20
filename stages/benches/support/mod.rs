//! The timing of benches: a line of JSON for each part, read by `tests/bench/peers.py`.

use serde_json::json;
use std::time::Instant;

/// Prints the seconds of each repetition, after a first that is not counted.
pub fn measure(part: &str, repeats: usize, mut work: impl FnMut()) {
    work();
    let seconds: Vec<f64> = (0..repeats)
        .map(|_| {
            let began = Instant::now();
            work();
            began.elapsed().as_secs_f64()
        })
        .collect();
    println!("{}", json!({ "part": part, "seconds": seconds }));
}
