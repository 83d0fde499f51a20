//! Workflows that are no workflows, or mean harm.

use crate::lab::{Lab, TINY, tally};
use crate::refused;

/// Aliases that hold ten times the one before, nine times over.
fn alias_bomb() -> String {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let list = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{list}]\n"));
    }
    bomb
}

#[test]
fn workflows_that_mean_harm_are_refused_with_their_place() {
    let table: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("nothing", vec![], &["workflow.yaml"]),
        ("a comment", b"# nothing".to_vec(), &["workflow.yaml"]),
        ("a list", b"- a\n- b\n".to_vec(), &["workflow.yaml:1:1"]),
        ("a text", b"hello".to_vec(), &["workflow.yaml:1:1"]),
        ("no YAML", b"a: [1, 2\nb: 3\n".to_vec(), &["workflow.yaml:", "not valid YAML"]),
        (
            "bytes that are no text",
            b"name: a\nb: \xff\n".to_vec(),
            &["workflow.yaml:2:1", "not UTF-8"],
        ),
        ("UTF-16", TINY.encode_utf16().flat_map(u16::to_le_bytes).collect(), &["workflow.yaml"]),
        ("zero bytes", vec![0; 5000], &["workflow.yaml"]),
        ("a tab", b"name: a\nstages:\n\ta: { uses: split }\n".to_vec(), &["workflow.yaml:3"]),
        ("megabytes", vec![b'#'; 9 << 20], &["larger than 4096 KiB"]),
        ("two hundred thousand stages", stages(200_000).into_bytes(), &["larger than 4096 KiB"]),
        (
            "a hundred thousand stages, each wrong",
            stages(100_000).into_bytes(),
            &["'s0'", "so many mistakes stand before this stage"],
        ),
        (
            "fifty thousand times the same key",
            "a: 1\n".repeat(50_000).into_bytes(),
            &["is given twice"],
        ),
        ("brackets without end", "[".repeat(500_000).into_bytes(), &["workflow.yaml:1:"]),
        ("braces without end", "{a: ".repeat(200_000).into_bytes(), &["workflow.yaml:1:"]),
        ("an alias bomb", alias_bomb().into_bytes(), &["comes to more than 500000 values"]),
        ("an alias that holds itself", b"a: &a [*a]\n".to_vec(), &["workflow.yaml:1"]),
        (
            "a key twice",
            TINY.replace("seed: 0", "seed: 0\nseed: 1").into_bytes(),
            &["workflow.yaml:3:1", "is given twice"],
        ),
        (
            "a stage twice",
            format!("{TINY}  split: {{ uses: split }}\n").into_bytes(),
            &["two stages are called 'split'"],
        ),
        ("a tag", TINY.replace("seed: 0", "seed: !!python/object x").into_bytes(), &["tags"]),
        ("two documents", format!("{TINY}---\n{TINY}").into_bytes(), &["workflow.yaml"]),
        ("a key that is a list", b"? [a, b]\n: c\n".to_vec(), &["a key must be plain text"]),
        ("a merge key of a number", TINY.replace("seed: 0", "<<: 7").into_bytes(), &["'<<'"]),
        ("NaN", TINY.replace("seed: 0", "seed: .nan").into_bytes(), &["workflow.yaml:2:7"]),
        (
            "a seed below 0",
            TINY.replace("seed: 0", "seed: -1").into_bytes(),
            &["workflow.yaml:2:7", "seed"],
        ),
        (
            "a huge number",
            TINY.replace("cases: 6", "cases: 99999999999999999999999").into_bytes(),
            &["cases"],
        ),
        (
            "a variable that is not there",
            TINY.replace("name: tiny", "name: '${NO_SUCH_NAME}'").into_bytes(),
            &["NO_SUCH_NAME"],
        ),
        (
            "a sweep of a million runs",
            format!(
                "{TINY}sweep:\n  split.seed: {0:?}\n  seed: {0:?}\n",
                (0..1000).collect::<Vec<_>>()
            )
            .into_bytes(),
            &["comes to 1000000 runs, and 300 is the most"],
        ),
        (
            "seeds without end",
            format!("{TINY}sweep: {{ seeds: 100000000 }}\n").into_bytes(),
            &["sweep.seeds"],
        ),
        ("stages that are a number", b"stages: 7\n".to_vec(), &["workflow.yaml:1:9"]),
        ("a stage that is nothing", b"stages: { a: }\n".to_vec(), &["workflow.yaml:1", "'a'"]),
    ];
    for (what, text, words) in &table {
        let lab = Lab::new();
        refused(&lab, what, text, words);
        assert!(lab.runs().is_empty(), "{what}: something was run");
    }
    let lab = Lab::new();
    for (what, file) in
        [("a folder", "."), ("a device without end", "/dev/zero"), ("no file", "none.yaml")]
    {
        let shown = lab.voxflow(&["run", file]);
        assert_eq!(shown.code, 2, "{what}: {}", shown.err);
        assert!(shown.err.contains(file) && !shown.err.contains("panic"), "{what}: {}", shown.err);
    }
    tally::tell("bad inputs", table.len() + 3, "workflows");
}

fn stages(count: usize) -> String {
    (0..count).fold("stages:\n".to_string(), |text, number| {
        text + &format!("  s{number}: {{ uses: split }}\n")
    })
}
