//! Reports as strings, and in a real browser where there is one.
#![allow(clippy::print_stderr)] // a test that is skipped says so

use super::*;
use crate::home::Home;
use crate::runs;
use std::fs;
use std::path::Path;
use std::process::Command;

fn home(folder: &Path) -> Home {
    let home = runs::tests::home(folder);
    let resolved = "name: spleen # </script><b>\nstages: {}\n";
    fs::write(home.runs().join("20260102-000000-spleen-77ffee/resolved.yaml"), resolved)
        .expect("writes");
    home
}

fn subject(home: &Home, name: &str) -> RunSubject {
    RunSubject::read(runs::find(home, name).expect("a run")).expect("tables")
}

#[test]
fn a_report_says_the_outcome_in_one_sentence_and_escapes_what_it_quotes() {
    let folder = tempfile::tempdir().expect("a folder");
    let html = page(&[subject(&home(folder.path()), "latest")]);
    assert!(
        html.contains(
            "done in 3 min 12 s; test Dice 0.9000 (final, 1 case); validation Dice 0.7500 (model, \
             during training); stages: 1 made."
        ),
        "{html}"
    );
    assert!(html.contains("epochs differs: 3 → 2"));
    assert!(html.contains("&lt;/script&gt;&lt;b&gt;") && !html.contains("# </script>"));
}

#[test]
fn a_report_fetches_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let html = page(&[subject(&home(folder.path()), "latest")]);
    for fetching in
        ["src=\"http", "href=\"http", "<link", "@import", "url(http", "fetch(", "XMLHttpRequest"]
    {
        assert!(!html.contains(fetching), "{fetching}");
    }
    assert!(html.contains("default-src 'none'"));
}

#[test]
fn runs_side_by_side_show_what_differs() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = home(folder.path());
    let html = page(&[subject(&home, "abc123"), subject(&home, "latest")]);
    for words in
        ["2 runs side by side", "optimizer.learning_rate", "+0.4000", "Dice of single cases"]
    {
        assert!(html.contains(words), "'{words}' in\n{html}");
    }
}

#[test]
fn a_model_card_says_what_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (text, pictures) = card(&subject(&home(folder.path()), "latest")).expect("a training");
    for words in [
        "# spleen: model card",
        "- optimizer.learning_rate: 0.9",
        "| final | testing | original | spleen | dice | 0.9000 |",
        "## Licence of the data\n\nNot known from this run.",
        "![Validation mean Dice by epoch](card/dice.svg)",
    ] {
        assert!(text.contains(words), "'{words}' in\n{text}");
    }
    assert_eq!(pictures.len(), 1);
    assert!(
        pictures[0].1.starts_with("<svg") && pictures[0].1.contains("<polyline"),
        "{}",
        pictures[0].1
    );
}

#[test]
fn the_precision_that_scores_were_computed_in_stands_beside_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut subject = subject(&home(folder.path()), "latest");
    let (card_before, _) = card(&subject).expect("a training");
    assert!(!card_before.contains("computed in"), "{card_before}");
    let stages = &mut subject.past.record.stages;
    let tested = stages.iter_mut().find(|stage| stage.stage == "model").expect("a training");
    tested.maker["precision"] = "bf16, fp32".into();
    let (text, _) = card(&subject).expect("a training");
    assert!(
        text.contains("Numbers that networks computed in:\n\n- `model`: bf16, fp32\n"),
        "{text}"
    );
    let html = page(&[subject]);
    assert!(html.contains("bf16, fp32"), "{html}");
}

#[test]
fn report_card_and_its_pictures_lie_in_the_runs_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = runs::find(&home(folder.path()), "latest").expect("a run");
    let place = run.folder.clone();
    let subject = RunSubject::read(run).expect("tables");
    assert_eq!(write(&subject).expect("writes"), place.file("report.html"));
    assert!(
        ["report.html", "MODEL_CARD.md", "card/dice.svg"]
            .iter()
            .all(|name| place.file(name).is_file())
    );
}

/// The page after its scripts ran, and the console's output; `None` without a browser.
fn browsed(html: &str) -> Option<(String, String)> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("page.html");
    fs::write(&file, html).expect("writes");
    let flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=4000",
        "--enable-logging=stderr",
        "--window-size=500,900",
    ];
    let profile = format!("--user-data-dir={}", folder.path().join("profile").display());
    let shown =
        Command::new("chromium").args(flags).arg(profile).arg("--dump-dom").arg(&file).output();
    let Ok(shown) = shown else {
        eprintln!("skipped: there is no 'chromium' here to open the report in");
        return None;
    };
    Some((
        String::from_utf8_lossy(&shown.stdout).into(),
        String::from_utf8_lossy(&shown.stderr).into(),
    ))
}

/// What a person does with a page, and what it looks like then, kept where the page's text shows
/// it.
const A_VISIT: &str = "<script>
  const table = [...document.querySelectorAll('table.sortable')].pop(), head = table.querySelectorAll('th')[1];
  head.click(); head.click();
  const seen = document.body.dataset;
  seen.sorted = head.getAttribute('aria-sort');
  const over = document.querySelectorAll('.u-over')[0], box = over.getBoundingClientRect();
  const at = { clientX: box.right - 2, clientY: box.top + box.height / 2, bubbles: true, movementX: 1 };
  over.dispatchEvent(new MouseEvent('mouseenter', at));
  over.dispatchEvent(new MouseEvent('mousemove', at));
  setTimeout(() => {
    const values = over.closest('.uplot').querySelectorAll('.u-legend .u-value');
    seen.hovered = [...values].map((value) => value.textContent).join(' ');
    seen.fetched = performance.getEntriesByType('resource').length;
    seen.overflows = document.documentElement.scrollWidth > document.documentElement.clientWidth;
  }, 100);
</script></body>";

#[test]
fn in_a_browser_the_charts_are_drawn_answer_the_pointer_tables_sort_and_the_console_is_silent() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = home(folder.path());
    for (names, hovered) in [
        (&["latest"][..], "2 0.75"),
        (&["abc123", "latest"], "2 0.75 0.75"),
        (&["abc123", "abd456", "latest"], "2 0.75 0.75 0.75"),
    ] {
        let subjects: Vec<RunSubject> = names.iter().map(|name| subject(&home, name)).collect();
        let Some((page, console)) = browsed(&page(&subjects).replace("</body>", A_VISIT)) else {
            return;
        };
        assert!(!console.contains("CONSOLE"), "{names:?}: {console}");
        let (drawn, charts) =
            (page.matches("data-drawn=\"yes\"").count(), page.matches("class=\"chart\"").count());
        assert!(drawn == charts && charts >= 1, "{names:?}: {drawn} of {charts}");
        let hovered = format!("data-hovered=\"{hovered}\"");
        for sign in [
            "data-sorted=\"descending\"",
            &hovered,
            "data-fetched=\"0\"",
            "data-overflows=\"false\"",
        ] {
            assert!(page.contains(sign), "{names:?}: {sign} in\n{page}");
        }
    }
}
