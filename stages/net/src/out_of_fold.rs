//! The stage `out_of_fold`: segments the validation cases on their original grids, scores them, and
//! keeps label maps, references and, if asked, probabilities.

use crate::device::choose_device;
use crate::ensemble::Ensemble;
use crate::image_preparation::{ImageSource, of_cached_case};
use crate::segmentation::Segmentation;
use crate::subset::{PreparedCase, Subset};
use crate::test::read_label;
use crate::torch_flags::set_deterministic;
use std::sync::Mutex;
use voxflow_cache::Digest;
use voxflow_stages::dataset::{Listing, Region};
use voxflow_stages::image::Volume;
use voxflow_stages::image::nifti::{write_label_in, write_volume_f32_in};
use voxflow_stages::kinds::out_of_fold::OutOfFold;
use voxflow_stages::metric::nnunet_summary::{self, CaseCounts, SUMMARY, VoxelCounts};
use voxflow_stages::metric::{CaseScore, skew_warning, summary};
use voxflow_stages::model::ensemble::models_of;
use voxflow_stages::model::out_of_fold::{
    OUT_OF_FOLD, OutOfFoldCases, prediction_file, probability_file, reference_file,
};
use voxflow_stages::{Context, Error, Result};

/// Makes the artifact.
pub fn run(cx: &Context) -> Result<()> {
    let params: OutOfFold = cx.params()?;
    set_deterministic(params.options.deterministic)?;
    let info = choose_device(cx)?;
    let subset = Subset::open(cx.input("cache")?, "validation")?;
    if subset.cases.is_empty() {
        return Err(Error::failed(
            "validation: there are no cases; give 'split' a fold, or a number of validation cases",
        ));
    }
    let mut models = Ensemble::open(cx, &params.options, info)?;
    models.check(cx, &subset, false, params.allow_leakage)?;
    // Post-processing is chosen anew, by the cases of all folds.
    models.keep_largest.clear();
    let facts = facts(cx, &params, &subset, models.card.regions.clone())?;
    let dataset = cx.input("dataset")?;
    let listing: Listing = dataset.json("dataset.json")?;
    let (preparations, prepares_images) = (models.preparations(), models.prepares_images);
    let images =
        ImageSource { dataset, listing: &listing, preparations: &preparations, prepares_images };
    let models = Mutex::new(models);
    let segment = |case: &PreparedCase| {
        let prepared = of_cached_case(cx, &subset, case, images)?;
        let (map, probabilities) = match params.probabilities {
            true => {
                let found = Segmentation::predict(&models, &prepared)?;
                (found.labels()?, Some(found.probabilities()?))
            }
            false => (Segmentation::label_map(&models, &prepared)?, None),
        };
        if let Some(all) = &probabilities {
            let path = cx.create(&probability_file(&case.name))?;
            write_volume_f32_in(&path, all, case.geometry.space.as_ref(), true)?;
        }
        score(cx, &params, &facts, (case, images), &map)
    };
    let cases = cx.each_case(&subset.cases, |case| &case.name, segment)?;
    let (scores, counts): (Vec<CaseScore>, Vec<CaseCounts>) = cases.into_iter().unzip();
    cx.create_text(SUMMARY, &nnunet_summary::text(&facts.targets(), counts))?;
    summary::rows(&scores, subset.name, "original").into_iter().for_each(|row| cx.metric(row));
    cx.create_json("scores.json", &scores)?;
    cx.create_json(OUT_OF_FOLD, &facts)
}

fn facts(
    cx: &Context,
    params: &OutOfFold,
    subset: &Subset,
    regions: Vec<Region>,
) -> Result<OutOfFoldCases> {
    let mut weights: Vec<Digest> = vec![];
    for input in cx.many("model") {
        for model in models_of(input)? {
            weights.push(model.input.file(params.options.weights.file())?.blob.digest);
        }
    }
    Ok(OutOfFoldCases {
        dataset: subset.list.dataset.clone(),
        labels: subset.list.labels.clone(),
        regions,
        ignore: subset.list.ignore,
        cases: subset.cases.iter().map(|case| case.name.clone()).collect(),
        weights,
        probabilities: params.probabilities,
    })
}

/// Writes a case's label maps, and scores it.
fn score(
    cx: &Context,
    params: &OutOfFold,
    facts: &OutOfFoldCases,
    (case, images): (&PreparedCase, ImageSource),
    map: &Volume<u8>,
) -> Result<(CaseScore, CaseCounts)> {
    let (name, space) = (&case.name, case.geometry.space.as_ref());
    write_label_in(&cx.create(&prediction_file(name))?, map, space, true)?;
    let reference = read_label(images.dataset, images.listing, case)?;
    write_label_in(&cx.create(&reference_file(name))?, &reference, space, true)?;
    let grid = map.grid();
    let skew = skew_warning(&grid);
    skew.iter().for_each(|words| cx.warn(format!("case {name}: {words}")));
    let targets = facts.targets();
    let labels = targets.score(&map.data, &reference.data, &grid, params.tolerance_mm);
    let counts = CaseCounts {
        prediction_file: prediction_file(name),
        reference_file: reference_file(name),
        counts: VoxelCounts::of(&targets, &map.data, &reference.data),
    };
    Ok((CaseScore { case: name.clone(), labels }, counts))
}
