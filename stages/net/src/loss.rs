//! Losses of logits against labels, as MONAI's and nnU-Net's with softmax and one-hot; or with
//! sigmoids against regions of labels, as nnU-Net's.

use crate::torch_flags;
use tch::{Kind, Reduction, Tensor};
use voxflow_stages::model::{LossParams, VoxelLoss};

/// The loss of a network's outputs, logits first, weighted by `output_weights`. Further outputs may
/// be smaller: they are compared with labels resampled by nearest neighbour.
pub fn of_outputs(
    settings: &LossParams,
    targets: &LossTargets,
    outputs: &[Tensor],
    labels: &Tensor,
) -> Tensor {
    let weights = settings.output_weights.list(outputs.len());
    let counting = outputs.iter().zip(weights).filter(|(_, weight)| *weight > 0.0);
    let mut losses = counting.map(|(output, weight)| {
        let output = output.to_kind(at_least_single(output.kind()));
        let loss = loss(settings, targets, &output, &resized(labels, &output.size()[2..]));
        times(loss, weight)
    });
    let first = losses.next().unwrap_or_default();
    losses.fold(first, |sum, loss| sum + loss)
}

/// fp32 for 16-bit kinds.
fn at_least_single(kind: Kind) -> Kind {
    if kind == Kind::Double { Kind::Double } else { Kind::Float }
}

/// Labels resampled by nearest neighbour (PyTorch's `nearest-exact`).
fn resized(labels: &Tensor, sides: &[i64]) -> Tensor {
    if &labels.size()[2..] == sides {
        return labels.shallow_clone();
    }
    let nearest =
        labels.to_kind(Kind::Float).internal_upsample_nearest_exact3d(sides, None, None, None);
    nearest.to_kind(Kind::Int64)
}

/// The meaning of labels, and of a network's outputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LossTargets {
    /// For each output its classes, if outputs are regions by sigmoid; none for softmax over all
    /// classes.
    pub regions: Vec<Vec<i64>>,
    /// The class of voxels that count for nothing.
    pub ignored: Option<i64>,
}

/// Labels in the loss's terms.
pub(crate) struct LossReference {
    /// Classes (N, 1, X, Y, Z).
    labels: Tensor,
    /// Membership in each region (N, R, X, Y, Z), of the logits' kind; `None` for softmax.
    regions: Option<Tensor>,
    /// 1 for voxels that count (N, 1, X, Y, Z), of the logits' kind; `None` if all do.
    pub(crate) mask: Option<Tensor>,
}

impl LossTargets {
    fn reference(&self, labels: &Tensor, kind: Kind) -> LossReference {
        let mask = self.ignored.map(|class| labels.ne(class));
        let labels = match &mask {
            Some(mask) => labels * mask.to_kind(Kind::Int64),
            None => labels.shallow_clone(),
        };
        let regions: Vec<Tensor> =
            self.regions.iter().map(|classes| is_among(&labels, classes)).collect();
        let regions = (!regions.is_empty()).then(|| Tensor::cat(&regions, 1).to_kind(kind));
        LossReference { labels, regions, mask: mask.map(|mask| mask.to_kind(kind)) }
    }
}

/// The loss times a factor: a factor of 1 costs nothing, forwards or back.
fn times(loss: Tensor, factor: f64) -> Tensor {
    if factor == 1.0 { loss } else { loss * factor }
}

/// True where a label is one of the classes.
fn is_among(labels: &Tensor, classes: &[i64]) -> Tensor {
    let first = labels.ne_tensor(labels);
    classes.iter().fold(first, |all, class| all.logical_or(&labels.eq(*class)))
}

/// The loss of logits (N, C, X, Y, Z) against labels (N, 1, X, Y, Z) of kind Int64, as a scalar.
pub fn loss(
    settings: &LossParams,
    targets: &LossTargets,
    logits: &Tensor,
    labels: &Tensor,
) -> Tensor {
    let compared = Compared::new(targets, logits, labels);
    let of_dice = || dice(settings, compared.dice_sums(settings));
    let of_voxels =
        |loss| voxel_loss(settings, loss, &compared.costs(), compared.reference.mask.as_ref());
    joined(settings, of_dice, of_voxels)
}

/// The weighted sum of both parts, or the part that the loss is.
pub(crate) fn joined(
    settings: &LossParams,
    of_dice: impl Fn() -> Tensor,
    of_voxels: impl Fn(VoxelLoss) -> Tensor,
) -> Tensor {
    match settings.name.of_voxels() {
        None => of_dice(),
        Some(loss) if !settings.name.has_dice() => of_voxels(loss),
        Some(loss) => {
            let (of_dice, of_voxels) = (of_dice(), of_voxels(loss));
            times(of_dice, settings.weights[0]) + times(of_voxels, settings.weights[1])
        }
    }
}

/// Logits beside labels.
pub(crate) struct Compared<'a> {
    logits: &'a Tensor,
    pub(crate) reference: LossReference,
    /// `None` for regions.
    log_probabilities: Option<Tensor>,
}

impl Compared<'_> {
    pub(crate) fn new<'a>(
        targets: &LossTargets,
        logits: &'a Tensor,
        labels: &Tensor,
    ) -> Compared<'a> {
        let reference = targets.reference(labels, logits.kind());
        let log_probabilities = match reference.regions {
            None => Some(logits.log_softmax(1, logits.kind())),
            Some(_) => None,
        };
        Compared { logits, reference, log_probabilities }
    }

    fn probabilities(&self) -> Tensor {
        match &self.log_probabilities {
            Some(log_probabilities) => log_probabilities.exp(),
            None => self.logits.sigmoid(),
        }
    }

    /// −log p of each voxel's label (N, 1, X, Y, Z), or of its part in each region (N, R, X, Y, Z).
    pub(crate) fn costs(&self) -> Tensor {
        match (&self.log_probabilities, &self.reference.regions) {
            (Some(log_probabilities), _) => -at_labels(log_probabilities, &self.reference.labels),
            (None, regions) => self.logits.binary_cross_entropy_with_logits(
                regions.as_ref().unwrap_or(&self.reference.labels),
                None::<Tensor>,
                None::<Tensor>,
                Reduction::None,
            ),
        }
    }

    /// Σp^k, Σpt and Σt for each class (and patch), with k = 2 for `squared_pred`, else 1. Σt is
    /// Σt² since t is 0 or 1. Sums go over the mask's voxels. Regions all count, for there is no
    /// background among them.
    pub(crate) fn dice_sums(&self, settings: &LossParams) -> [Tensor; 3] {
        let probabilities = self.probabilities();
        let (p, t) = match &self.reference.regions {
            Some(regions) => (probabilities, regions.shallow_clone()),
            None => {
                let mut one_hot = probabilities.zeros_like();
                let _ = one_hot.scatter_value_(1, &self.reference.labels, 1.0);
                let first = if settings.include_background { 0 } else { 1 };
                let classes = probabilities.size()[1] - first;
                (probabilities.narrow(1, first, classes), one_hot.narrow(1, first, classes))
            }
        };
        let (p, t) = match &self.reference.mask {
            Some(mask) => (p * mask, t * mask),
            None => (p, t),
        };
        let axes: &[i64] = if settings.batch { &[0, 2, 3, 4] } else { &[2, 3, 4] };
        let predicted = if settings.squared_pred { sum(&p.square(), axes) } else { sum(&p, axes) };
        let both = sum(&(&p * &t), axes);
        [predicted, both, sum(&t, axes)]
    }
}

/// 1 − (2·Σpt + nr) / (Σp^k + Σt + dr), the mean over classes (and patches).
pub(crate) fn dice(settings: &LossParams, [predicted, both, reference]: [Tensor; 3]) -> Tensor {
    let numerator = both * 2.0 + settings.smooth_nr;
    let denominator = predicted + reference + settings.smooth_dr;
    let denominator = match settings.clamp_dr {
        0.0 => denominator,
        least => denominator.clamp_min(least),
    };
    let ratio: Tensor = numerator / denominator;
    let kind: Kind = ratio.kind();
    if settings.negative_dice { -ratio.mean(kind) } else { 1.0 - ratio.mean(kind) }
}

/// The mean over voxels of −log p(label), over the largest of them, or of (1 − p)^γ times it.
/// `costs` are −log p (N, 1 or R, X, Y, Z).
fn voxel_loss(
    settings: &LossParams,
    loss: VoxelLoss,
    costs: &Tensor,
    mask: Option<&Tensor>,
) -> Tensor {
    match loss {
        VoxelLoss::Ce => mean(costs, mask),
        VoxelLoss::Topk => {
            let costs = mask.map_or_else(|| costs.shallow_clone(), |mask| costs * mask);
            mean_of_largest(settings, &costs)
        }
        VoxelLoss::Focal => mean(&focal(settings, costs), mask),
    }
}

pub(crate) fn mean_of_largest(settings: &LossParams, costs: &Tensor) -> Tensor {
    let voxels = costs.numel() as f64;
    let counting = (voxels * settings.top_percent / 100.0).max(1.0) as i64;
    let (largest, _) = costs.flatten(0, -1).topk(counting, 0, true, false);
    largest.mean(costs.kind())
}

pub(crate) fn focal(settings: &LossParams, costs: &Tensor) -> Tensor {
    let doubt: Tensor = 1.0 - (-costs).exp();
    doubt.pow_tensor_scalar(settings.gamma) * costs
}

/// The value of each voxel's label. The gradient of `gather` adds to its places in any order, and
/// libtorch's way to repeat that on a GPU is a sort of all voxels: there, a sum over classes with a
/// single value other than 0 gives the same.
fn at_labels(values: &Tensor, labels: &Tensor) -> Tensor {
    if !(values.device().is_cuda() && torch_flags::is_deterministic()) {
        return values.gather(1, labels, false);
    }
    let mut one_hot = values.zeros_like();
    let _ = one_hot.scatter_value_(1, labels, 1.0);
    (values * one_hot).sum_dim_intlist(&[1i64][..], true, values.kind())
}

/// The mean of costs; with a mask their sum over its voxel count, as in nnU-Net, so that regions
/// add up.
fn mean(costs: &Tensor, mask: Option<&Tensor>) -> Tensor {
    let kind = costs.kind();
    match mask {
        None => costs.mean(kind),
        Some(mask) => (costs * mask).sum(kind) / mask.sum(kind).clamp_min(1.0),
    }
}

fn sum(tensor: &Tensor, axes: &[i64]) -> Tensor {
    tensor.sum_dim_intlist(axes, false, tensor.kind())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    const SOFTMAX: LossTargets = LossTargets { regions: vec![], ignored: None };

    fn labels() -> Tensor {
        Tensor::from_slice(&[0i64, 1, 2, 1, 0, 0, 2, 1]).reshape([1, 1, 2, 2, 2])
    }

    #[test]
    fn a_certain_and_right_prediction_costs_nothing() {
        let logits = Tensor::zeros([1, 3, 2, 2, 2], (Kind::Double, Device::Cpu)).scatter_value(
            1,
            &labels(),
            50.0,
        );
        assert!(
            loss(&LossParams::default(), &SOFTMAX, &logits, &labels()).double_value(&[]).abs()
                < 1e-9
        );
    }

    #[test]
    fn further_outputs_count_half_as_much_each_against_labels_of_their_size() {
        let (labels, settings) = (labels(), LossParams::default());
        let logits = Tensor::randn([1, 3, 2, 2, 2], (Kind::Double, Device::Cpu));
        let alone = of_outputs(&settings, &SOFTMAX, &[logits.shallow_clone()], &labels);
        assert_eq!(alone, loss(&settings, &SOFTMAX, &logits, &labels));
        // The centres of the small voxels are nearest to the second of four along each axis.
        let wide = labels.repeat([1, 1, 2, 2, 2]);
        let large = Tensor::randn([1, 3, 4, 4, 4], (Kind::Double, Device::Cpu));
        let one = Tensor::randn([1, 3, 1, 1, 1], (Kind::Double, Device::Cpu));
        let outputs = [&large, &logits, &one].map(Tensor::shallow_clone);
        let found = of_outputs(&settings, &SOFTMAX, &outputs, &wide).double_value(&[]);
        let small = wide.slice(2, 1, 4, 2).slice(3, 1, 4, 2).slice(4, 1, 4, 2);
        let last = wide.narrow(2, 2, 1).narrow(3, 2, 1).narrow(4, 2, 1);
        let of = |logits: &Tensor, labels: &Tensor| {
            loss(&settings, &SOFTMAX, logits, labels).double_value(&[])
        };
        let wanted = of(&large, &wide) + of(&logits, &small) / 2.0 + of(&one, &last) / 4.0;
        assert!((found - wanted).abs() < 1e-12, "{found} {wanted}");
    }

    #[test]
    fn an_undecided_prediction_costs_what_pencil_and_paper_say() {
        let logits = Tensor::zeros([1, 3, 2, 2, 2], (Kind::Double, Device::Cpu));
        let settings = LossParams {
            smooth_nr: 0.0,
            smooth_dr: 0.0,
            weights: [1.0, 1.0],
            ..LossParams::default()
        };
        // Σpt = count/3, Σp² = 8/9, Σt = count for counts 3, 3, 2.
        let share = |count: f64| 2.0 * count / 3.0 / (8.0 / 9.0 + count);
        let dice = 1.0 - (share(3.0) + share(3.0) + share(2.0)) / 3.0;
        let found = loss(&settings, &SOFTMAX, &logits, &labels()).double_value(&[]);
        assert!((found - dice - 3f64.ln()).abs() < 1e-12, "{found}");
    }

    #[test]
    fn voxels_to_ignore_have_no_part_in_loss_and_gradients() {
        let sparse = LossTargets { ignored: Some(254), ..SOFTMAX };
        let hidden = labels().masked_fill(&labels().eq(2), 254i64);
        for (targets, outputs) in
            [(sparse.clone(), 3), (LossTargets { regions: vec![vec![1, 2], vec![2]], ..sparse }, 2)]
        {
            let drawn = Tensor::randn([1, outputs, 2, 2, 2], (Kind::Double, Device::Cpu));
            let costs = |logits: &Tensor| {
                loss(&LossParams::default(), &targets, logits, &hidden).double_value(&[])
            };
            let logits = drawn.copy().set_requires_grad(true);
            loss(&LossParams::default(), &targets, &logits, &hidden).backward();
            let there = hidden.eq(254).expand([1, outputs, 2, 2, 2], false);
            assert_eq!(logits.grad().masked_select(&there).abs().max().double_value(&[]), 0.0);
            assert!(logits.grad().abs().max().double_value(&[]) > 0.0);
            let other = drawn.masked_fill(&there, 9.0);
            assert!((costs(&drawn) - costs(&other)).abs() < 1e-12);
            let nothing = labels().fill(254i64);
            let of_nothing = loss(&LossParams::default(), &targets, &drawn, &nothing);
            assert!(of_nothing.double_value(&[]).is_finite());
        }
    }
}
