//! The loss of whole volumes, for validation.

use crate::loss::{Compared, LossTargets, dice, focal, joined, mean_of_largest};
use crate::sliding_window::ScoredRows;
use tch::{Kind, Tensor, no_grad};
use voxflow_stages::image::prepared::OUTSIDE;
use voxflow_stages::model::{LossParams, VoxelLoss};

/// Numbers in a slab of a volume's logits.
const SLAB: i64 = 1 << 22;
/// Probabilities are kept this far from 0, and those of regions from 1, for their logarithms.
const CERTAIN: f64 = 1e-7;

/// The loss of a whole volume, equal to that of a batch with this volume alone. Its rows come in
/// order; sums are taken by slabs to bound the temporary memory.
pub struct VolumeLoss<'a> {
    settings: &'a LossParams,
    targets: &'a LossTargets,
    classes: &'a Tensor,
    /// Numbers in a slab; it has a layer at least.
    slab: i64,
    /// Rows so far.
    done: i64,
    sums: VolumeSums,
}

impl<'a> VolumeLoss<'a> {
    /// No rows yet. `classes` is the reference (X, Y, Z), Uint8.
    pub fn new(
        settings: &'a LossParams,
        targets: &'a LossTargets,
        classes: &'a Tensor,
    ) -> VolumeLoss<'a> {
        let sums = VolumeSums::default();
        VolumeLoss { settings, targets, classes, slab: SLAB, done: 0, sums }
    }

    /// Takes what networks say of the next rows.
    pub fn add(&mut self, rows: &ScoredRows) {
        no_grad(|| {
            let size = rows.values.size();
            let thickness = (self.slab / (size[1] * size[3] * size[4]).max(1)).max(1);
            for start in (0..size[2]).step_by(thickness as usize) {
                let count = (size[2] - start).min(thickness);
                let slab = rows.values.narrow(2, start, count).to_kind(Kind::Float);
                let logits = match (rows.are_logits, self.targets.regions.is_empty()) {
                    (true, _) => slab,
                    (false, true) => slab.clamp_min(CERTAIN).log(),
                    (false, false) => slab.logit(CERTAIN),
                };
                let labels = self.classes.narrow(0, self.done, count).unsqueeze(0).unsqueeze(0);
                // Values that are no label are background, as in patches.
                let labels = labels.masked_fill(&labels.eq(i64::from(OUTSIDE)), 0i64);
                let compared = Compared::new(self.targets, &logits, &labels.to_kind(Kind::Int64));
                self.sums.add(self.settings, &compared);
                self.done += count;
            }
        })
    }

    /// The loss of all rows.
    pub fn value(&self) -> f64 {
        no_grad(|| self.sums.loss(self.settings).double_value(&[]))
    }
}

/// What the parts of a volume come to, in fp64.
#[derive(Default)]
struct VolumeSums {
    /// As [`Compared::dice_sums`].
    dice: Vec<Tensor>,
    /// Sum over voxels, and the number of voxels.
    voxels: Vec<Tensor>,
    /// The costs of all voxels, where only the largest count.
    costs: Vec<Tensor>,
}

impl VolumeSums {
    fn add(&mut self, settings: &LossParams, compared: &Compared) {
        let loss = settings.name.of_voxels();
        if loss.is_none() || settings.name.has_dice() {
            add_all(&mut self.dice, compared.dice_sums(settings));
        }
        let mask = compared.reference.mask.as_ref();
        let masked = |costs: Tensor| match mask {
            Some(mask) => costs * mask,
            None => costs,
        };
        let costs = match loss {
            None => return,
            Some(VoxelLoss::Topk) => {
                return self.costs.push(masked(compared.costs()).flatten(0, -1));
            }
            Some(VoxelLoss::Ce) => compared.costs(),
            Some(VoxelLoss::Focal) => focal(settings, &compared.costs()),
        };
        let count = match mask {
            Some(mask) => mask.sum(Kind::Float),
            None => Tensor::from(costs.numel() as f64),
        };
        add_all(&mut self.voxels, [masked(costs).sum(Kind::Float), count]);
    }

    fn loss(&self, settings: &LossParams) -> Tensor {
        let of_dice = || match &self.dice[..] {
            [predicted, both, reference] => {
                dice(settings, [predicted, both, reference].map(Tensor::shallow_clone))
            }
            _ => Tensor::default(),
        };
        let of_voxels = |loss| match (loss, &self.voxels[..]) {
            (VoxelLoss::Topk, _) => mean_of_largest(settings, &Tensor::cat(&self.costs, 0)),
            (_, [sum, count]) => sum / count.clamp_min(1.0),
            _ => Tensor::default(),
        };
        joined(settings, of_dice, of_voxels)
    }
}

/// Adds to the sums so far.
fn add_all<const N: usize>(sums: &mut Vec<Tensor>, more: [Tensor; N]) {
    let more = more.map(|part| part.to_kind(Kind::Double));
    match sums.is_empty() {
        true => sums.extend(more),
        false => sums.iter_mut().zip(more).for_each(|(sum, part)| *sum += part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::loss;
    use serde_json::json;
    use tch::Device;

    const SIDE: i64 = 8;

    fn classes() -> Tensor {
        let numbers: Vec<u8> =
            (0..SIDE * SIDE * SIDE).map(|voxel| (voxel * 7 % 11 % 3) as u8).collect();
        Tensor::from_slice(&numbers).reshape([SIDE, SIDE, SIDE])
    }

    fn drawn(outputs: i64) -> Tensor {
        Tensor::randn([1, outputs, SIDE, SIDE, SIDE], (Kind::Float, Device::Cpu))
    }

    /// The loss in slabs of one layer, given in two pieces, and that of the volume as a batch.
    fn both(settings: &LossParams, targets: &LossTargets, outputs: ScoredRows) -> [f64; 2] {
        let classes = classes();
        let slab = SIDE * SIDE * outputs.values.size()[1];
        let mut rows = VolumeLoss { slab, ..VolumeLoss::new(settings, targets, &classes) };
        for (start, count) in [(0, 3), (3, SIDE - 3)] {
            let values = outputs.values.narrow(2, start, count);
            rows.add(&ScoredRows { values, are_logits: outputs.are_logits });
        }
        let found = rows.value();
        let labels = classes.to_kind(Kind::Int64).reshape([1, 1, SIDE, SIDE, SIDE]);
        let logits = match (outputs.are_logits, targets.regions.is_empty()) {
            (true, _) => outputs.values,
            (false, true) => outputs.values.log(),
            (false, false) => outputs.values.logit(None),
        };
        [found, loss(settings, targets, &logits, &labels).double_value(&[])]
    }

    #[test]
    fn the_loss_of_a_volume_in_slabs_is_that_of_a_batch() {
        let softmax = LossTargets::default();
        let sparse = LossTargets { ignored: Some(2), ..LossTargets::default() };
        let regions = LossTargets { regions: vec![vec![1, 2], vec![2]], ignored: None };
        for name in ["dice", "ce", "dice_ce", "topk", "dice_topk", "focal", "dice_focal"] {
            for more in [json!({}), json!({ "include_background": false, "batch": true })] {
                let mut params = json!({ "name": name, "weights": [0.7, 0.4] });
                params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                let settings: LossParams = serde_json::from_value(params).unwrap();
                for (targets, count) in [(&softmax, 3), (&sparse, 3), (&regions, 2)] {
                    let logits = drawn(count);
                    let probabilities = match count {
                        3 => logits.softmax(1, Kind::Float),
                        _ => logits.sigmoid(),
                    };
                    for (values, are_logits) in [(logits, true), (probabilities, false)] {
                        let [found, wanted] =
                            both(&settings, targets, ScoredRows { values, are_logits });
                        assert!((found - wanted).abs() < 1e-5, "{name}: {found}, not {wanted}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_value_that_is_no_label_is_background_in_the_loss() {
        let (settings, targets) = (LossParams::default(), LossTargets::default());
        let classes = classes();
        let strange = classes.masked_fill(&classes.eq(0), i64::from(OUTSIDE));
        let outputs = ScoredRows { values: drawn(3), are_logits: true };
        let of = |classes: &Tensor| {
            let mut loss = VolumeLoss::new(&settings, &targets, classes);
            loss.add(&outputs);
            loss.value()
        };
        assert_eq!(of(&strange), of(&classes));
    }
}
