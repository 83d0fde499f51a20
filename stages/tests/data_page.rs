//! The page `docs/data.md` names a test for each of its rows: every one of them is there.

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

#[test]
fn every_row_of_the_page_about_data_is_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut names = BTreeSet::new();
    for part in ["stages", "tests", "cache", "pipeline"] {
        tests(&root.join(part), &mut names);
    }
    let page = std::fs::read_to_string(root.join("docs/data.md")).unwrap();
    let tables = page.split_once("## What is read, and how").expect("the tables").1;
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
    assert!(held > 50);
}
