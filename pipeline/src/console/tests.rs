//! Console output of a run, compared to the letter.

use super::*;
use crate::tables::recorded;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use voxflow_stages::Progress;

/// A screen whose lines can be read.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn seen(verbosity: Verbosity, facts: impl IntoIterator<Item = Fact>) -> String {
    let paper = Paper::default();
    let mut console =
        Console::new(Screen::Plain(Box::new(paper.clone())), Style::plain(), verbosity);
    for (at, fact) in facts.into_iter().enumerate() {
        console
            .observe(&Event { at_ms: 1_700_000_000_000 + at as i64 * 1000, fact })
            .expect("observes");
    }
    String::from_utf8(paper.0.lock().expect("not poisoned").clone()).expect("text")
}

#[test]
fn a_run_is_a_line_for_each_stage_then_scores_and_where_it_lies() {
    let expected = "\
run r1: 2 stages, 2 pending
= model  train  reused, made in 12 s before
… final  never made before
✓ final  test   made in 1.2 s, 3 cases made, 4 reused

scores
stage  cases    grid      label   metric  mean ± sd  n
───────────────────────────────────────────────────────
final  testing  original  spleen  dice       0.7500  1

done in 2.5 s: 1 made, 1 reused
run folder: runs/r1
";
    let text = seen(Verbosity::Normal, recorded::facts(Path::new("runs/r1")));
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn quiet_says_nothing_but_warnings_and_errors() {
    assert_eq!(seen(Verbosity::Quiet, recorded::facts(Path::new("runs/r1"))), "");
    let failed = Finished {
        error: Some("no memory".into()),
        ..recorded::finished("model", "train", Outcome::Failed)
    };
    let facts = [
        Fact::StageFinished(Box::new(failed)),
        Fact::RunFinished { outcome: RunOutcome::Failed, seconds: 1.0 },
    ];
    assert_eq!(seen(Verbosity::Quiet, facts), "✗ model  train  failed: no memory\n");
    let warned = |replayed: bool, words: &str| Fact::StageSaid {
        stage: "model".into(),
        replayed,
        message: Message::Warning { words: words.into() },
    };
    let made = Fact::StageFinished(Box::new(recorded::finished("model", "train", Outcome::Made)));
    let facts = [
        warned(true, "told before"),
        warned(false, "case a: odd"),
        warned(false, "case b: odd"),
        made,
    ];
    assert_eq!(seen(Verbosity::Quiet, facts), "warning: model: 2 cases (a, b): odd\n");
}

#[test]
fn control_characters_of_other_people_are_shown_and_not_obeyed() {
    let words = "case \u{1b}[2J\u{9b}31mx\r: is odd".to_string();
    let fact = Fact::StageSaid {
        stage: "model".into(),
        replayed: false,
        message: Message::Warning { words },
    };
    let failed = Finished {
        error: Some("case \u{1b}]0;x\u{7}: bad\ncase b: bad".into()),
        ..recorded::finished("model", "train", Outcome::Failed)
    };
    let text = seen(Verbosity::Normal, [fact, Fact::StageFinished(Box::new(failed))]);
    assert_eq!(
        text,
        "warning: model: case \\u001b[2J\\u009b31mx\\u000d: is odd\n\
         ✗ model  train  failed: case \\u001b]0;x\\u0007: bad\ncase b: bad\n"
    );
}

#[test]
fn verbose_says_what_stages_say_and_normal_only_warnings() {
    let said = |message| Fact::StageSaid { stage: "model".into(), replayed: false, message };
    let facts = || {
        [
            said(Message::Info { words: "19 milliards".into() }),
            said(Message::Warning { words: "no foreground in 'case_3'".into() }),
            said(Message::Device { name: "cpu".into(), threads: 2, libtorch: "2.11.0".into() }),
            said(Message::Precision { name: "bf16".into() }),
            said(Message::Progress(Progress {
                done: 1,
                total: Some(3),
                unit: "epochs".into(),
                numbers: vec![],
            })),
        ]
    };
    assert_eq!(seen(Verbosity::Normal, facts()), "warning: model: no foreground in 'case_3'\n");
    let verbose = "  model: 19 milliards\nwarning: model: no foreground in 'case_3'\n  model: on cpu, 2 threads, libtorch 2.11.0\n  model: in bf16\n";
    assert_eq!(seen(Verbosity::Verbose, facts()), verbose);
}

#[test]
fn a_reused_stage_says_again_what_it_warned_of_and_nothing_else() {
    let said = |message| Fact::StageSaid { stage: "model".into(), replayed: true, message };
    let facts = [
        said(Message::Info { words: "old news".into() }),
        said(Message::Warning { words: "no foreground".into() }),
    ];
    assert_eq!(seen(Verbosity::Verbose, facts), "warning: model: no foreground\n");
}
