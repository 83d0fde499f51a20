//! What of `voxflow-stages` reads bytes of people and programs that one does not know, each as one
//! function of bytes: for the mutants of `tests/mutants` and for the targets of cargo-fuzz alike.
//! Whatever comes in, words come out.

use safetensors::SafeTensors;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use voxflow_cache::{Artifact, Blob, Recipe};
use voxflow_stages::dataset::archive::{UnpackLimits, unpack};
use voxflow_stages::dataset::fields::Said;
use voxflow_stages::dataset::notes::Notes;
use voxflow_stages::dataset::{Listing, datalist, decathlon, nnunet};
use voxflow_stages::image::nifti;
use voxflow_stages::model::checkpoint::split_body;
use voxflow_stages::model::foreign::Foreign;
use voxflow_stages::model::pickle;
use voxflow_stages::{Context, Error, Host, Message, Result, Task};

/// An image and a label map.
pub fn nifti(bytes: &[u8]) {
    in_a_folder(|folder| {
        let path = folder.join("image.nii.gz");
        std::fs::write(&path, bytes).expect("a file");
        let _ = nifti::read_header(&path, "image");
        let _ = nifti::read_image(&path, "image");
        let _ = nifti::read_label(&path, "label", &[1]);
        let _ =
            nifti::Mapped::open(&path, "volume").and_then(|volume| volume.f32s().map(<[f32]>::len));
    });
}

/// A tar or tar.gz, of which a megabyte may come out, and nothing outside its folder.
pub fn archive(bytes: &[u8]) {
    in_a_folder(|folder| {
        let (path, inside) = (folder.join("some.tar"), folder.join("inside"));
        std::fs::write(&path, bytes).expect("a file");
        std::fs::create_dir(&inside).expect("a folder");
        let task = task(folder);
        let limits = UnpackLimits { bytes: 1 << 20, ratio: 100.0 };
        let _ = unpack(&path, &inside, &limits, &Context::new(&task, &Nobody));
        // A buffer more may be written before it is noticed.
        assert!(bytes_below(&inside) <= limits.bytes + (1 << 18), "wrote more than the limit");
        let names = std::fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name());
        assert_eq!(
            names.collect::<BTreeSet<_>>(),
            ["inside", "some.tar"].map(Into::into).into(),
            "wrote outside"
        );
    });
}

/// A `dataset.json` of either layout.
pub fn listing(bytes: &[u8]) {
    in_a_folder(|folder| {
        let (said, mut notes) = (Said::default(), Notes::default());
        let _ = nnunet::is_nnunet(bytes, folder);
        let _ = decathlon::read(bytes, folder, &said, &mut notes);
        let _ = nnunet::read(bytes, folder, &said, &mut notes);
        let path = folder.join("list.json");
        std::fs::write(&path, bytes).expect("a file");
        for fold in [None, Some(0)] {
            let _ = datalist::read(&path, &Listing::default(), &[], fold, &mut notes);
        }
    });
}

/// Weights of torch or safetensors, every tensor of them.
pub fn weights(bytes: &[u8]) {
    if let Ok(foreign) = Foreign::open(bytes, None) {
        for name in foreign.views.keys() {
            let _ = foreign.floats(name);
            let _ = foreign.counter(name);
        }
    }
}

/// A pickle alone, which an archive's checksums would otherwise guard.
pub fn pickle(bytes: &[u8]) {
    let _ = pickle::load(bytes);
}

/// A checkpoint without the digest at its end, which would keep all of chance out. What libtorch
/// makes of its tensors is tried in `voxflow-net`.
pub fn checkpoint(bytes: &[u8]) {
    let Some((state, tensors)) = split_body(bytes) else { return };
    let _ = serde_json::from_slice::<serde_json::Value>(state);
    if let Ok(file) = SafeTensors::deserialize(tensors) {
        file.iter().for_each(|(_, view)| drop(view.data().to_vec()));
    }
}

fn bytes_below(folder: &Path) -> u64 {
    let inside =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    inside
        .map(|path| {
            if path.is_dir() {
                bytes_below(&path)
            } else {
                path.metadata().map_or(0, |meta| meta.len())
            }
        })
        .sum()
}

fn in_a_folder(work: impl FnOnce(&Path)) {
    work(tempfile::tempdir().expect("a folder").path());
}

fn task(folder: &Path) -> Task {
    let recipe = Recipe {
        kind: "unpack".into(),
        version: 1,
        params: serde_json::Value::Null,
        inputs: [].into(),
    };
    let (draft, unfinished) = (folder.join("draft"), folder.join("unfinished"));
    let params = serde_json::Value::Null;
    let (stage, device) = ("unpack".into(), "cpu".into());
    let inputs = [].into();
    Task { stage, recipe, params, inputs, draft, unfinished, device, threads: 1, ranks: 1 }
}

/// A host to whom nothing matters.
struct Nobody;

impl Host for Nobody {
    fn tell(&self, _message: Message) {}

    fn stopping(&self) -> bool {
        false
    }

    fn recall(
        &self,
        name: &str,
        _recipe: &Recipe,
        _make: &dyn Fn(&Path) -> Result<()>,
    ) -> Result<Artifact> {
        Err(Error::failed(format!("'{name}' is not remembered here")))
    }

    fn blob_path(&self, _blob: &Blob) -> PathBuf {
        PathBuf::new()
    }

    fn adopt(&self, _name: &str, _blob: &Blob) {}

    fn refer(&self, path: &Path) -> Result<Blob> {
        Err(Error::failed(format!("'{}' is not referred to here", path.display())))
    }
}
