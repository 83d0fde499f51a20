//! Pages in a real browser, where there is one.
#![allow(clippy::print_stderr)] // a test that is skipped says so

use std::fs;
use std::path::Path;
use std::process::Command;

/// A page after its scripts ran, and the console's output.
#[derive(Debug)]
pub struct Visit {
    pub page: String,
    pub console: String,
}

impl Visit {
    /// True if the visit's script left `data-NAME="VALUE"` on the body.
    pub fn saw(&self, name: &str, value: &str) -> bool {
        self.page.contains(&format!("data-{name}=\"{value}\""))
    }
}

/// Opens a copy of a page that ends with a script, in a window of this width; `None` without a
/// browser.
pub fn visit(page: &Path, script: &str, width: u32) -> Option<Visit> {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(page).unwrap();
    // The last one: scripts of the page may name the tag.
    let (head, tail) = text.rsplit_once("</body>").unwrap();
    let file = page.with_file_name("visited.html");
    fs::write(&file, format!("{head}<script>{script}</script></body>{tail}")).unwrap();
    let flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=8000",
        "--enable-logging=stderr",
        "--dump-dom",
    ];
    let profile = format!("--user-data-dir={}", folder.path().display());
    let size = format!("--window-size={width},900");
    let shown = Command::new("chromium").args(flags).args([profile, size]).arg(&file).output();
    let Ok(shown) = shown else {
        eprintln!("skipped: there is no 'chromium' here to open the page in");
        return None;
    };
    let [page, console] =
        [shown.stdout, shown.stderr].map(|text| String::from_utf8_lossy(&text).into());
    Some(Visit { page, console })
}
