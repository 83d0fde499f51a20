//! Sliding-window inference as MONAI's `sliding_window_inference` and as nnU-Net's, averaged over
//! networks and flips.

use crate::blended_rows::window_starts;
pub use crate::blended_rows::{BlendedRows, ScoreRows, slide};
use crate::device_room::DeviceRoom;
use crate::inference_network::InferenceNetwork;
use std::cell::Cell;
use std::convert::Infallible;
use tch::{Device, Kind, Tensor, no_grad};
use voxflow_stages::model::{Average, Inference, ScoreMemory};

/// The variable that keeps scores `whole`, or a few `rows` of them; by default their size decides.
/// Logits are the same, and probabilities but for the last bits.
pub const SCORES: &str = "VOXFLOW_SCORES";

/// Networks, and the settings of the window.
pub struct SlidingWindow<'a> {
    /// Networks whose probabilities or logits are averaged.
    pub networks: Vec<InferenceNetwork<'a>>,
    /// Overlap, blending, windows per batch, flips.
    pub inference: Inference,
    /// Sides of the window in voxels.
    pub roi: [usize; 3],
    /// The networks' device.
    pub device: Device,
    /// Its room for volumes; `None` for the processor.
    pub room: Option<DeviceRoom>,
    /// The networks' outputs are regions, whose probabilities are by sigmoid instead of softmax.
    pub by_sigmoid: bool,
}

impl SlidingWindow<'_> {
    /// The memory of the scores of so many outputs on a volume.
    pub fn memory(&self, shape: [usize; 3], outputs: usize) -> ScoreMemory {
        ScoreMemory::new(&self.inference, shape, self.roi, outputs, self.networks.len())
    }

    /// The rows that are held at a time for so many outputs on a volume.
    pub fn held(&self, shape: [usize; 3], outputs: usize) -> ScoreRows {
        let memory = self.memory(shape, outputs);
        match is_by_rows(&memory) {
            true => ScoreRows::Window { piece: memory.piece_rows(), windows: memory.windows() },
            false => ScoreRows::All,
        }
    }

    /// The device that keeps a volume during inference: the networks' device if it has room for the
    /// image and all sums, else the processor.
    pub fn volume_device(&self, shape: [usize; 3], channels: usize, outputs: usize) -> Device {
        let image = (shape.iter().product::<usize>() * channels) as u64 * 4;
        let memory = self.memory(shape, outputs);
        let bytes = image + memory.bytes(is_by_rows(&memory));
        if self.room.is_some_and(|room| room.holds(bytes)) { self.device } else { Device::Cpu }
    }

    /// True if [`SlidingWindow::scores`] are logits.
    pub fn scores_are_logits(&self) -> bool {
        self.inference.average == Average::Logits
    }

    /// Scores above it are of regions more likely than not.
    pub fn region_threshold(&self) -> f64 {
        if self.scores_are_logits() { 0.0 } else { 0.5 }
    }

    /// Class probabilities, or logits if those are averaged: (1, classes, X, Y, Z), fp32, of an
    /// image (1, C, X, Y, Z), on the image's device.
    pub fn scores(&self, image: &Tensor) -> Tensor {
        self.scores_told(image, &nobody)
    }

    /// The same; `told` hears the windows done and all windows of all networks and flips, after
    /// each batch.
    pub fn scores_told(&self, image: &Tensor, told: &dyn Fn(u64, u64)) -> Tensor {
        let mut all = Tensor::new();
        let Ok(()) = self.each_rows(image, ScoreRows::All, told, |scores| {
            all = scores;
            Ok::<(), Infallible>(())
        });
        all
    }

    /// Gives the same scores to `take`, some rows (planes of x) at a time, in order: (1, classes,
    /// rows, Y, Z), with the values that they have in the whole; probabilities but for the last
    /// bits. Errors are those of `take`.
    pub fn each_rows<E>(
        &self,
        image: &Tensor,
        held: ScoreRows,
        told: &dyn Fn(u64, u64),
        take: impl FnMut(Tensor) -> Result<(), E>,
    ) -> Result<(), E> {
        let kept =
            if self.scores_are_logits() { ScoreForm::Logits } else { ScoreForm::Probabilities };
        self.each_rows_of(image, held, kept, told, take)
    }

    /// Maps (X, Y, Z), Uint8, on the image's device, that `decide` makes of what the networks say of
    /// some rows.
    pub fn decided(
        &self,
        image: &Tensor,
        held: ScoreRows,
        mut decide: impl FnMut(&ScoredRows) -> Tensor,
    ) -> Tensor {
        // Softmax keeps the order of the logits: one pass needs no probabilities.
        let kept = match self.scores_are_logits() || !self.by_sigmoid && self.passes().len() == 1 {
            true => ScoreForm::Logits,
            false => ScoreForm::Probabilities,
        };
        let mut maps = vec![];
        let Ok(()) = self.each_rows_of(image, held, kept, &nobody, |values| {
            let are_logits = kept == ScoreForm::Logits;
            maps.push(decide(&ScoredRows { values, are_logits }));
            Ok::<(), Infallible>(())
        });
        Tensor::cat(&maps, 0)
    }

    /// Class indices (X, Y, Z), Uint8, on the image's device: the class of the largest probability,
    /// the first of equals.
    pub fn classes(&self, image: &Tensor) -> Tensor {
        self.decided(image, ScoreRows::All, ScoredRows::classes)
    }

    fn each_rows_of<E>(
        &self,
        image: &Tensor,
        held: ScoreRows,
        kept: ScoreForm,
        told: &dyn Fn(u64, u64),
        mut take: impl FnMut(Tensor) -> Result<(), E>,
    ) -> Result<(), E> {
        no_grad(|| {
            let count = &self.count(image, told);
            let passes = self.passes();
            let mut open: Vec<Option<BlendedRows>> = passes.iter().map(|_| None).collect();
            let (mut done, all) = (0, image.size()[2]);
            let row = image.size()[3] * image.size()[4];
            while done < all {
                let parts = open.iter_mut().zip(&passes).map(|(open, pass)| {
                    let blended =
                        open.get_or_insert_with(|| self.blended(pass, image, held, count));
                    let rows = blended.next_rows();
                    // Whole volumes of several passes are not in memory at once.
                    if blended.is_over() {
                        *open = None;
                    }
                    let share = 1.0 / passes.len() as f64;
                    match kept {
                        ScoreForm::Logits => flip(&rows, &pass.axes),
                        ScoreForm::Probabilities => {
                            let place = VoxelRange { first: done * row, all: all * row };
                            let logits = flip(&rows, &pass.axes).to_kind(Kind::Float);
                            self.probabilities(&logits, place).g_mul_scalar_(share)
                        }
                    }
                });
                let rows = kept.average(parts);
                done += rows.size()[2];
                take(rows)?;
            }
            Ok(())
        })
    }

    /// Of logits (1, outputs, X, Y, Z).
    fn probabilities(&self, logits: &Tensor, place: VoxelRange) -> Tensor {
        let size = logits.size();
        let count = size[2..].iter().product::<i64>();
        if count == place.all {
            return if self.by_sigmoid { logits.sigmoid() } else { logits.softmax(1, Kind::Float) };
        }
        let logits = logits.reshape([1, size[1], count]);
        let found = match self.by_sigmoid {
            false => place.computed(&logits, |all| all.softmax(1, Kind::Float)),
            true => {
                let each = (0..size[1]).map(|output| {
                    let first = output * place.all + place.first;
                    let place = VoxelRange { first, all: size[1] * place.all };
                    place.computed(&logits.narrow(1, output, 1), Tensor::sigmoid)
                });
                Tensor::cat(&each.collect::<Vec<_>>(), 1)
            }
        };
        found.reshape(size)
    }

    /// Every network, with the axes of every flip if whole volumes are flipped.
    fn passes(&self) -> Vec<NetworkPass<'_>> {
        let flips = if self.scores_are_logits() { vec![vec![]] } else { self.flips() };
        let networks = self.networks.iter();
        let each =
            networks.flat_map(|network| flips.iter().map(move |axes| (network, axes.clone())));
        each.map(|(network, axes)| NetworkPass { network, axes }).collect()
    }

    /// The axes of every flip in (N, C, X, Y, Z).
    fn flips(&self) -> Vec<Vec<i64>> {
        let sets = self.inference.flips.sets().into_iter();
        sets.map(|axes| axes.into_iter().map(|axis| axis as i64 + 2).collect()).collect()
    }

    /// Blended logits of a pass.
    fn blended<'a>(
        &'a self,
        pass: &NetworkPass<'a>,
        image: &Tensor,
        held: ScoreRows,
        count: &'a WindowCount,
    ) -> BlendedRows<'a> {
        let image = flip(image, &pass.axes);
        let (network, options) = (pass.network, (image.kind(), image.device()));
        let flips = if self.scores_are_logits() { self.flips() } else { vec![vec![]] };
        let predict = move |windows: &Tensor| {
            let windows = windows.to_device(self.device);
            let logits = self.logits(network, &windows, &flips, (options.0, held));
            count.add(windows.size()[0] * flips.len() as i64);
            logits.to_device(options.1)
        };
        BlendedRows::new(&image, self.roi, &self.inference, held, Box::new(predict))
    }

    /// Logits of windows: the mean over their flips.
    fn logits(
        &self,
        network: &InferenceNetwork<'_>,
        windows: &Tensor,
        flips: &[Vec<i64>],
        (kind, held): (Kind, ScoreRows),
    ) -> Tensor {
        let mut sum: Option<Tensor> = None;
        for axes in flips {
            let logits = network.logits(&flip(windows, axes));
            match &mut sum {
                Some(sum) if held == ScoreRows::All => *sum += flip(&logits, axes).to_kind(kind),
                Some(sum) => add_flipped(sum, &logits, axes),
                None => sum = Some(flip(&logits, axes).to_kind(kind)),
            }
        }
        let mut sum = sum.unwrap_or_default();
        if flips.len() > 1 { sum.g_div_scalar_(flips.len() as f64) } else { sum }
    }

    fn count<'a>(&self, image: &Tensor, told: &'a dyn Fn(u64, u64)) -> WindowCount<'a> {
        let size = [0, 1, 2].map(|axis| (image.size()[axis + 2] as usize).max(self.roi[axis]));
        let (overlap, placement) = (self.inference.overlap, self.inference.placement);
        let windows = window_starts(size, self.roi, overlap, placement).len();
        let total = (windows * self.networks.len() * self.flips().len()) as u64;
        WindowCount { done: Cell::new(0), total, told }
    }
}

fn is_by_rows(memory: &ScoreMemory) -> bool {
    match std::env::var(SCORES).as_deref() {
        Ok("rows") => memory.can_be_by_rows(),
        Ok("whole") => false,
        _ => memory.is_by_rows(),
    }
}

/// Scores of some rows of an image.
pub struct ScoredRows {
    /// (1, classes or regions, rows, Y, Z), fp32, on the image's device.
    pub values: Tensor,
    /// Logits, where these are averaged or one network of classes passes over the image once; else
    /// probabilities.
    pub are_logits: bool,
}

impl ScoredRows {
    /// Class indices (rows, Y, Z), Uint8: the class of the largest value, the first of equals.
    pub fn classes(&self) -> Tensor {
        largest(&self.values.squeeze_dim(0))
    }
}

/// Windows done, of all networks and flips.
struct WindowCount<'a> {
    done: Cell<u64>,
    total: u64,
    told: &'a dyn Fn(u64, u64),
}

impl WindowCount<'_> {
    fn add(&self, windows: i64) {
        self.done.set(self.done.get() + windows as u64);
        (self.told)(self.done.get(), self.total);
    }
}

/// For callers that show no progress.
fn nobody(_: u64, _: u64) {}

/// A network with the axes along which the volume is flipped.
struct NetworkPass<'a> {
    network: &'a InferenceNetwork<'a>,
    axes: Vec<i64>,
}

/// What is averaged over passes.
#[derive(Clone, Copy, PartialEq)]
enum ScoreForm {
    Logits,
    Probabilities,
}

impl ScoreForm {
    /// The average of the passes' parts, or the sum of their shares.
    fn average(self, parts: impl ExactSizeIterator<Item = Tensor>) -> Tensor {
        let count = parts.len();
        let mut sum = parts.reduce(|mut sum, part| sum.g_add_(&part)).unwrap_or_default();
        match self {
            ScoreForm::Logits if count > 1 => sum.g_div_scalar_(count as f64),
            _ => sum,
        }
    }
}

/// The index of the largest score, the first of equals: (X, Y, Z), Uint8, of (classes, X, Y, Z).
pub fn largest(scores: &Tensor) -> Tensor {
    scores.argmax(0, false).to_kind(Kind::Uint8)
}

/// A flipped copy, or the tensor itself without axes.
fn flip(tensor: &Tensor, axes: &[i64]) -> Tensor {
    if axes.is_empty() { tensor.shallow_clone() } else { tensor.flip(axes) }
}

/// The place of some numbers among those of a whole volume.
#[derive(Clone, Copy)]
struct VoxelRange {
    first: i64,
    all: i64,
}

impl VoxelRange {
    /// `compute` of numbers (1, N, count), with the results that they have within the whole.
    /// libtorch computes what is left behind the last whole vector of processor registers in
    /// another way: each number is brought to its place in a vector.
    fn computed(self, numbers: &Tensor, compute: impl Fn(&Tensor) -> Tensor) -> Tensor {
        // A multiple of every vector's length.
        const VECTOR: i64 = 64;
        let count = numbers.size()[2];
        let before = self.first % VECTOR;
        let is_last = self.first + count == self.all;
        let after = if is_last { 0 } else { (VECTOR - (before + count) % VECTOR) % VECTOR };
        compute(&numbers.constant_pad_nd([before, after])).narrow(2, before, count)
    }
}

/// Adds logits of flipped windows to a sum, a plane of x at a time: a flipped copy of them all
/// would be as large as the sum.
fn add_flipped(sum: &mut Tensor, logits: &Tensor, axes: &[i64]) {
    let within: Vec<i64> = axes.iter().copied().filter(|axis| *axis != 2).collect();
    let rows = sum.size()[2];
    for row in 0..rows {
        let from = if within.len() < axes.len() { rows - 1 - row } else { row };
        let plane = flip(&logits.narrow(2, from, 1), &within).to_kind(sum.kind());
        let _ = sum.narrow(2, row, 1).g_add_(&plane);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_counted_as_they_are_done() {
        let last = Cell::new((0, 0));
        let told = |done: u64, total: u64| last.set((done, total));
        let count = WindowCount { done: Cell::new(0), total: 6, told: &told };
        count.add(4);
        assert_eq!(last.get(), (4, 6));
        count.add(2);
        assert_eq!(last.get(), (6, 6));
    }
}
