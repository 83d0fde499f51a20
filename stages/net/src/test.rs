//! `test`: segments the testing cases, brings the result back to each image's own grid, writes it
//! there, and scores it against the dataset's own label file.

use crate::cases::{Part, PreparedCase};
use crate::model::Models;
use crate::pictures;
use crate::segment::Segmentation;
use crate::train::begin;
use std::sync::Mutex;
use voxflow_stages::dataset::Listing;
use voxflow_stages::image::Volume;
use voxflow_stages::image::case::read_reference;
use voxflow_stages::image::nifti::write_label_in;
use voxflow_stages::kinds::test::Test;
use voxflow_stages::metric::{CaseScore, score_case, skew_warning, summary};
use voxflow_stages::{Context, Error, Input, Result};

/// Makes the scores artifact with its predictions.
pub fn run(cx: &Context) -> Result<()> {
    let Test(params) = cx.params()?;
    let place = begin(cx)?;
    let part = Part::open(cx.input("cache")?, "testing")?;
    if part.cases.is_empty() {
        return Err(Error::failed(
            "testing: there are no cases; give 'split' a number of testing cases",
        ));
    }
    let models = Models::open(cx, params.weights, params.inference.as_ref(), params.flips, place)?;
    models.check(cx, &part, true, params.allow_leakage)?;
    let dataset = cx.input("dataset")?;
    let listing: Listing = dataset.json("dataset.json")?;
    let models = Mutex::new(models);
    let work = |case: &PreparedCase| {
        let prediction = Segmentation::of(&models, &case.tensor()?, &case.geometry)?.labels()?;
        let path = cx.create(&file_of(&case.name))?;
        write_label_in(&path, &prediction, case.geometry.space.as_ref(), true)?;
        let reference = reference(dataset, &listing, case)?;
        let skew = skew_warning(&prediction.grid());
        skew.iter().for_each(|words| cx.warn(format!("case {}: {words}", case.name)));
        Ok(score(&prediction, &reference, case, &part, params.tolerance_mm))
    };
    let scores = cx.each_case(&part.cases, |case| &case.name, work)?;
    summary::rows(&scores, part.name, "original").into_iter().for_each(|row| cx.metric(row));
    pictures::draw(cx, dataset, &listing, &scores, |case| cx.create(&file_of(case)))?;
    cx.create_json("scores.json", &scores)
}

/// The name of a case's label map in the artifact.
fn file_of(case: &str) -> String {
    format!("predictions/{case}.nii.gz")
}

/// The label as the dataset has it, on the image's own grid as the prediction is.
fn reference(dataset: &Input, listing: &Listing, case: &PreparedCase) -> Result<Volume<u8>> {
    let listed = listing.case(&case.name).ok_or_else(|| {
        Error::failed(format!("case '{}' is not in '{}'", case.name, dataset.stage))
    })?;
    let allowed: Vec<u8> = listing.labels.iter().map(|label| label.value).collect();
    read_reference(&case.geometry, dataset, listed, &allowed)
}

fn score(
    prediction: &Volume<u8>,
    reference: &Volume<u8>,
    case: &PreparedCase,
    part: &Part,
    tolerance_mm: f64,
) -> CaseScore {
    let (grid, labels) = (prediction.grid(), &part.list.labels);
    let scores = score_case(&prediction.data, &reference.data, &grid, labels, tolerance_mm);
    CaseScore { case: case.name.clone(), labels: scores }
}
