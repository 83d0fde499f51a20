//! A card as a stage may use it.

/// A card, or an instance of one (MIG).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Its name for `CUDA_VISIBLE_DEVICES`: a UUID, or a number as it was given.
    pub id: String,
    /// The name of its model; empty where the driver does not say.
    pub name: String,
    /// Memory in bytes; 0 where the driver does not say.
    pub memory: u64,
}

/// A card with its instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Card {
    pub(super) whole: Gpu,
    /// Instances of a card in MIG mode; such a card cannot be used as a whole.
    pub(super) instances: Option<Vec<Gpu>>,
}

impl Card {
    /// The devices that CUDA can use.
    pub(super) fn into_usable(self) -> Vec<Gpu> {
        self.instances.unwrap_or_else(|| vec![self.whole])
    }
}
