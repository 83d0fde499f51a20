//! `model.pt`: what `torch.save(model.state_dict())` writes.

use super::archive::{Archive, storage};
use crate::error::Result;
use crate::model::pickle::Writer;
use crate::model::weights::Named;

/// The archive for a network's weights.
pub fn archive(tensors: &Named) -> Result<Vec<u8>> {
    let mut pickle = Writer::default();
    pickle.global("collections", "OrderedDict").op(b')').op(b'R').op(b'(');
    for (index, (spec, _)) in tensors.iter().enumerate() {
        pickle.text(&spec.name).tensor(
            storage(spec.is_counter()),
            &index.to_string(),
            &spec.shape,
            false,
        );
    }
    pickle.op(b'u');
    Archive::new(&pickle.finish())?.finish(tensors)
}
