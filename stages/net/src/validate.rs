//! The stage `validate`: scores models on the validation volumes, on the resampled grid.

use crate::device::choose_device;
use crate::ensemble::Ensemble;
use crate::failure::catch_panic;
use crate::subset::{PreparedCase, Subset};
use crate::torch_flags::set_deterministic;
use std::sync::{Mutex, PoisonError};
use voxflow_stages::kinds::validate::Validate;
use voxflow_stages::metric::{CaseScore, Targets, skew_warning, summary};
use voxflow_stages::model::Scoring;
use voxflow_stages::{Context, Error, Result};

/// Makes the scores artifact.
pub fn run(cx: &Context) -> Result<()> {
    let Validate(params) = cx.params()?;
    set_deterministic(params.options.deterministic)?;
    let info = choose_device(cx)?;
    let subset = Subset::open(cx.input("cache")?, "validation")?;
    if subset.cases.is_empty() {
        return Err(Error::failed(
            "validation: there are no cases; give 'split' a number of validation cases",
        ));
    }
    let mut models = Ensemble::open(cx, &params.options, info)?;
    // Scores are those of the volumes as they are.
    models.prepares_images = false;
    models.check(cx, &subset, false, params.allow_leakage)?;
    // The lock lets one case at a time through the network, which keeps all threads busy by itself;
    // other cases are scored meanwhile.
    let models = Mutex::new(models);
    let scores = cx.each_case(
        &subset.cases,
        |case| &case.name,
        |case: &PreparedCase| {
            let skew = skew_warning(&case.grid());
            skew.iter().for_each(|words| cx.warn(format!("case {}: {words}", case.name)));
            score(case, &subset, &models, &params)
        },
    )?;
    summary::rows(&scores, subset.name, "resampled").into_iter().for_each(|row| cx.metric(row));
    cx.create_json("scores.json", &scores)
}

fn score(
    case: &PreparedCase,
    subset: &Subset,
    models: &Mutex<Ensemble>,
    params: &Scoring,
) -> Result<CaseScore> {
    let shape = case.image.shape();
    let (prediction, regions) = {
        let models = models.lock().unwrap_or_else(PoisonError::into_inner);
        let prediction = catch_panic(|| {
            let (window, classes) = (models.sliding_window()?, &models.classes);
            let channels = case.image.channels();
            let device = window.volume_device(shape, channels, classes.outputs());
            Ok(classes.volume(&classes.segment(&window, &case.tensor_on(device)?)))
        })?;
        (prediction, models.card.regions.clone())
    };
    let (labels, ignore) = (&subset.list.labels, subset.list.ignore);
    let targets = Targets { labels, regions: &regions, ignore };
    let reference = case.label_values()?;
    let scores = targets.score(&prediction, reference, &case.grid(), params.tolerance_mm);
    Ok(CaseScore { case: case.name.clone(), labels: scores })
}
