//! ARCHITECTURE.md leads to files that exist.

use std::path::Path;

/// Texts in backticks that are paths from the project's root.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    const ROOTS: [&str; 5] = ["cache/", "stages/", "pipeline/", "tests/", "scripts/"];
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(|words| ROOTS.iter().any(|root| words.starts_with(root)) && !words.contains('*'))
}

#[test]
fn every_path_of_the_map_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let missing: Vec<&str> = paths(&text).filter(|path| !root.join(path).exists()).collect();
    assert_eq!(missing, [] as [&str; 0], "named by ARCHITECTURE.md");
    assert!(paths(&text).count() > 50);
}

#[test]
fn twenty_sentences_lead_to_a_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let map = text.split("\n## ").find(|part| part.starts_with("From a sentence")).unwrap();
    let rows: Vec<&str> = map.lines().filter(|line| line.starts_with("| \"")).collect();
    assert!(rows.len() >= 20, "{} sentences", rows.len());
    assert!(rows.iter().all(|row| paths(row).next().is_some()), "a row without a file");
}
