//! A batch of patches with their labels, or a rank's share of the batch.

use crate::batch_share::BatchShare;
use crate::device_memory::pinned;
use crate::network::channels_last;
use tch::{Device, Kind, Tensor};

/// One batch, or a share of it.
pub struct Batch {
    /// Images (N, C, X, Y, Z), fp32.
    pub(crate) image: Tensor,
    /// Classes (N, 1, X, Y, Z), Uint8.
    pub(crate) label: Tensor,
    /// The patches among those of the whole batch.
    pub share: BatchShare,
    /// Names of the cases of the whole batch.
    pub cases: Vec<String>,
}

impl Batch {
    /// An all-zero share of the batch of `cases`, with channels and sides of a patch.
    pub(crate) fn zeros(
        cases: Vec<String>,
        share: BatchShare,
        channels: usize,
        [x, y, z]: [usize; 3],
        device: Device,
    ) -> Batch {
        let [image, label] = [(channels, Kind::Float), (1, Kind::Uint8)].map(|(channels, kind)| {
            Tensor::zeros(
                [share.patches, channels, x, y, z].map(|side| side as i64),
                (kind, device),
            )
        });
        Batch { image, label, share, cases }
    }

    /// The batch in pinned memory, from where copies to `device` run asynchronously.
    pub(crate) fn pin(self, device: Device) -> Batch {
        Batch { image: pinned(self.image, device), label: pinned(self.label, device), ..self }
    }

    /// Images (N, C, X, Y, Z), and labels (N, 1, X, Y, Z) of kind Int64, on a device. Images are
    /// laid out with channels last, as tensor cores read them in 16 bits; for fp32 on a GPU the
    /// effect has not been measured.
    pub fn tensors(&self, device: Device) -> (Tensor, Tensor) {
        let [image, label] = [&self.image, &self.label]
            .map(|tensor| tensor.to_device_(device, tensor.kind(), true, false));
        (channels_last(&image), label.to_kind(Kind::Int64))
    }

    /// The memory of each patch: its image and its label.
    pub(crate) fn memory(&mut self) -> impl Iterator<Item = (&mut [f32], &mut [u8])> {
        // SAFETY: `zeros` made both tensors, contiguous, of these kinds and on the processor, and
        // nothing else shares them; the slices borrow the batch.
        let (image, label) = unsafe {
            let (image, label) =
                (self.image.data_ptr().cast::<f32>(), self.label.data_ptr().cast::<u8>());
            let lengths = (self.image.numel(), self.label.numel());
            (
                std::slice::from_raw_parts_mut(image, lengths.0),
                std::slice::from_raw_parts_mut(label, lengths.1),
            )
        };
        let patches = self.share.patches;
        let each = (image.len() / patches, label.len() / patches);
        image.chunks_exact_mut(each.0).zip(label.chunks_exact_mut(each.1))
    }
}
