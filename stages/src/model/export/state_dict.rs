//! `model.pt`: what `torch.save(model.state_dict())` writes.

use super::archive::{ArchiveWriter, storage};
use crate::error::Result;
use crate::model::pickle::PickleWriter;
use crate::model::weights::StateDict;

/// The archive for a network's weights.
pub fn archive(tensors: &StateDict) -> Result<Vec<u8>> {
    let mut pickle = PickleWriter::default();
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
    ArchiveWriter::new(&pickle.finish())?.finish(tensors)
}
