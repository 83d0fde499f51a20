//! Pictures of the worst, the median and the best case of a test.

use std::path::Path;
use voxflow_stages::dataset::Listing;
use voxflow_stages::image::CaseFiles;
use voxflow_stages::image::case::{read_channel, read_label_on};
use voxflow_stages::image::nifti::{ImageFile, LabelValues};
use voxflow_stages::image::picture::{PictureOf, Plane, Scene};
use voxflow_stages::metric::CaseScore;
use voxflow_stages::{Context, Error, Input, Result};

/// Draws the pictures into the artifact and lists them in `pictures.json`. `prediction` gives the
/// path of a case's label map.
pub fn draw(
    cx: &Context,
    dataset: &Input,
    listing: &Listing,
    scores: &[CaseScore],
    prediction: impl Fn(&str) -> Result<std::path::PathBuf>,
) -> Result<()> {
    let mut rows = vec![];
    for (rank, case, dice) in ranked(scores) {
        let scene = scene(dataset, listing, case, &prediction(case)?)?;
        for plane in Plane::ALL {
            let file = format!("pictures/{rank}-{}.png", plane.word());
            let bar_mm = scene.draw(plane, &cx.create(&file)?)?;
            rows.push(PictureOf {
                rank: rank.into(),
                case: case.into(),
                dice: Some(dice),
                plane,
                bar_mm,
                file,
            });
        }
    }
    cx.create_json("pictures.json", &rows)
}

/// The worst, the median and the best case by mean Dice over labels. Cases without a Dice are left
/// out.
fn ranked(scores: &[CaseScore]) -> Vec<(&'static str, &str, f64)> {
    let mut cases: Vec<(&str, f64)> =
        scores.iter().filter_map(|score| Some((score.case.as_str(), mean(score)?))).collect();
    cases.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(b.0)));
    let places = match cases.len() {
        0 => vec![],
        1 => vec![("best", 0)],
        2 => vec![("worst", 0), ("best", 1)],
        count => vec![("worst", 0), ("median", count / 2), ("best", count - 1)],
    };
    places.into_iter().map(|(rank, at)| (rank, cases[at].0, cases[at].1)).collect()
}

fn mean(score: &CaseScore) -> Option<f64> {
    let known: Vec<f64> = score.labels.iter().filter_map(|label| label.dice).collect();
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
}

fn scene(dataset: &Input, listing: &Listing, case: &str, prediction: &Path) -> Result<Scene> {
    let listed = listing.case(case).ok_or_else(|| Error::failed(listing.no_case(case)))?;
    let files = CaseFiles::of(dataset, listed)?;
    let label = files.label.ok_or_else(|| {
        Error::failed(format!("case '{case}' has no label in '{}'", dataset.stage))
    })?;
    let declared = listing.declared();
    let values = LabelValues { declared: &declared, mapping: &listing.map_labels };
    let image = read_channel(&files.images, 1)?;
    let grid = image.grid();
    let mut reference = read_label_on(grid, &label, "label", values)?;
    if let Some(ignore) = listing.ignore {
        let unknown = reference.data.iter_mut().filter(|value| **value == ignore);
        unknown.for_each(|value| *value = 0);
    }
    let prediction = read_label_on(grid, &ImageFile::at(prediction), "prediction", &declared)?;
    Scene::new(image, listing.is_ct())?.with_pair(reference, prediction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn score(case: &str, dice: Option<f64>) -> CaseScore {
        let label = json!({ "label": "spleen", "dice": dice, "hd95_mm": null, "surface_dice": null,
            "surface_dice_area": null, "volume_ml": 0.0, "reference_ml": 0.0 });
        serde_json::from_value(json!({ "case": case, "labels": [label] })).unwrap()
    }

    #[test]
    fn the_worst_the_median_and_the_best_are_chosen_by_mean_dice() {
        let scores = [("a", Some(0.9)), ("b", Some(0.1)), ("c", None), ("d", Some(0.5))];
        let scores: Vec<CaseScore> = scores.iter().map(|(case, dice)| score(case, *dice)).collect();
        assert_eq!(
            ranked(&scores),
            [("worst", "b", 0.1), ("median", "d", 0.5), ("best", "a", 0.9)]
        );
        assert_eq!(ranked(&scores[..1]), [("best", "a", 0.9)]);
        assert!(ranked(&[]).is_empty());
    }
}
