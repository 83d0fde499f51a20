//! Slices of a tested case for a report: where reference and prediction differ most, where most is
//! labelled, and a few between.

use super::subject::{ViewFiles, ViewSubject};
use crate::error::Result;
use crate::report::{CaseSlices, NamedSlice};
use crate::run::StageRecord;
use crate::runs::StoredRun;
use voxflow_stages::image::picture::{Plane, Scale};

/// Longer side of a slice in pixels.
const SIDE: usize = 320;

/// Axial slices without a reason of their own.
const OTHERS: usize = 2;

/// Reads a case of a stage and cuts its slices. Errors if its files are gone.
pub fn case_slices(run: &StoredRun, stage: &StageRecord, case: &str) -> Result<CaseSlices> {
    let subject = ViewSubject::read(ViewFiles::of_case(run, stage, case)?, 1, None)?;
    let scale = Scale::of(subject.scene.values());
    let slices = chosen(&subject).into_iter().map(|(plane, index, why)| {
        let slice = subject.scene.packed(plane, index, SIDE, scale)?;
        let ([along, down, _], shape) = (plane.axes(), subject.scene.shape());
        let spacing = subject.scene.spacing_mm();
        let size_mm = [along, down].map(|axis| shape[axis] as f64 * spacing[axis]);
        Ok(NamedSlice { plane, index, why, size_mm, slice })
    });
    Ok(CaseSlices {
        stage: stage.stage.clone(),
        case: case.to_string(),
        is_ct: subject.is_ct,
        window: subject.scene.window(),
        scale,
        labels: subject.labels(),
        slices: slices.collect::<Result<_>>()?,
    })
}

/// Planes, indices and reasons; no slice twice.
fn chosen(subject: &ViewSubject) -> Vec<(Plane, usize, &'static str)> {
    let scene = &subject.scene;
    let mut chosen: Vec<(Plane, usize, &str)> = vec![];
    for plane in Plane::ALL {
        let worst = scene.worst(plane).map(|index| (plane, index, "largest error"));
        chosen.push(worst.unwrap_or((plane, scene.fullest(plane), "most labelled")));
    }
    let more = [(Plane::Axial, scene.fullest(Plane::Axial), "most labelled")].into_iter();
    let spread = scene.spread(Plane::Axial, OTHERS);
    let more = more.chain(spread.into_iter().map(|index| (Plane::Axial, index, "another slice")));
    for one in more {
        if !chosen.iter().any(|known| (known.0, known.1) == (one.0, one.1)) {
            chosen.push(one);
        }
    }
    chosen
}
