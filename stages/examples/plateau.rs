//! Tries the rule of `epochs: auto` on trainings that ran to their end, and prints a table: the
//! epochs that it saves, and the Dice that it loses.
//!
//!     cargo run --example plateau -- CURVES.csv[.gz] [SETTINGS] [VALIDATE_EVERY]
//!
//! CURVES has the columns `task`, `model`, `fold`, `epoch` (from 0) and `pseudo_dice`; all
//! trainings must be as long as `at_most` or longer. SETTINGS are those of `epochs` as JSON, such
//! as '{"min_gain": 0.01}'. VALIDATE_EVERY leaves out all epochs but every so many.
#![allow(clippy::print_stdout)]

#[path = "../tests/support/published_curves.rs"]
mod published_curves;

use published_curves::{Summary, read, summaries};
use std::path::Path;
use voxflow_stages::model::UntilPlateau;

fn main() -> Result<(), String> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let usage = "usage: cargo run --example plateau -- CURVES.csv[.gz] [SETTINGS] [VALIDATE_EVERY]";
    let path = words.first().ok_or(usage)?;
    let settings = words.get(1).map_or("{}", String::as_str);
    let rule: UntilPlateau = serde_json::from_str(settings).map_err(|error| error.to_string())?;
    let every = words.get(2).map_or(Ok(1), |word| word.parse());
    let every = every.ok().filter(|every| *every > 0).ok_or("VALIDATE_EVERY: a number from 1")?;
    let tasks = read(Path::new(path))?;
    let longest = rule.at_most as usize;
    if tasks.values().flatten().any(|curve| curve.len() < longest) {
        return Err(format!("{path}: a training is shorter than 'at_most', {longest} epochs"));
    }
    let each = summaries(&tasks, &rule, every);
    println!(
        "| task | trainings | decay from | epochs | saved | loss | to the best | last to last |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    each.iter().for_each(|(task, summary)| print_row(task, summary));
    let all: Vec<Summary> = each.into_values().collect();
    print_row("mean of tasks", &Summary::mean(&all));
    Ok(())
}

fn print_row(name: &str, summary: &Summary) {
    println!(
        "| {name} | {} | {:.0} | {:.0} | {:.1} % | {:.4} | {:.4} | {:.4} |",
        summary.trainings,
        summary.decay_from,
        summary.epochs,
        100.0 * summary.saved,
        summary.loss,
        summary.best_loss,
        summary.last_loss
    );
}
