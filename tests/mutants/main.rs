//! Mutants: known inputs changed by chance, given to everything that reads foreign bytes. None may
//! panic, ask for much memory at once or take long. How many for each is `VOXFLOW_TORTURE_MUTANTS`,
//! the seed `VOXFLOW_TORTURE_SEED`. What once was found lies in the corpus and is read by every run
//! first.

#[path = "../lab/allocator.rs"]
mod allocator;
#[path = "../../fuzz/checksums.rs"]
mod checksums;
#[path = "../lab/mod.rs"]
mod lab;
mod mutate;
#[path = "../../fuzz/parsers.rs"]
mod parsers;
#[path = "../../fuzz/records.rs"]
mod records;

use lab::chance::Chance;
use lab::tally;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What reads bytes.
type Parser = fn(&[u8]);

/// Each with the name of its corpus.
const PARSERS: [(&str, Parser); 8] = [
    ("nifti", parsers::nifti),
    ("archive", parsers::archive),
    ("listing", parsers::listing),
    ("weights", parsers::weights),
    ("pickle", parsers::pickle),
    ("checkpoint", parsers::checkpoint),
    ("workflow", records::workflow),
    ("journal", records::journal),
];

/// The longest that one input may take.
const PATIENCE: Duration = Duration::from_secs(10);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The inputs that a parser's mutants descend from: its corpus, and what else the repository has of
/// them.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let more = match name {
        "weights" => Some("tests/parity/fixtures/weights"),
        "workflow" => Some("workflows"),
        _ => None,
    };
    let folders =
        [Some(format!("fuzz/corpus/{name}")), more.map(str::to_string)].into_iter().flatten();
    let files = folders.flat_map(|folder| std::fs::read_dir(root().join(folder)).unwrap());
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Feeds one input. What it breaks is kept as a file, for the corpus once it is mended.
fn feed(name: &str, parse: Parser, bytes: &[u8]) -> Result<(), String> {
    allocator::forget();
    let started = Instant::now();
    let broken = catch_unwind(|| parse(bytes)).is_err();
    let (largest, took) = (allocator::largest(), started.elapsed());
    if !broken && largest <= allocator::MOST && took <= PATIENCE {
        return Ok(());
    }
    let kept = std::env::temp_dir().join(format!("voxflow-mutant-{name}"));
    std::fs::write(&kept, bytes).unwrap();
    Err(format!("{name}: panic {broken}, {largest} bytes at once, {took:?}: {}", kept.display()))
}

/// The corpus as it is, and then mutants of it.
fn hunt(name: &str, parse: Parser, wanted: usize, seed: u64) -> Result<(), String> {
    let corpus = corpus(name);
    corpus.iter().try_for_each(|bytes| feed(name, parse, bytes))?;
    let mut chance = Chance::new(seed);
    (0..wanted).try_for_each(|_| feed(name, parse, &mutate::of(&corpus, &mut chance)))
}

/// Hunts with every second parser.
fn hunt_half(half: usize, wanted: usize, seed: u64) -> Result<(), String> {
    PARSERS
        .iter()
        .skip(half)
        .step_by(2)
        .try_for_each(|(name, parse)| hunt(name, *parse, wanted, seed))
}

#[test]
fn no_mutant_breaks_what_reads_it() {
    let seed = Chance::of_the_environment("VOXFLOW_TORTURE_SEED").seed;
    let wanted = tally::wanted("VOXFLOW_TORTURE_MUTANTS", 300);
    let started = Instant::now();
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let hunted = std::thread::scope(|scope| {
        let other = scope.spawn(|| hunt_half(1, wanted, seed));
        hunt_half(0, wanted, seed)
            .and(other.join().unwrap_or_else(|_| Err("the hunt itself broke".into())))
    });
    std::panic::set_hook(usual);
    assert_eq!(hunted, Ok(()), "seed {seed}");
    let seconds = started.elapsed().as_secs();
    let words =
        format!("{wanted} for each of {} parsers, in {seconds} s, seed {seed}", PARSERS.len());
    tally::tell("mutants", wanted * PARSERS.len(), &words);
}
