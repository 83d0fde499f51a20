//! Memory of sliding-window inference for its scores: those of all classes for a whole volume, or
//! for a few rows. A row is a plane of the slowest axis, x: windows come in the order of their
//! first rows, and a row is final after its last window.

use super::{Average, Inference};

/// Bytes of a number.
const NUMBER: u64 = 4;

/// Scores of so many bytes are kept whole: on a graphics card, one image's way back to its own grid
/// then goes on beside the next image's windows.
const WHOLE: u64 = 1 << 30;

/// Bytes of final rows that are handed on together, at least one row.
const PIECE: u64 = 192 << 20;

/// Pieces in memory at a time: final rows, their probabilities or the copy that is decided, and
/// rows of the one before.
const PIECES: u64 = 3;

/// Bytes of the logits of a batch of windows, at least one. Fewer windows than `inference.batch` give
/// the numbers of that smaller batch, whose last bits differ.
const LOGITS: u64 = 1 << 30;

/// Logits of one batch at a time: their mean over flips, and those of a flip.
const BATCHES: u64 = 2;

/// The sizes that decide how scores are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreMemory {
    /// X, Y, Z of the volume.
    shape: [u64; 3],
    roi: [u64; 3],
    outputs: u64,
    /// Volumes of scores that are averaged.
    averaged: u64,
    /// Of probabilities.
    by_volume: bool,
    /// One of them is mirrored along x: its first final row is the last of the others'.
    is_mirrored: bool,
    batch: u64,
}

impl ScoreMemory {
    /// For a prepared volume, a window, a network's number of outputs, and a number of networks.
    pub fn new(
        inference: &Inference,
        shape: [usize; 3],
        roi: [usize; 3],
        outputs: usize,
        networks: usize,
    ) -> ScoreMemory {
        let by_volume = inference.average == Average::Probabilities;
        let flips = if by_volume { inference.flips.sets().len() } else { 1 };
        ScoreMemory {
            shape: shape.map(|side| side as u64),
            roi: roi.map(|side| side as u64),
            outputs: outputs as u64,
            averaged: (networks * flips) as u64,
            by_volume,
            is_mirrored: by_volume && inference.flips.axes().contains(&0),
            batch: inference.batch as u64,
        }
    }

    /// Scores are decided a few rows at a time: kept whole they would take more, and more than
    /// is worth it.
    pub fn is_by_rows(&self) -> bool {
        let scores = self.shape[0] * self.row();
        scores > WHOLE && self.can_be_by_rows() && self.by_rows() < self.least_whole()
    }

    /// False where volumes mirrored along x are averaged.
    pub fn can_be_by_rows(&self) -> bool {
        !self.is_mirrored
    }

    /// Bytes in one way or the other.
    pub fn bytes(&self, by_rows: bool) -> u64 {
        if by_rows { self.by_rows() } else { self.whole() }
    }

    /// Rows that are handed on together.
    pub fn piece_rows(&self) -> usize {
        (PIECE / self.row().max(1)).max(1) as usize
    }

    /// Windows that go through a network together, where scores are decided by rows.
    pub fn windows(&self) -> usize {
        (LOGITS / self.window().max(1)).clamp(1, self.batch.max(1)) as usize
    }

    /// Room for scores that are kept whole, on any path.
    fn whole(&self) -> u64 {
        self.voxels() * NUMBER * (3 * self.outputs + 2)
    }

    /// Their least memory: a sum and the added scores; for probabilities also their logits. With
    /// the counts of windows.
    fn least_whole(&self) -> u64 {
        let volumes = match (self.by_volume, self.averaged) {
            (true, _) => 3,
            (false, 1) => 1,
            (false, _) => 2,
        };
        self.voxels() * NUMBER * (volumes * self.outputs + 1)
    }

    fn voxels(&self) -> u64 {
        self.shape.iter().product()
    }

    /// By rows: for each volume that is averaged sums and counts of as many rows as the window has,
    /// and the logits of its last windows; beside these some pieces.
    fn by_rows(&self) -> u64 {
        let sums = self.roi[0] * (self.row() + self.row() / self.outputs.max(1));
        let logits = self.windows() as u64 * self.window();
        let pieces = PIECES * PIECE.max(self.row());
        self.averaged * (sums + logits) + (BATCHES - 1) * logits + pieces
    }

    /// Bytes of a row of scores, padded to the window.
    fn row(&self) -> u64 {
        let [y, z] = [1, 2].map(|axis| self.shape[axis].max(self.roi[axis]));
        y * z * self.outputs * NUMBER
    }

    /// Bytes of a window's logits.
    fn window(&self) -> u64 {
        self.roi.iter().product::<u64>() * self.outputs * NUMBER
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Flips, Placement};

    const ROI: [usize; 3] = [128; 3];

    fn nnunet() -> Inference {
        let placement = Placement::Even;
        Inference {
            average: Average::Logits,
            placement,
            flips: Flips::All(true),
            ..Inference::default()
        }
    }

    fn memory(shape: [usize; 3], outputs: usize, networks: usize) -> ScoreMemory {
        ScoreMemory::new(&nnunet(), shape, ROI, outputs, networks)
    }

    #[test]
    fn many_classes_of_a_ct_take_memory_by_the_window_and_not_by_the_length_of_the_image() {
        let ct = |x: usize| memory([x, 256, 400], 104, 1);
        assert!(ct(256).is_by_rows());
        assert_eq!(ct(256).bytes(true), ct(2560).bytes(true));
        assert!(ct(256).bytes(true) < 8_000_000_000, "{}", ct(256).bytes(true));
        assert_eq!((ct(256).windows(), ct(256).piece_rows()), (1, 4));
        let few = memory([160, 160, 160], 3, 1);
        assert!(!few.is_by_rows() && few.windows() == 4);
    }

    #[test]
    fn networks_are_averaged_by_rows_while_that_takes_less_than_whole_volumes() {
        assert!(memory([512, 256, 400], 104, 4).is_by_rows());
        assert!(!memory([256, 256, 400], 104, 12).is_by_rows());
        let mirrored = Inference { average: Average::Probabilities, ..nnunet() };
        let along =
            |axes: &[usize]| Inference { flips: Flips::Axes(axes.into()), ..mirrored.clone() };
        let by_rows = |inference: &Inference| {
            ScoreMemory::new(inference, [512, 256, 400], ROI, 104, 1).is_by_rows()
        };
        assert!(by_rows(&along(&[1, 2])) && !by_rows(&along(&[0])));
    }
}
