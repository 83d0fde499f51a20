//! nnU-Net's `summary.json`: the voxel counts of every case and target with Dice and IoU, their
//! means over cases, and the means of these over targets (`compute_metrics_on_folder` of nnU-Net
//! 2.8.1). Undefined figures are `NaN`, as Python's `json` writes and reads them.

use super::targets::Targets;
use serde_json::{Map, Value, json};

/// The file's name.
pub const SUMMARY: &str = "summary.json";

/// The counts of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseCounts {
    /// Its label map.
    pub prediction_file: String,
    /// Its reference.
    pub reference_file: String,
    /// Of each target.
    pub counts: Vec<VoxelCounts>,
}

/// Annotated voxels of a target by prediction and reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VoxelCounts {
    /// In both.
    pub true_positive: u64,
    /// In the prediction alone.
    pub false_positive: u64,
    /// In the reference alone.
    pub false_negative: u64,
    /// In neither.
    pub true_negative: u64,
}

impl VoxelCounts {
    /// The counts of each target.
    pub fn of(targets: &Targets, prediction: &[u8], reference: &[u8]) -> Vec<VoxelCounts> {
        let mut pairs = vec![0u64; 1 << 16];
        for (found, known) in prediction.iter().zip(reference) {
            pairs[usize::from(*found) << 8 | usize::from(*known)] += 1;
        }
        let sets = targets.label_sets();
        sets.iter().map(|labels| of_labels(labels, targets.ignore, &pairs)).collect()
    }

    /// Names with values, sorted as nnU-Net writes them.
    fn figures(self) -> [(&'static str, Value); 8] {
        let VoxelCounts { true_positive: tp, false_positive: fp, .. } = self;
        let (false_negative, tn) = (self.false_negative, self.true_negative);
        let all = tp + fp + false_negative;
        let [dice, iou] = match all {
            0 => [nan(), nan()],
            _ => [(2 * tp, tp + all), (tp, all)].map(|(part, of)| json!(part as f64 / of as f64)),
        };
        [
            ("Dice", dice),
            ("FN", json!(false_negative)),
            ("FP", json!(fp)),
            ("IoU", iou),
            ("TN", json!(tn)),
            ("TP", json!(tp)),
            ("n_pred", json!(fp + tp)),
            ("n_ref", json!(false_negative + tp)),
        ]
    }
}

fn of_labels(labels: &[u8], ignore: Option<u8>, pairs: &[u64]) -> VoxelCounts {
    let mut counts = VoxelCounts::default();
    for (pair, count) in pairs.iter().enumerate().filter(|(_, count)| **count > 0) {
        let (found, known) = ((pair >> 8) as u8, (pair & 255) as u8);
        if Some(known) == ignore {
            continue;
        }
        *match (labels.contains(&found), labels.contains(&known)) {
            (true, true) => &mut counts.true_positive,
            (true, false) => &mut counts.false_positive,
            (false, true) => &mut counts.false_negative,
            (false, false) => &mut counts.true_negative,
        } += count;
    }
    counts
}

/// A text that no file is named by, put in the place of a number that JSON lacks.
const NAN: &str = "\u{0}NaN";

fn nan() -> Value {
    json!(NAN)
}

/// The file's text; cases in the order of their predictions' names.
pub fn text(targets: &Targets, mut cases: Vec<CaseCounts>) -> String {
    cases.sort_by(|one, other| one.prediction_file.cmp(&other.prediction_file));
    let keys = keys(targets);
    let means: Vec<Map<String, Value>> = (0..keys.len()).map(|at| mean(&cases, at)).collect();
    let foreground = names().map(|name| {
        let values: Vec<Option<f64>> = means.iter().map(|mean| mean[name].as_f64()).collect();
        let sum: Option<f64> = values.iter().copied().sum();
        (name.to_string(), sum.map_or_else(nan, |sum| json!(sum / values.len() as f64)))
    });
    let per_case: Vec<Value> = cases.iter().map(|case| of_case(case, &keys)).collect();
    let summary = json!({
        "foreground_mean": Map::from_iter(foreground),
        "mean": Map::from_iter(keys.iter().cloned().zip(means.into_iter().map(Value::Object))),
        "metric_per_case": per_case,
    });
    format!("{summary:#}\n").replace("\"\\u0000NaN\"", "NaN")
}

fn names() -> impl Iterator<Item = &'static str> {
    VoxelCounts::default().figures().into_iter().map(|(name, _)| name)
}

/// The mean over the cases in which a figure is defined.
fn mean(cases: &[CaseCounts], target: usize) -> Map<String, Value> {
    let of_cases: Vec<[(&str, Value); 8]> =
        cases.iter().map(|case| case.counts[target].figures()).collect();
    let each = names().enumerate().map(|(at, name)| {
        let values: Vec<f64> =
            of_cases.iter().filter_map(|figures| figures[at].1.as_f64()).collect();
        let mean = match values.len() {
            0 => nan(),
            count => json!(values.iter().sum::<f64>() / count as f64),
        };
        (name.to_string(), mean)
    });
    each.collect()
}

fn of_case(case: &CaseCounts, keys: &[String]) -> Value {
    let figures = case.counts.iter().map(|counts| {
        let figures = counts.figures().into_iter();
        Value::Object(figures.map(|(name, value)| (name.to_string(), value)).collect())
    });
    json!({
        "metrics": Map::from_iter(keys.iter().cloned().zip(figures)),
        "prediction_file": case.prediction_file,
        "reference_file": case.reference_file,
    })
}

/// A label's value, or a region's labels as Python writes a tuple.
fn keys(targets: &Targets) -> Vec<String> {
    if targets.regions.is_empty() {
        return targets.labels.iter().map(|label| label.value.to_string()).collect();
    }
    targets.regions.iter().map(|region| tuple(&region.labels)).collect()
}

fn tuple(labels: &[u8]) -> String {
    match labels {
        [one] => format!("({one},)"),
        _ => {
            let labels: Vec<String> = labels.iter().map(u8::to_string).collect();
            format!("({})", labels.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Label, Region};

    fn summary(targets: &Targets, cases: &[(&str, &[u8], &[u8])]) -> String {
        let counts = cases.iter().map(|(name, prediction, reference)| CaseCounts {
            prediction_file: format!("{name}.nii.gz"),
            reference_file: format!("labels/{name}.nii.gz"),
            counts: VoxelCounts::of(targets, prediction, reference),
        });
        text(targets, counts.collect())
    }

    #[test]
    fn figures_are_nnu_nets_and_what_is_undefined_is_nan() {
        let labels = [1, 2].map(|value| Label { value, name: format!("l{value}") });
        let targets = Targets { labels: &labels, regions: &[], ignore: Some(9) };
        let cases: [(&str, &[u8], &[u8]); 2] =
            [("b", &[1, 1, 0, 0, 1], &[1, 0, 1, 0, 9]), ("a", &[0, 1, 1, 0, 0], &[0, 1, 1, 0, 0])];
        let text = summary(&targets, &cases);
        let read: Value = serde_json::from_str(&text.replace("NaN", "null")).unwrap();
        let cases = read["metric_per_case"].as_array().unwrap();
        assert_eq!(cases[0]["prediction_file"], "a.nii.gz", "sorted");
        let wanted = json!({ "Dice": 0.5, "FN": 1, "FP": 1, "IoU": 1.0 / 3.0, "TN": 1, "TP": 1,
                             "n_pred": 2, "n_ref": 2 });
        assert_eq!(cases[1]["metrics"]["1"], wanted);
        assert_eq!(read["mean"]["1"]["Dice"], 0.75);
        assert_eq!(read["mean"]["1"]["TP"], 1.5);
        assert!(text.contains("\"Dice\": NaN") && read["foreground_mean"]["Dice"].is_null());
        assert_eq!(read["foreground_mean"]["TP"], 0.75);
    }

    #[test]
    fn regions_are_tuples_of_their_labels() {
        let region = |labels: &[u8]| Region { name: "r".into(), labels: labels.into(), value: 1 };
        let regions = [region(&[1, 2]), region(&[2])];
        let targets = Targets { labels: &[], regions: &regions, ignore: None };
        let cases: [(&str, &[u8], &[u8]); 1] = [("a", &[1, 2, 0], &[2, 2, 0])];
        let read: Value = serde_json::from_str(&summary(&targets, &cases)).unwrap();
        assert_eq!(read["mean"]["(1, 2)"]["Dice"], 1.0);
        assert_eq!(read["mean"]["(2,)"]["TP"], 1.0);
    }
}
