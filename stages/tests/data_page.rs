//! The pages `docs/data.md` and `docs/faults.md` name a test for each of their rows: all exist.

use std::collections::BTreeSet;
use std::path::Path;

/// The names of all tests under a folder.
fn tests(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            tests(&path, names);
        } else if name.ends_with(".rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let after = text.split("#[test]").skip(1);
            let named = after.filter_map(|rest| rest.split_once("fn ")?.1.split_once('('));
            names.extend(named.map(|(name, _)| name.to_string()));
        }
    }
}

/// The names of all tests of the project.
fn all_tests(root: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for part in ["stages", "tests", "cache", "pipeline"] {
        tests(&root.join(part), &mut names);
    }
    names
}

/// Asserts that the last column of every row names tests, and that they exist; their number.
fn held(tables: &str, names: &BTreeSet<String>) -> usize {
    let rows = tables.lines().filter(|line| line.starts_with('|') && !line.starts_with("|--"));
    let mut held = 0;
    for row in rows.filter(|row| !row.trim_end().ends_with("| test |")) {
        let last = row.trim_end().trim_end_matches('|').rsplit('|').next().unwrap();
        let cited: Vec<&str> = last.split('`').skip(1).step_by(2).collect();
        assert!(!cited.is_empty(), "no test in {row}");
        for name in cited {
            assert!(names.contains(name), "no test '{name}' in {row}");
            held += 1;
        }
    }
    held
}

#[test]
fn every_row_of_the_page_about_data_is_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/data.md")).unwrap();
    let tables = page.split_once("## What is read, and how").expect("the tables").1;
    assert!(held(tables, &all_tests(&root)) > 50);
}

#[test]
fn every_fault_of_the_review_is_held_by_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/faults.md")).unwrap();
    held(&page, &all_tests(&root));
    let faults: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next()).collect();
    for fault in
        (1..=23).map(|number| format!("1.{number}")).chain(["F1", "F2", "F7"].map(Into::into))
    {
        let is_named = |names: &&&str| names.split(", ").any(|name| name == fault);
        assert!(faults.iter().any(|names| is_named(&names)), "no row for {fault}");
    }
}
