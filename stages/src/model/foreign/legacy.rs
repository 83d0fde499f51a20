//! Torch's older files: four pickles (a magic number, a version, the machine, the content), a list
//! of storages, and then their bytes.

use crate::error::{Error, Result, Trouble};
use crate::model::pickle::reader::PickleReader;
use crate::model::pickle::{Dtype, Pickle, PickleNode, PickleValue, load};
use std::collections::BTreeMap;

/// 0x1950a86a20f9469cfc6c, with which every such file begins.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const VERSION: i64 = 1001;

/// A file's content and its storages' bytes.
pub fn open(bytes: &[u8]) -> Result<(Pickle<'_>, BTreeMap<String, &[u8]>)> {
    let mut rest = bytes;
    if next(&mut rest)?.root != PickleValue::Long(&MAGIC) {
        return Err(Error::failed("is a pickle, but none that torch.save wrote"));
    }
    let version = next(&mut rest)?.root;
    if version != PickleValue::Int(VERSION) {
        return Err(Error::failed(format!("its version is {version:?}, known is {VERSION}")));
    }
    let machine = next(&mut rest)?;
    if machine.get(machine.root, "little_endian") != Some(PickleValue::Bool(true)) {
        return Err(Error::failed("its numbers are big-endian; save it again on a usual machine"));
    }
    let content = next(&mut rest)?;
    let keys = next(&mut rest)?;
    let slices = slices(&content, &keys, rest)?;
    Ok((content, slices))
}

fn next<'a>(rest: &mut &'a [u8]) -> Result<Pickle<'a>> {
    let pickle = load(rest)?;
    *rest = &rest[pickle.length..];
    Ok(pickle)
}

/// Each storage's bytes, in the order of the key list.
fn slices<'a>(
    content: &Pickle,
    keys: &Pickle,
    rest: &'a [u8],
) -> Result<BTreeMap<String, &'a [u8]>> {
    let sizes = sizes(content)?;
    let Some(PickleNode::List(keys)) = keys.node(keys.root) else {
        return Err(Error::failed("the list of storages is no list"));
    };
    let mut reader = PickleReader::new(rest);
    let mut slices = BTreeMap::new();
    for key in keys {
        let PickleValue::Text(key) = *key else {
            return Err(Error::failed("the name of a storage is no text"));
        };
        let known = sizes
            .get(key)
            .ok_or_else(|| Error::failed(format!("storage '{key}' has no tensor")))?;
        let (dtype, count) = *known;
        let thing = format!("storage '{key}'");
        let found = reader.length::<8>().trouble(&thing)?;
        let bytes = count.checked_mul(dtype.bytes()).filter(|_| found == count);
        let bytes = bytes.ok_or_else(|| {
            Error::failed(format!("{thing} has {found} numbers, its tensors say {count}"))
        })?;
        slices.insert(key.to_string(), reader.take(bytes).trouble(&thing)?);
    }
    Ok(slices)
}

/// Each storage's number type and length.
fn sizes<'a>(content: &Pickle<'a>) -> Result<BTreeMap<&'a str, (Dtype, usize)>> {
    let mut sizes = BTreeMap::new();
    for node in &content.nodes {
        let PickleNode::Storage(storage) = node else { continue };
        let size = (storage.dtype.unwrap_or(Dtype::U8), storage.count);
        if sizes.insert(storage.key, size).is_some_and(|before| before != size) {
            return Err(Error::failed(format!(
                "storage '{}' is said to have two sizes",
                storage.key
            )));
        }
    }
    Ok(sizes)
}
