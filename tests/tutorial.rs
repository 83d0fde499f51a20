//! The tutorial, command by command, as it stands in `docs/tutorial.md`, with a shorter training.

mod lab;

use lab::Lab;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the project").to_path_buf()
}

/// The shipped demo with two epochs instead of all.
fn short_demo() -> String {
    let text = fs::read_to_string(root().join("workflows/demo.yaml")).expect("the demo");
    let shorten = |line: &str| match line.trim_start().split_once(": ") {
        Some(("epochs", _)) => "      epochs: 2".to_string(),
        Some(("validate_every", _)) => "      validate_every: 1".to_string(),
        _ => line.to_string(),
    };
    text.lines().map(|line| shorten(line) + "\n").collect()
}

/// The lines of the blocks that are to be typed.
fn commands(page: &str) -> Vec<&str> {
    let blocks =
        page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    blocks.flat_map(str::lines).filter(|line| !line.starts_with("export PATH")).collect()
}

/// Runs a line in a shell, in the lab's folder; what it wrote.
fn typed(lab: &Lab, line: &str) -> (String, String) {
    let programs = Path::new(env!("CARGO_BIN_EXE_voxflow")).parent().expect("a folder");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).current_dir(lab.path("")).env("PATH", path).env("NO_COLOR", "1");
    shell.env_remove("VOXFLOW_HOME").env_remove("VOXFLOW_STORE");
    let output = shell.output().expect("a shell");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "'{line}' ended with {}:\n{out}\n{err}", output.status);
    (out, err)
}

#[test]
fn every_command_of_the_tutorial_does_what_the_page_says() {
    let lab = Lab::new();
    lab.write("workflows/demo.yaml", &short_demo());
    let page = fs::read_to_string(root().join("docs/tutorial.md")).expect("the page");
    let mut first = String::new();
    let mut said = vec![];
    for line in commands(&page) {
        let line = line.replace("1a2b3c", &first);
        let (out, err) = typed(&lab, &line);
        if first.is_empty() {
            let id = lab.last_run().value["run"].as_str().expect("an id").to_string();
            first = id.rsplit('-').next().expect("its end").to_string();
        }
        said.push((line, out + &err));
    }
    let of = |words: &str| {
        let found =
            said.iter().filter(|(line, _)| line.contains(words)).map(|(_, text)| text.as_str());
        found.collect::<Vec<_>>()
    };
    let runs = of("voxflow run workflows/demo.yaml");
    assert!(runs[0].contains("9 made") && runs[1].contains("9 reused"), "{}\n{}", runs[0], runs[1]);
    assert!(runs[2].contains("3 made") && runs[3].contains("3 made"), "{}\n{}", runs[2], runs[3]);
    assert!(of("voxflow plan")[0].contains("learning_rate"), "{}", of("voxflow plan")[0]);
    let compared = of("--sort score.dice")[0];
    assert!(["0.0005", "0.002", "0.008"].iter().all(|rate| compared.contains(rate)), "{compared}");
    assert!(
        !of("voxflow sweep")[0].contains(" made in "),
        "all is reused: {}",
        of("voxflow sweep")[0]
    );
    for file in [
        "given.png",
        "found.html",
        "both.html",
        "worst.html",
        "spleen.yaml",
        "labels/phantom_37.nii.gz",
    ] {
        assert!(lab.path(file).is_file(), "{file}");
    }
}

#[test]
fn every_command_of_the_readme_is_one_there_is() {
    let lab = Lab::new();
    let page = fs::read_to_string(root().join("README.md")).expect("the page");
    let help = lab.voxflow(&["--help"]).out;
    let typed: Vec<&str> =
        commands(&page).into_iter().filter(|line| line.contains("voxflow ")).collect();
    assert!(typed.len() > 10, "{typed:?}");
    for line in typed {
        let word = line
            .split("voxflow ")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next())
            .unwrap_or_default();
        assert!(help.contains(&format!("\n  {word}")), "'{word}' of '{line}'");
    }
}
