//! Graphics cards and MIG instances.

/// A card or MIG instance usable by CUDA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Identifier for `CUDA_VISIBLE_DEVICES`: a UUID, or a number as given.
    pub id: String,
    /// Model name; empty if unknown.
    pub name: String,
    /// Memory in bytes; 0 if unknown.
    pub memory: u64,
}

/// A physical card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Card {
    pub(super) whole: Gpu,
    /// MIG instances; such a card is unusable as a whole.
    pub(super) instances: Option<Vec<Gpu>>,
}

impl Card {
    /// Devices usable by CUDA.
    pub(super) fn into_usable(self) -> Vec<Gpu> {
        self.instances.unwrap_or_else(|| vec![self.whole])
    }
}
