//! Reads weights from other programs' files: torch (zip archives, TorchScript, older plain pickles)
//! and safetensors. No code from a file is run and every offset is checked: the result is named
//! views into the file's bytes.
//!
//! `weights` then matches the views with a network.

pub mod archive;
pub mod legacy;
pub mod names;
pub mod nnunet;
pub mod numbers;

use super::pickle::{Dtype, Pickle, Storage, View, load};
use crate::error::{Error, Result, Trouble};
use archive::TorchArchive;
use memmap2::Mmap;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

/// A file's tensors by name.
#[derive(Debug)]
pub struct Foreign<'a> {
    /// The file's format, for messages.
    pub form: &'static str,
    /// The keys under which the weights were found, joined by '/'; empty for the top.
    pub place: String,
    /// The tensors.
    pub views: BTreeMap<String, View>,
    storages: Storages<'a>,
}

#[derive(Debug)]
enum Storages<'a> {
    Archive(TorchArchive<'a>),
    Slices(BTreeMap<String, &'a [u8]>),
}

impl<'a> Foreign<'a> {
    /// Opens a file's bytes; the first bytes tell the format. `under` gives the dictionary keys
    /// that lead to the weights, joined by '/'; without `under` they are searched for.
    pub fn open(bytes: &'a [u8], under: Option<&str>) -> Result<Foreign<'a>> {
        match bytes {
            [b'P', b'K', ..] => zipped(bytes, under),
            _ if has_safetensors_header(bytes) => safetensors(bytes),
            [0x80, ..] => legacy(bytes, under),
            [_, _, _, _, _, _, _, _, b'{', ..] => safetensors(bytes),
            _ => Err(Error::failed(
                "it begins as none of the files that are read: torch's (.pt, .pth, .ts) and \
                 safetensors",
            )),
        }
    }

    /// Turns the kernels of convolutions, tensors of five sides: `axes` has the file's axis for
    /// each of x, y and z.
    pub fn turn_kernels(&mut self, axes: [usize; 3]) {
        for view in self.views.values_mut().filter(|view| view.shape.len() == 5) {
            for sides in [&mut view.shape, &mut view.strides] {
                let turned = axes.map(|axis| sides[2 + axis]);
                sides[2..].copy_from_slice(&turned);
            }
        }
    }

    /// The numbers of a tensor as fp32, in row-major order; an error unless all are finite.
    pub fn floats(&self, name: &str) -> Result<Vec<f32>> {
        self.read(name, numbers::floats)
    }

    /// A tensor's single whole number.
    pub fn counter(&self, name: &str) -> Result<i64> {
        self.read(name, numbers::counter)
    }

    fn read<T>(&self, name: &str, numbers: fn(&View, &[u8]) -> Result<T>) -> Result<T> {
        let view = self.views.get(name);
        let view = view.ok_or_else(|| Error::failed(format!("'{name}' is missing")))?;
        let bytes = self.storage(view).trouble(format!("'{name}'"))?;
        numbers(view, bytes).map_err(|error| Error::failed(format!("'{name}' {error}")))
    }

    /// The bytes of a view's storage.
    fn storage(&self, view: &View) -> Result<&'a [u8]> {
        let (key, wanted) = (&view.storage, view.bytes);
        let bytes = match &self.storages {
            Storages::Archive(archive) => archive.storage(key)?,
            Storages::Slices(slices) => slices
                .get(key)
                .copied()
                .ok_or_else(|| Error::failed(format!("storage '{key}' is not in the file")))?,
        };
        if bytes.len() == wanted {
            return Ok(bytes);
        }
        Err(Error::failed(format!(
            "storage '{key}' has {} bytes, its tensors say {wanted}",
            bytes.len()
        )))
    }
}

/// True if the bytes begin with the length of a JSON object inside the file. The length may begin
/// with 0x80 like every pickle, so this check precedes the check for pickles.
fn has_safetensors_header(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return false };
    rest.first() == Some(&b'{') && u64::from_le_bytes(*length) <= rest.len() as u64
}

fn zipped<'a>(bytes: &'a [u8], under: Option<&str>) -> Result<Foreign<'a>> {
    let archive = TorchArchive::open(bytes)?;
    let form = if archive.is_torchscript() { "TorchScript archive" } else { "torch archive" };
    let (place, views) = names::weights(&whole(archive.pickle()?)?, under)?;
    Ok(Foreign { form, place, views, storages: Storages::Archive(archive) })
}

/// The bytes of a person's own file.
pub fn mapped(path: &Path) -> Result<Mmap> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    // SAFETY: the file is read only; who changes it meanwhile changes the numbers that are read,
    // and who shortens it ends this stage, as with every other mapped file of a person's own.
    unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))
}

/// Reads a file that is a single pickle.
fn whole(bytes: &[u8]) -> Result<Pickle<'_>> {
    let pickle = load(bytes)?;
    if pickle.length == bytes.len() {
        return Ok(pickle);
    }
    Err(Error::failed(format!("pickle: {} bytes follow its end", bytes.len() - pickle.length)))
}

fn legacy<'a>(bytes: &'a [u8], under: Option<&str>) -> Result<Foreign<'a>> {
    let (pickle, slices) = legacy::open(bytes)?;
    let (place, views) = names::weights(&pickle, under)?;
    Ok(Foreign {
        form: "torch file of the older form",
        place,
        views,
        storages: Storages::Slices(slices),
    })
}

fn safetensors(bytes: &[u8]) -> Result<Foreign<'_>> {
    let file = safetensors::SafeTensors::deserialize(bytes).trouble("safetensors")?;
    let (mut views, mut slices) = (BTreeMap::new(), BTreeMap::new());
    for (name, tensor) in file.tensors() {
        let dtype = dtype(tensor.dtype()).trouble(format!("'{name}'"))?;
        let count = tensor.data().len() / dtype.bytes();
        let shape = tensor.shape().to_vec();
        let strides = numbers::contiguous(&shape).trouble(format!("'{name}'"))?;
        let storage = Storage { key: &name, dtype: Some(dtype), count };
        views.insert(name.clone(), View::new(storage, dtype, 0, shape, strides)?);
        slices.insert(name, tensor.data());
    }
    Ok(Foreign {
        form: "safetensors file",
        place: String::new(),
        views: names::unwrapped(views),
        storages: Storages::Slices(slices),
    })
}

fn dtype(dtype: safetensors::Dtype) -> Result<Dtype> {
    use safetensors::Dtype as Theirs;
    Ok(match dtype {
        Theirs::F64 => Dtype::F64,
        Theirs::F32 => Dtype::F32,
        Theirs::F16 => Dtype::F16,
        Theirs::BF16 => Dtype::Bf16,
        Theirs::I64 => Dtype::I64,
        Theirs::I32 => Dtype::I32,
        Theirs::I16 => Dtype::I16,
        Theirs::I8 => Dtype::I8,
        Theirs::U8 => Dtype::U8,
        Theirs::BOOL => Dtype::Bool,
        other => return Err(Error::failed(format!("numbers of kind {other:?} are not read"))),
    })
}
