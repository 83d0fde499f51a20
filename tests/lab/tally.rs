//! What a long test went through, as a line that `make torture` gathers into one table.
#![allow(clippy::print_stdout)]

/// Tells how many of `what` there were, and what became of them.
pub fn tell(what: &str, count: usize, words: &str) {
    println!("tally | {what} | {count} | {words}");
}

/// A number of the environment, or the one of `make test`.
pub fn wanted(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).map_or(otherwise, |number| number.parse().expect("a number"))
}
