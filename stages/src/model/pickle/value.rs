//! A pickle's content as plain data. Compound values are nodes in an arena.

use super::{Dtype, Global};
use crate::error::{Error, Result};

/// A value; text and bytes are parts of the pickle itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PickleValue<'a> {
    /// `None`.
    None,
    /// A truth value.
    Bool(bool),
    /// A whole number of at most 64 bits.
    Int(i64),
    /// A longer one, as little-endian bytes.
    Long(&'a [u8]),
    /// A real number.
    Float(f64),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// An allowed global name.
    Global(Global),
    /// The place of a node in the arena.
    Node(usize),
}

/// A value that holds others.
#[derive(Clone, Debug, PartialEq)]
pub enum PickleNode<'a> {
    /// A tuple.
    Tuple(Vec<PickleValue<'a>>),
    /// A list or set.
    List(Vec<PickleValue<'a>>),
    /// A dictionary, in its order.
    Dict(Vec<(PickleValue<'a>, PickleValue<'a>)>),
    /// A module of TorchScript, by its attributes.
    Module(PickleValue<'a>),
    /// NumPy's number type by its code, as "f4".
    NumpyDtype(&'a str),
    /// Numbers that lie elsewhere in the file.
    Storage(Storage<'a>),
    /// A tensor.
    Tensor(View),
}

/// Numbers in a row that lie elsewhere in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage<'a> {
    /// Its name in the file.
    pub key: &'a str,
    /// The number type; `None` for plain bytes.
    pub dtype: Option<Dtype>,
    /// Number of elements.
    pub count: usize,
}

/// A tensor as a strided view of a storage. All its numbers lie inside the storage, which has at
/// least as many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The storage's name.
    pub storage: String,
    /// Required size of the storage in bytes.
    pub bytes: usize,
    /// The number type.
    pub dtype: Dtype,
    /// The first one.
    pub offset: usize,
    /// Sides.
    pub shape: Vec<usize>,
    /// Numbers from one to the next along each side.
    pub strides: Vec<usize>,
}

impl View {
    /// More axes than any layer's weights have.
    const MOST_AXES: usize = 8;

    /// A checked view. Errors unless its numbers lie inside the storage.
    pub fn new(
        storage: Storage<'_>,
        dtype: Dtype,
        offset: usize,
        shape: Vec<usize>,
        strides: Vec<usize>,
    ) -> Result<View> {
        let key = storage.key;
        let refuse = |what: &str| Error::failed(format!("a tensor of storage '{key}': {what}"));
        if shape.len() != strides.len() || shape.len() > Self::MOST_AXES {
            return Err(refuse(&format!("{} sides with {} strides", shape.len(), strides.len())));
        }
        let bytes = storage.count.checked_mul(storage.dtype.map_or(1, Dtype::bytes));
        let bytes = bytes.ok_or_else(|| refuse("its size overflows"))?;
        let has = bytes / dtype.bytes();
        let count = shape.iter().try_fold(1usize, |count, side| count.checked_mul(*side));
        let count = count.ok_or_else(|| refuse("the product of its sides overflows"))?;
        let last = if count == 0 { Some(0) } else { last(offset, &shape, &strides) };
        match last {
            Some(last) if count <= has && (count == 0 || last < has) => {
                Ok(View { storage: key.to_string(), bytes, dtype, offset, shape, strides })
            }
            _ => Err(refuse(&format!(
                "sides {shape:?} with strides {strides:?} from {offset} leave its {has} numbers"
            ))),
        }
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The place of the last number.
fn last(offset: usize, shape: &[usize], strides: &[usize]) -> Option<usize> {
    let steps = shape.iter().zip(strides).map(|(side, stride)| (side - 1).checked_mul(*stride));
    steps.into_iter().try_fold(offset, |at, step| at.checked_add(step?))
}

/// A pickle's content.
#[derive(Debug)]
pub struct Pickle<'a> {
    /// The root value.
    pub root: PickleValue<'a>,
    /// The arena that values refer to.
    pub nodes: Vec<PickleNode<'a>>,
    /// Size in bytes.
    pub length: usize,
}

impl<'a> Pickle<'a> {
    /// The node, if the value is a node.
    pub fn node(&self, value: PickleValue<'a>) -> Option<&PickleNode<'a>> {
        match value {
            PickleValue::Node(place) => self.nodes.get(place),
            _ => None,
        }
    }

    /// A dictionary's entries, or a module's attributes.
    pub fn entries(&self, value: PickleValue<'a>) -> Option<&[(PickleValue<'a>, PickleValue<'a>)]> {
        match self.node(value)? {
            PickleNode::Dict(entries) => Some(entries),
            PickleNode::Module(state) => match self.node(*state)? {
                PickleNode::Dict(entries) => Some(entries),
                _ => None,
            },
            _ => None,
        }
    }

    /// A dictionary's value under a key; the last value if the key occurs twice.
    pub fn get(&self, value: PickleValue<'a>, key: &str) -> Option<PickleValue<'a>> {
        let found =
            self.entries(value)?.iter().rev().find(|(name, _)| *name == PickleValue::Text(key));
        found.map(|(_, value)| *value)
    }

    /// The tensor, if the value is a tensor.
    pub fn tensor(&self, value: PickleValue<'a>) -> Option<&View> {
        match self.node(value)? {
            PickleNode::Tensor(view) => Some(view),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_that_leaves_its_storage_or_repeats_it_without_end_is_refused() {
        let storage = Storage { key: "0", dtype: Some(Dtype::F32), count: 12 };
        let view = |offset, shape: &[usize], strides: &[usize]| {
            View::new(storage, Dtype::F32, offset, shape.to_vec(), strides.to_vec())
        };
        assert_eq!(view(0, &[3, 4], &[4, 1]).unwrap().count(), 12);
        assert!(view(12, &[0, 4], &[4, 1]).is_ok());
        for (offset, shape, strides) in [
            (1, vec![3, 4], vec![4, 1]),
            (0, vec![1 << 40], vec![0]),
            (0, vec![usize::MAX, 2], vec![0, 0]),
            (usize::MAX, vec![2], vec![1]),
            (0, vec![2], vec![usize::MAX]),
            (0, vec![2, 2], vec![1]),
        ] {
            assert!(view(offset, &shape, &strides).is_err(), "{shape:?}");
        }
    }
}
