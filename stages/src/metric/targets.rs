//! Targets of a score: labels, or regions of labels, among annotated voxels.

use crate::dataset::{Label, Region};
use crate::image::spacing::Grid;
use crate::metric::score::{LabelScore, score_case};

/// All that a segmentation is scored for.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// The labels, scored unless there are regions.
    pub labels: &'a [Label],
    /// The regions.
    pub regions: &'a [Region],
    /// The reference's value of unannotated voxels: neither they nor predictions there count, in
    /// volumes either.
    pub ignore: Option<u8>,
}

impl Targets<'_> {
    /// The labels of each target: one, or those of a region.
    pub fn label_sets(&self) -> Vec<Vec<u8>> {
        match self.regions.is_empty() {
            true => self.labels.iter().map(|label| vec![label.value]).collect(),
            false => self.regions.iter().map(|region| region.labels.clone()).collect(),
        }
    }

    /// Scores a segmentation by [`score_case`].
    ///
    /// # Panics
    ///
    /// If a map's size is not the grid's.
    pub fn score(
        &self,
        prediction: &[u8],
        reference: &[u8],
        grid: &Grid,
        tolerance_mm: f64,
    ) -> Vec<LabelScore> {
        let Some(ignore) = self.ignore else {
            return self.of_all(prediction, reference, grid, tolerance_mm);
        };
        let [prediction, reference] = [prediction, reference].map(|map| -> Vec<u8> {
            let pairs = map.iter().zip(reference);
            pairs.map(|(value, known)| if *known == ignore { 0 } else { *value }).collect()
        });
        self.of_all(&prediction, &reference, grid, tolerance_mm)
    }

    fn of_all(
        &self,
        prediction: &[u8],
        reference: &[u8],
        grid: &Grid,
        tolerance_mm: f64,
    ) -> Vec<LabelScore> {
        if self.regions.is_empty() {
            return score_case(prediction, reference, grid, self.labels, tolerance_mm);
        }
        let scores = self.regions.iter().flat_map(|region| {
            let [prediction, reference] = [prediction, reference].map(|map| -> Vec<u8> {
                map.iter().map(|value| u8::from(region.labels.contains(value))).collect()
            });
            let label = [Label { value: 1, name: region.name.clone() }];
            score_case(&prediction, &reference, grid, &label, tolerance_mm)
        });
        scores.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dice(targets: Targets, prediction: &[u8], reference: &[u8]) -> Vec<(String, Option<f64>)> {
        let mut affine = [[0.0; 4]; 4];
        (0..4).for_each(|axis| affine[axis][axis] = 1.0);
        let grid = Grid { shape: [prediction.len(), 1, 1], affine };
        let scores = targets.score(prediction, reference, &grid, 1.0);
        scores.into_iter().map(|score| (score.label, score.dice)).collect()
    }

    #[test]
    fn regions_are_scored_as_unions_and_voxels_to_ignore_count_for_nothing() {
        let labels = [1, 2].map(|value| Label { value, name: format!("l{value}") });
        let region = |name: &str, labels: &[u8]| Region {
            name: name.into(),
            labels: labels.into(),
            value: 1,
        };
        let regions = [region("whole", &[1, 2]), region("core", &[2])];
        let (prediction, reference) = ([1, 2, 2, 0, 1, 2], [2, 2, 1, 1, 3, 3]);
        let plain = Targets { labels: &labels, regions: &[], ignore: Some(3) };
        let found = dice(plain, &prediction, &reference);
        assert_eq!(found, [("l1".into(), Some(0.0)), ("l2".into(), Some(0.5))]);
        let united = Targets { regions: &regions, ..plain };
        let found = dice(united, &prediction, &reference);
        assert_eq!(found, [("whole".into(), Some(6.0 / 7.0)), ("core".into(), Some(0.5))]);
        let all = Targets { ignore: None, ..united };
        assert!(dice(all, &prediction, &reference)[0].1 < Some(6.0 / 7.0), "all voxels count");
    }
}
