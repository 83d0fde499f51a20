//! Dice of two maps of classes, cheap enough for every validation.

use crate::classes::{Classes, IGNORED};
use tch::{Device, Kind, Tensor};

/// Voxel counts for each pair (predicted class, reference class). They are counted on the device
/// that holds the two maps (Uint8), and only the counts leave the device.
struct ConfusionMatrix {
    classes: usize,
    /// At index predicted · classes + reference.
    voxels: Vec<i64>,
}

impl ConfusionMatrix {
    /// Voxels that the reference ignores are left out.
    fn new(prediction: &Tensor, reference: &Tensor, classes: &Classes) -> ConfusionMatrix {
        let has_ignored = classes.has_ignored();
        let classes = classes.count();
        let mut pairs = prediction.to_kind(Kind::Int);
        pairs *= classes as i64;
        pairs += reference;
        if has_ignored {
            pairs = pairs.masked_select(&reference.ne(i64::from(IGNORED)));
        }
        let counted = pairs
            .flatten(0, -1)
            .bincount(None::<Tensor>, (classes * classes) as i64)
            .to_device(Device::Cpu);
        let mut voxels = vec![0; classes * classes];
        counted.copy_data(&mut voxels, classes * classes);
        ConfusionMatrix { classes, voxels }
    }

    /// Dice of a union of classes: 2·|P∩R| / (|P| + |R|); `None` if the reference is empty, as
    /// MONAI.
    fn dice(&self, union: &[u8]) -> Option<f64> {
        let all: Vec<usize> = (0..self.classes).collect();
        let union: Vec<usize> = union.iter().map(|class| usize::from(*class)).collect();
        let reference = self.sum(&all, &union);
        let both = 2.0 * self.sum(&union, &union) as f64;
        (reference > 0).then(|| both / (self.sum(&union, &all) + reference) as f64)
    }

    /// The voxels of any pair of these classes.
    fn sum(&self, predicted: &[usize], reference: &[usize]) -> i64 {
        let pairs = predicted.iter().flat_map(|one| reference.iter().map(|other| (*one, *other)));
        pairs.map(|(predicted, reference)| self.count(predicted, reference)).sum()
    }

    fn count(&self, predicted: usize, reference: usize) -> i64 {
        self.voxels[predicted * self.classes + reference]
    }
}

/// Dice of each label or region, of two maps of classes on one device. `None` for an empty
/// reference.
pub fn of_case(prediction: &Tensor, reference: &Tensor, classes: &Classes) -> Vec<Option<f64>> {
    let counts = ConfusionMatrix::new(prediction, reference, classes);
    classes.targets().iter().map(|target| counts.dice(&target.classes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use voxflow_stages::dataset::Label;

    #[test]
    fn a_label_that_a_case_lacks_does_not_count() {
        let labels = [1, 2].map(|value| Label { value, name: format!("l{value}") });
        let of = |ignore, union: &[u8], prediction: &[u8], reference: &[u8]| {
            let classes = Classes::of(&labels, &[], ignore).unwrap();
            let [prediction, reference] = [prediction, reference].map(Tensor::from_slice);
            ConfusionMatrix::new(&prediction, &reference, &classes).dice(union)
        };
        let dice = |prediction: &[u8], reference: &[u8]| of(None, &[1], prediction, reference);
        let sparse = [1, 0, 2, IGNORED, IGNORED];
        assert_eq!(of(Some(9), &[1], &[1, 1, 2, 1, 0], &sparse), Some(2.0 / 3.0));
        assert_eq!(of(Some(9), &[1, 2], &[1, 1, 1, 1, 0], &sparse), Some(4.0 / 5.0));
        assert_eq!(dice(&[1, 1, 0, 2], &[1, 0, 0, 2]), Some(2.0 / 3.0));
        assert_eq!(dice(&[1, 1, 0, 2], &[0, 0, 0, 2]), None);
    }
}
