//! `model.pt`, as written by `torch.save(model.state_dict())`. Names for the same tensor share its
//! numbers.

use super::archive::{ArchiveWriter, storage};
use crate::error::Result;
use crate::model::pickle::PickleWriter;
use crate::model::weights::StateDict;

/// The archive for a network's weights.
pub fn archive(tensors: &StateDict) -> Result<Vec<u8>> {
    let mut pickle = PickleWriter::default();
    pickle.global("collections", "OrderedDict").op(b')').op(b'R').op(b'(');
    for (index, (spec, _)) in tensors.iter().enumerate() {
        for name in std::iter::once(&spec.name).chain(&spec.twins) {
            let index = index.to_string();
            pickle.text(name).tensor(storage(spec.is_counter()), &index, &spec.shape, false);
        }
    }
    pickle.op(b'u');
    ArchiveWriter::new(&pickle.finish())?.finish(tensors)
}
