//! The stage `test`: segments the testing cases on their original grids, and scores them against
//! the label files of the dataset.

use crate::device::choose_device;
use crate::ensemble::Ensemble;
use crate::image_preparation::{ImageSource, of_cached_case};
use crate::pictures;
use crate::segmentation::Segmentation;
use crate::subset::{PreparedCase, Subset};
use crate::torch_flags::set_deterministic;
use std::sync::Mutex;
use voxflow_stages::dataset::Listing;
use voxflow_stages::image::Volume;
use voxflow_stages::image::case::read_reference;
use voxflow_stages::image::nifti::{LabelValues, write_label_in};
use voxflow_stages::kinds::test::Test;
use voxflow_stages::metric::nnunet_summary::{self, CaseCounts, SUMMARY, VoxelCounts};
use voxflow_stages::metric::{CaseScore, Targets, skew_warning, summary};
use voxflow_stages::{Context, Error, Input, Result};

/// Makes the scores artifact with its predictions.
pub fn run(cx: &Context) -> Result<()> {
    let Test(params) = cx.params()?;
    set_deterministic(params.options.deterministic)?;
    let info = choose_device(cx)?;
    let subset = Subset::open(cx.input("cache")?, "testing")?;
    if subset.cases.is_empty() {
        return Err(Error::failed(
            "testing: there are no cases; give 'split' a number of testing cases",
        ));
    }
    let models = Ensemble::open(cx, &params.options, info)?;
    models.check(cx, &subset, true, params.allow_leakage)?;
    let regions = models.card.regions.clone();
    let dataset = cx.input("dataset")?;
    let listing: Listing = dataset.json("dataset.json")?;
    let (preparations, prepares_images) = (models.preparations(), models.prepares_images);
    let models = Mutex::new(models);
    let images =
        ImageSource { dataset, listing: &listing, preparations: &preparations, prepares_images };
    let segment = |case: &PreparedCase| {
        let prepared = of_cached_case(cx, &subset, case, images)?;
        let prediction = Segmentation::label_map(&models, &prepared)?;
        let path = cx.create(&prediction_file(&case.name))?;
        write_label_in(&path, &prediction, case.geometry.space.as_ref(), true)?;
        let reference = read_label(dataset, &listing, case)?;
        let skew = skew_warning(&prediction.grid());
        skew.iter().for_each(|words| cx.warn(format!("case {}: {words}", case.name)));
        let (labels, ignore) = (&subset.list.labels, listing.ignore);
        let targets = Targets { labels, regions: &regions, ignore };
        let (grid, tolerance_mm) = (prediction.grid(), params.tolerance_mm);
        let labels = targets.score(&prediction.data, &reference.data, &grid, tolerance_mm);
        let counts = CaseCounts {
            prediction_file: prediction_file(&case.name),
            reference_file: label_file(&listing, &case.name),
            counts: VoxelCounts::of(&targets, &prediction.data, &reference.data),
        };
        Ok((CaseScore { case: case.name.clone(), labels }, counts))
    };
    let cases = cx.each_case(&subset.cases, |case| &case.name, segment)?;
    let (scores, counts): (Vec<CaseScore>, Vec<CaseCounts>) = cases.into_iter().unzip();
    if params.summary_json {
        let labels = &subset.list.labels;
        let targets = Targets { labels, regions: &regions, ignore: listing.ignore };
        cx.create_text(SUMMARY, &nnunet_summary::text(&targets, counts))?;
    }
    summary::rows(&scores, subset.name, "original").into_iter().for_each(|row| cx.metric(row));
    pictures::draw(cx, dataset, &listing, &scores, |case| cx.create(&prediction_file(case)))?;
    cx.create_json("scores.json", &scores)
}

/// A case's label in the dataset.
fn label_file(listing: &Listing, case: &str) -> String {
    listing.case(case).and_then(|case| case.label.clone()).unwrap_or_default()
}

/// A case's label map in the artifact.
pub(crate) fn prediction_file(case: &str) -> String {
    format!("predictions/{case}.nii.gz")
}

/// The dataset's label on the original grid of its image.
pub(crate) fn read_label(
    dataset: &Input,
    listing: &Listing,
    case: &PreparedCase,
) -> Result<Volume<u8>> {
    let listed = listing.case(&case.name).ok_or_else(|| {
        Error::failed(format!("case '{}' is not in '{}'", case.name, dataset.stage))
    })?;
    let values = LabelValues { declared: &listing.declared(), mapping: &listing.map_labels };
    read_reference(&case.geometry, dataset, listed, values)
}
