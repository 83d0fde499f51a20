//! What a person sees on a terminal: a run inside a pseudo-terminal, its screen read back cell by
//! cell.

mod lab;

use lab::Lab;
use lab::pty::Terminal;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Eight stages that run side by side, each with a bar of its own, on a dataset that one stage
/// makes.
fn side_by_side() -> String {
    let volumes = (3..11).map(|mm| {
        format!(
            "  volumes-{mm:02}: {{ uses: preprocess, needs: [dataset], with: {{ spacing: [{mm}, {mm}, {mm}], intensity: {{ window: [-57, 164] }} }} }}\n"
        )
    });
    let dataset = "  dataset: { uses: synthesize, with: { cases: 30, shape: [64, 64, 64] } }\n";
    format!("name: wide\nstages:\n{dataset}{}", volumes.collect::<String>())
}

/// The rows that begin as no line of a run does: what is left of a line that was too long, or
/// garbled.
fn strays(screen: &vt100::Screen) -> Vec<String> {
    const BEGINNINGS: [&str; 9] = [
        "run ",
        "✓ ",
        "… ",
        "! ",
        "done in ",
        "run folder: ",
        "report: ",
        "finishing ",
        "interrupted ",
    ];
    let spinner =
        |line: &str| line.starts_with(|first: char| ('\u{2800}'..='\u{28ff}').contains(&first));
    let lines: Vec<String> =
        screen.rows(0, screen.size().1).filter(|line| !line.trim().is_empty()).collect();
    let strange = |line: &&String| {
        !spinner(line) && !BEGINNINGS.iter().any(|beginning| line.starts_with(beginning))
    };
    // The folder's path may be as long as it likes.
    let after_a_path =
        |line: &&String| lines.windows(2).any(|two| two[1] == **line && two[0].contains('/'));
    lines.iter().filter(strange).filter(|line| !after_a_path(line)).cloned().collect()
}

/// (stage, done, all) of every bar on the screen, which the line of an interrupted stage is not.
fn bars(screen: &vt100::Screen) -> Vec<(String, u64, u64)> {
    let lines = screen.rows(0, screen.size().1).filter(|line| {
        line.contains(" of ") && line.contains("cases") && !line.contains("interrupted")
    });
    lines
        .filter_map(|line| {
            let stage =
                line.split_whitespace().find(|word| word.starts_with("volumes-"))?.to_string();
            let (before, after) = line.split_once(" of ")?;
            let done = before.split_whitespace().last()?.parse().ok()?;
            Some((stage, done, after.split_whitespace().next()?.parse().ok()?))
        })
        .collect()
}

#[test]
fn eight_bars_move_side_by_side_and_nothing_is_garbled() {
    let lab = Lab::new();
    lab.write("wide.yaml", &side_by_side());
    let mut terminal = Terminal::run(&lab, &["run", "wide.yaml", "--jobs", "8"], 30, 80);
    let (mut most, mut looks) = (0, 0);
    let mut last = BTreeMap::new();
    let code = terminal.watch(|screen, _| {
        looks += 1;
        assert_eq!(strays(screen), [] as [&str; 0], "in\n{}", screen.contents());
        let now = bars(screen);
        most = most.max(now.len());
        for (stage, done, all) in now {
            assert!(all == 30 && done <= all, "{stage}: {done} of {all}");
            let before = last.insert(stage.clone(), done).unwrap_or(0);
            assert!(done >= before, "{stage} went back from {before} to {done}");
        }
    });
    let screen = terminal.screen();
    assert_eq!(code, 0, "{}", screen.contents());
    assert!(most >= 4 && looks > 5, "bars side by side at once: {most}, in {looks} looks");
    assert_eq!(bars(screen), [], "no bar is left behind:\n{}", screen.contents());
    let contents = screen.contents();
    for mm in 3..11 {
        let line = format!("✓ volumes-{mm:02}  preprocess  made in ");
        assert_eq!(contents.matches(&line).count(), 1, "'{line}' once in\n{contents}");
    }
    assert_eq!(
        contents.matches("30 cases").count(),
        8,
        "every stage ends with all of its cases:\n{contents}"
    );
    assert!(!screen.hide_cursor(), "the cursor is back");
}

#[test]
fn a_narrower_window_is_right_at_once() {
    let lab = Lab::new();
    lab.write("wide.yaml", &side_by_side());
    let mut terminal = Terminal::run(&lab, &["run", "wide.yaml", "--jobs", "8"], 30, 100);
    let mut narrow = None;
    let (mut widest, mut looks) = (String::new(), 0);
    let code = terminal.watch(|screen, keyboard| {
        if narrow.is_none() && bars(screen).len() > 1 {
            keyboard.resize(30, 50);
            narrow = Some(Instant::now());
        }
        // What was drawn before the change is drawn anew well before.
        if narrow.is_some_and(|since: Instant| since.elapsed() > Duration::from_millis(400)) {
            assert_eq!(strays(screen), [] as [&str; 0], "in\n{}", screen.contents());
            let bars =
                screen.rows(0, 100).filter(|line| line.contains(" of ") && line.contains('━'));
            let longest = bars
                .map(|line| line.trim_end().to_string())
                .max_by_key(|line| line.chars().count());
            widest = longest
                .into_iter()
                .chain([widest.clone()])
                .max_by_key(|line| line.chars().count())
                .unwrap_or_default();
            looks += 1;
        }
    });
    assert_eq!(code, 0, "{}", terminal.screen().contents());
    assert!(looks > 0, "bars were seen before and after");
    assert!(widest.chars().count() <= 50, "wider than a window of 50: '{widest}'");
}

#[test]
fn ctrl_c_ends_calmly_and_leaves_a_clean_screen() {
    let lab = Lab::new();
    lab.write("wide.yaml", &side_by_side());
    let mut terminal = Terminal::run(&lab, &["run", "wide.yaml", "--jobs", "2"], 30, 80);
    let mut pressed = false;
    let code = terminal.watch(|screen, keyboard| {
        if !pressed && !bars(screen).is_empty() {
            keyboard.press(b"\x03");
            pressed = true;
        }
    });
    let screen = terminal.screen();
    assert_eq!(code, 130, "{}", screen.contents());
    assert!(
        screen.contents().contains("the same command resumes from there"),
        "{}",
        screen.contents()
    );
    assert_eq!(bars(screen), [], "{}", screen.contents());
    assert!(!screen.hide_cursor(), "the cursor is back");
}
