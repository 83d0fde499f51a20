//! Progress as a line: counts, numbers of the stage, time left; shortened by priority to fit.

use crate::humanize;
use voxflow_stages::Progress;

/// Names of numbers by priority; those not listed come last, in order of appearance.
const PRIORITY: [&str; 5] = ["epoch", "dice", "best", "left", "loss"];

/// "12 of 60 epochs  loss 0.231  dice 0.874  2 min 10 s left"; numbers of least priority are
/// dropped where `room` (columns) is too small.
pub(super) fn line(progress: &Progress, left: Option<f64>, room: Option<usize>) -> String {
    let mut parts: Vec<(usize, String)> = vec![(0, count(progress))];
    for (at, (name, value)) in progress.numbers.iter().enumerate() {
        let known = PRIORITY.iter().position(|known| known == name);
        let rank = known.map_or(PRIORITY.len() + 1 + at, |rank| rank + 1);
        parts.push((rank, format!("{name} {value}")));
    }
    let left = left.map(|seconds| format!("{} left", humanize::duration(seconds)));
    parts.extend(left.map(|words| (PRIORITY.len(), words)));
    while room.is_some_and(|room| width(&parts) > room) && parts.len() > 1 {
        let least = parts.iter().map(|(rank, _)| *rank).max().unwrap_or(0);
        parts.retain(|(rank, _)| *rank < least);
    }
    parts.into_iter().map(|(_, words)| words).collect::<Vec<_>>().join("  ")
}

fn width(parts: &[(usize, String)]) -> usize {
    parts.iter().map(|(_, words)| words.chars().count() + 2).sum::<usize>().saturating_sub(2)
}

/// "12 of 60 epochs", "1.5 MB".
fn count(progress: &Progress) -> String {
    let (done, total, unit) = match progress.unit.as_str() {
        "bytes" => {
            (humanize::bytes(progress.done), progress.total.map(humanize::bytes), String::new())
        }
        unit => {
            let total = progress.total.map(|total| total.to_string());
            (progress.done.to_string(), total, format!(" {unit}"))
        }
    };
    match total {
        Some(total) => format!("{done} of {total}{unit}"),
        None => format!("{done}{unit}"),
    }
}

/// A number of the progress by its name.
pub(super) fn number<'a>(progress: &'a Progress, name: &str) -> Option<&'a str> {
    progress.numbers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn training() -> Progress {
        let numbers = [
            ("epoch", "8/40"),
            ("loss", "0.2310"),
            ("dice", "0.8740"),
            ("best", "0.8790"),
            ("lr", "1.00e-3"),
            ("patches/s", "12.5"),
            ("left", "1:02"),
        ];
        let numbers = numbers.map(|(name, value)| (name.to_string(), value.to_string())).to_vec();
        Progress { done: 38, total: Some(200), unit: "steps".into(), numbers }
    }

    #[test]
    fn the_line_says_what_is_done_and_the_numbers_that_matter() {
        let numbers = vec![("loss".to_string(), "0.231".to_string())];
        let epochs = Progress { done: 12, total: Some(60), unit: "epochs".into(), numbers };
        let words = line(&epochs, Some(130.0), None);
        assert_eq!(words, "12 of 60 epochs  loss 0.231  2 min 10 s left");
        let bytes =
            Progress { done: 1_500_000, total: None, unit: "bytes".into(), numbers: vec![] };
        assert_eq!(line(&bytes, None, None), "1.5 MB");
    }

    #[test]
    fn in_little_room_the_epoch_stays_before_dice_time_left_and_loss() {
        let of = |room| line(&training(), None, Some(room));
        assert_eq!(
            of(78),
            "38 of 200 steps  epoch 8/40  loss 0.2310  dice 0.8740  best 0.8790  left 1:02"
        );
        assert_eq!(of(65), "38 of 200 steps  epoch 8/40  dice 0.8740  best 0.8790  left 1:02");
        assert_eq!(of(40), "38 of 200 steps  epoch 8/40  dice 0.8740");
        assert_eq!(of(5), "38 of 200 steps");
    }
}
