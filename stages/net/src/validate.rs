//! `validate`: scores models on the validation volumes, on the resampled grid.

use crate::cases::{Part, PreparedCase};
use crate::model::Models;
use crate::train::begin;
use crate::worker::caught;
use std::sync::{Mutex, PoisonError};
use voxflow_stages::kinds::validate::Validate;
use voxflow_stages::metric::{CaseScore, score_case, skew_warning, summary};
use voxflow_stages::model::Scoring;
use voxflow_stages::{Context, Error, Result};

/// Makes the scores artifact.
pub fn run(cx: &Context) -> Result<()> {
    let Validate(params) = cx.params()?;
    let place = begin(cx)?;
    let part = Part::open(cx.input("cache")?, "validation")?;
    if part.cases.is_empty() {
        return Err(Error::failed(
            "validation: there are no cases; give 'split' a number of validation cases",
        ));
    }
    let models = Models::open(cx, params.weights, params.inference.as_ref(), params.flips, place)?;
    models.check(cx, &part, false, params.allow_leakage)?;
    // One case at a time through the network, which keeps all threads busy by itself; scoring
    // beside it.
    let models = Mutex::new(models);
    let work = |case: &PreparedCase| {
        let skew = skew_warning(&case.grid());
        skew.iter().for_each(|words| cx.warn(format!("case {}: {words}", case.name)));
        score(case, &part, &models, &params)
    };
    let scores = cx.each_case(&part.cases, |case| &case.name, work)?;
    summary::rows(&scores, part.name, "resampled").into_iter().for_each(|row| cx.metric(row));
    cx.create_json("scores.json", &scores)
}

fn score(
    case: &PreparedCase,
    part: &Part,
    models: &Mutex<Models>,
    params: &Scoring,
) -> Result<CaseScore> {
    let (shape, labels) = (case.image.shape(), &part.list.labels);
    let prediction = {
        let models = models.lock().unwrap_or_else(PoisonError::into_inner);
        caught(|| {
            let slider = models.slider()?;
            let home =
                slider.home(shape.iter().product(), case.image.channels(), models.classes.count());
            Ok(models.classes.volume(&slider.classes(&case.tensor_on(home)?)))
        })?
    };
    let scores =
        score_case(&prediction, case.label_values()?, &case.grid(), labels, params.tolerance_mm);
    Ok(CaseScore { case: case.name.clone(), labels: scores })
}
