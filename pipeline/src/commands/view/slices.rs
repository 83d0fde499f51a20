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
    let most = scene.fullest(Plane::Axial);
    let mut known: Vec<usize> =
        chosen.iter().filter(|one| one.0 == Plane::Axial).map(|one| one.1).collect();
    if !known.contains(&most) {
        chosen.push((Plane::Axial, most, "most labelled"));
        known.push(most);
    }
    let all = scene.spread(Plane::Axial, usize::MAX);
    let others = apart(&known, &all, OTHERS).into_iter();
    chosen.extend(others.map(|index| (Plane::Axial, index, "another slice")));
    chosen
}

/// At most `count` of `all` slices (ascending), each as far as can be from those that are known or
/// chosen before it, and from the ends, where little is to be seen.
fn apart(known: &[usize], all: &[usize], count: usize) -> Vec<usize> {
    let mut taken: Vec<usize> =
        known.iter().chain(all.first()).chain(all.last()).copied().collect();
    let mut found = vec![];
    for _ in 0..count {
        let room = |index: &usize| taken.iter().map(|one| one.abs_diff(*index)).min();
        // The first of equals.
        let next = all.iter().rev().max_by_key(|index| room(index)).copied();
        let Some(next) = next.filter(|index| room(index) > Some(0)) else { break };
        taken.push(next);
        found.push(next);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_slices_keep_away_from_those_that_are_shown_and_from_the_ends() {
        let all: Vec<usize> = (10..=44).collect();
        assert_eq!(apart(&[41, 34], &all, 2), [22, 16]);
        assert_eq!(apart(&[20], &all, 1), [32]);
        assert_eq!(apart(&[3, 4], &[3, 4, 5], 2), [0usize; 0]);
        assert_eq!(apart(&[], &[], 2), [0usize; 0]);
    }
}
