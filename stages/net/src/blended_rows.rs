//! Results of windows, blended where they overlap, a few rows at a time. A row is a plane of the
//! slowest axis, x. Windows come in the order of their first rows, so a row that no later window
//! touches is final: sums are held for as many rows as the window has, in a ring, or for all rows.
//! Each voxel's sum has the same order either way.

use crate::window_weights::window_weights;
use std::ops::Range;
use tch::Tensor;
use voxflow_stages::model::{Inference, Placement};

/// The rows whose sums are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoreRows {
    /// All.
    All,
    /// Those of a window.
    Window {
        /// Final rows that are handed on together.
        piece: usize,
        /// Windows that go through a network together.
        windows: usize,
    },
}

/// A function of windows (N, C, X, Y, Z), with its result on the image's device and in no other
/// hands.
pub type WindowPredictor<'a> = Box<dyn Fn(&Tensor) -> Tensor + 'a>;

/// Blended results, as far as the windows were predicted.
pub struct BlendedRows<'a> {
    predict: WindowPredictor<'a>,
    held: ScoreRows,
    /// (1, C, X, Y, Z), padded to the window.
    image: Tensor,
    roi: [usize; 3],
    /// The image's part of the padded one.
    before: [usize; 3],
    size: [usize; 3],
    starts: Vec<[usize; 3]>,
    batch: usize,
    /// `None` for a single window, whose weights would cancel out.
    weight: Option<Tensor>,
    sums: Option<Sums>,
    /// The results of the next window's batch.
    results: Tensor,
    next_window: usize,
    /// The first row whose sums are held.
    first_held: usize,
    /// Rows before it were handed on.
    given: usize,
    /// Rows before it are final.
    finished: usize,
}

/// Sums of results and weights: (1, C, rows, Y, Z), row x at x mod rows.
struct Sums {
    results: Tensor,
    weights: Tensor,
}

impl<'a> BlendedRows<'a> {
    /// For `image` (1, C, X, Y, Z). Smaller images are padded with 0 on both sides, and the result
    /// is cut back.
    pub fn new(
        image: &Tensor,
        roi: [usize; 3],
        inference: &Inference,
        held: ScoreRows,
        predict: WindowPredictor<'a>,
    ) -> BlendedRows<'a> {
        let size: [usize; 3] = [2, 3, 4].map(|axis| image.size()[axis] as usize);
        let before = [0, 1, 2].map(|axis| roi[axis].saturating_sub(size[axis]) / 2);
        let padded = [0, 1, 2].map(|axis| size[axis].max(roi[axis]));
        let starts = window_starts(padded, roi, inference.overlap, inference.placement);
        let options = (image.kind(), image.device());
        let batch = match held {
            ScoreRows::All => inference.batch,
            ScoreRows::Window { windows, .. } => windows,
        };
        BlendedRows {
            predict,
            held,
            image: pad(image, size, before, padded),
            roi,
            before,
            size,
            weight: (starts.len() > 1).then(|| window_weights(roi, inference.blend, options)),
            starts,
            batch: batch.max(1),
            sums: None,
            results: Tensor::new(),
            next_window: 0,
            first_held: 0,
            given: before[0],
            finished: 0,
        }
    }

    /// True after the last rows.
    pub fn is_over(&self) -> bool {
        self.given == self.before[0] + self.size[0]
    }

    /// The next rows, (1, C, rows, Y, Z): all, or a copy of a few. Call it until it is over.
    pub fn next_rows(&mut self) -> Tensor {
        while self.finished <= self.given && self.next_window < self.starts.len() {
            self.add_windows();
        }
        let Some(sums) = &self.sums else { return Tensor::new() };
        let depth = sums.depth();
        let (first, end) = (self.given, self.finished.min(self.before[0] + self.size[0]));
        let most = match self.held {
            ScoreRows::All => depth,
            ScoreRows::Window { piece, .. } => piece.max(1),
        };
        // The ring is not passed at its end.
        let rows = (end - first).min(most).min(depth - first % depth);
        self.given += rows;
        let mut found = narrow_axis(&sums.results, 2, first % depth, rows);
        if self.weight.is_some() {
            let _ = found.g_div_(&narrow_axis(&sums.weights, 2, first % depth, rows));
        }
        let found = [1, 2].into_iter().fold(found, |found, axis| {
            narrow_axis(&found, axis as i64 + 2, self.before[axis], self.size[axis])
        });
        if self.held == ScoreRows::All { found } else { channels_first(&found) }
    }

    /// Adds all windows that begin with the same row, or all there are.
    fn add_windows(&mut self) {
        let Some(&[row, ..]) = self.starts.get(self.next_window) else { return };
        if let Some(sums) = &self.sums {
            sums.clear(self.first_held..row);
        }
        self.first_held = row;
        while let Some(&start) = self.starts.get(self.next_window) {
            if self.held != ScoreRows::All && start[0] != row {
                break;
            }
            self.add_window(start);
            self.next_window += 1;
        }
        let next = self.starts.get(self.next_window);
        self.finished = next.map_or(self.image.size()[2] as usize, |start| start[0]);
    }

    fn add_window(&mut self, start: [usize; 3]) {
        let place = self.next_window % self.batch;
        if place == 0 {
            self.predict_batch();
        }
        let result = self.results.narrow(0, place as i64, 1);
        let Some(weight) = &self.weight else {
            let weights = Tensor::new();
            self.sums = Some(Sums { results: result, weights });
            return;
        };
        let (held, padded) = (self.held, self.image.size());
        let sums = self.sums.get_or_insert_with(|| Sums::new(&result, held, &padded, self.roi[0]));
        sums.add(&result, weight, start, self.roi);
        if place + 1 == self.batch || self.next_window + 1 == self.starts.len() {
            self.results = Tensor::new();
        }
    }

    fn predict_batch(&mut self) {
        let group = self.starts[self.next_window..].iter().take(self.batch);
        let windows = group.map(|start| narrow(&self.image, *start, self.roi));
        let windows: Vec<Tensor> = windows.collect();
        self.results = (self.predict)(&Tensor::cat(&windows, 0));
        if let Some(weight) = &self.weight {
            let _ = self.results.g_mul_(weight);
        }
    }
}

impl Sums {
    /// Zeros for all rows of a padded image, or for those of a window.
    fn new(result: &Tensor, held: ScoreRows, padded: &[i64], window: usize) -> Sums {
        let (channels, y, z) = (result.size()[1], padded[3], padded[4]);
        let options = (result.kind(), result.device());
        let depth = if held == ScoreRows::All { padded[2] } else { window as i64 };
        // Results with the channels last are added faster to sums of their layout.
        let is_last = held != ScoreRows::All && has_channels_last(result);
        let results = match is_last {
            true => Tensor::zeros([1, depth, y, z, channels], options).permute([0, 4, 1, 2, 3]),
            false => Tensor::zeros([1, channels, depth, y, z], options),
        };
        Sums { results, weights: Tensor::zeros([1, 1, depth, y, z], options) }
    }

    fn depth(&self) -> usize {
        self.results.size()[2] as usize
    }

    fn add(&self, result: &Tensor, weight: &Tensor, start: [usize; 3], roi: [usize; 3]) {
        for (row, at, rows) in self.parts(start[0], roi[0]) {
            for (sums, values) in [(&self.results, result), (&self.weights, weight)] {
                let place = [at, start[1], start[2]];
                let mut sums = narrow(sums, place, [rows, roi[1], roi[2]]);
                let _ = sums.g_add_(&narrow_axis(values, 2, row - start[0], rows));
            }
        }
    }

    fn clear(&self, rows: Range<usize>) {
        for (_, at, rows) in self.parts(rows.start, rows.len()) {
            for sums in [&self.results, &self.weights] {
                let _ = narrow_axis(sums, 2, at, rows).zero_();
            }
        }
    }

    /// Some rows as one or two runs in the ring: the first row, its place, and their number.
    fn parts(&self, first: usize, rows: usize) -> Vec<(usize, usize, usize)> {
        let depth = self.depth();
        let before_end = rows.min(depth - first % depth);
        let parts = [(first, before_end), (first + before_end, rows - before_end)];
        let parts = parts.into_iter().filter(|(_, rows)| *rows > 0);
        parts.map(|(row, rows)| (row, row % depth, rows)).collect()
    }
}

/// Slides a window over `image` (1, C, X, Y, Z) and blends the results of `predict`, a
/// [`WindowPredictor`], for batches of windows.
pub fn slide(
    image: &Tensor,
    roi: [usize; 3],
    inference: &Inference,
    predict: impl Fn(&Tensor) -> Tensor,
) -> Tensor {
    BlendedRows::new(image, roi, inference, ScoreRows::All, Box::new(predict)).next_rows()
}

/// True if values of one voxel lie together.
fn has_channels_last(tensor: &Tensor) -> bool {
    tensor.size()[1] > 1 && tensor.stride()[1] == 1
}

/// A contiguous copy.
fn channels_first(rows: &Tensor) -> Tensor {
    let out = Tensor::empty(rows.size(), (rows.kind(), rows.device()));
    let lines = if has_channels_last(rows) { rows.size()[3] } else { 1 };
    // Line by line, what is read again for each channel stays in the processor's cache.
    let length = rows.size()[3] / lines;
    for line in 0..lines {
        let start = line * length;
        out.narrow(3, start, length).copy_(&rows.narrow(3, start, length));
    }
    out
}

fn narrow_axis(tensor: &Tensor, axis: i64, start: usize, length: usize) -> Tensor {
    tensor.narrow(axis, start as i64, length as i64)
}

fn narrow(tensor: &Tensor, start: [usize; 3], size: [usize; 3]) -> Tensor {
    (0..3).fold(tensor.shallow_clone(), |tensor, axis| {
        tensor.narrow(axis as i64 + 2, start[axis] as i64, size[axis] as i64)
    })
}

fn pad(image: &Tensor, size: [usize; 3], before: [usize; 3], padded: [usize; 3]) -> Tensor {
    if padded == size {
        return image.shallow_clone();
    }
    // `constant_pad_nd` wants the last axis first, and for each axis the voxels before and after.
    let mut sides = vec![];
    for axis in [2, 1, 0] {
        let after = padded[axis] - size[axis] - before[axis];
        sides.extend([before[axis] as i64, after as i64]);
    }
    image.constant_pad_nd(sides)
}

/// The first voxels of all windows, x slowest.
pub fn window_starts(
    size: [usize; 3],
    roi: [usize; 3],
    overlap: f64,
    placement: Placement,
) -> Vec<[usize; 3]> {
    let along = match placement {
        Placement::Regular => axis_starts,
        Placement::Even => even_starts,
    };
    let [x, y, z] = [0, 1, 2].map(|axis| along(size[axis], roi[axis], overlap));
    let mut starts = vec![];
    for &x in &x {
        for &y in &y {
            starts.extend(z.iter().map(|&z| [x, y, z]));
        }
    }
    starts
}

/// Neighbours are ⌊roi·(1 − overlap)⌋ voxels apart; the last window is moved back to end with the
/// image.
fn axis_starts(size: usize, roi: usize, overlap: f64) -> Vec<usize> {
    let interval = if roi == size { roi } else { ((roi as f64 * (1.0 - overlap)) as usize).max(1) };
    let count = (size - roi).div_ceil(interval) + 1;
    (0..count).map(|index| (index * interval).min(size - roi)).collect()
}

/// As many windows as steps of at most roi·(1 − overlap) need, evenly spread, positions rounded
/// with halves to even.
fn even_starts(size: usize, roi: usize, overlap: f64) -> Vec<usize> {
    let room = (size - roi) as f64;
    let steps = (room / (roi as f64 * (1.0 - overlap))).ceil();
    (0..=steps as usize)
        .map(|index| match index {
            0 => 0,
            _ => (room / steps * index as f64).round_ties_even() as usize,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};
    use voxflow_stages::model::Blend;

    #[test]
    fn windows_cover_the_image_and_the_last_ends_with_it() {
        assert_eq!(
            window_starts([10, 4, 4], [4, 4, 4], 0.5, Placement::Regular),
            [[0, 0, 0], [2, 0, 0], [4, 0, 0], [6, 0, 0]]
        );
        assert_eq!(
            window_starts([9, 4, 4], [4, 4, 4], 0.25, Placement::Regular),
            [[0, 0, 0], [3, 0, 0], [5, 0, 0]]
        );
        assert_eq!(even_starts(110, 64, 0.5), [0, 23, 46]);
        assert_eq!(even_starts(64, 64, 0.5), [0]);
    }

    #[test]
    fn a_predictor_that_repeats_its_window_gives_the_image_back_whatever_its_size() {
        let image = Tensor::randn([1, 1, 7, 3, 12], (Kind::Float, Device::Cpu));
        for blend in [Blend::Constant, Blend::Gaussian, Blend::GaussianNnunet] {
            let placement =
                if blend == Blend::Gaussian { Placement::Even } else { Placement::Regular };
            let inference = Inference { blend, placement, ..Inference::default() };
            let found = slide(&image, [4, 4, 4], &inference, Tensor::shallow_clone);
            assert!((found - &image).abs().max().double_value(&[]) < 1e-6);
        }
    }
}
