//! Times preparing one case, and taking patches of what it became, as JSON lines: a part, and its
//! seconds in each repetition. Needs no network; `stages/net/benches/parts.rs` times those.
//!
//!     cargo bench --bench images -- IMAGE LABEL FOLDER REPEATS
//!
//! IMAGE and LABEL are a CT and its label, compressed; FOLDER is where results are written.
#![allow(clippy::print_stdout)]

mod support;

use serde_json::json;
use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::path::{Path, PathBuf};
use support::measure;
use voxflow_stages::image::candidates::{CandidateSelection, Candidates};
use voxflow_stages::image::nifti::Scratch;
use voxflow_stages::image::patch_sampler::{PatchKey, PatchSource, Sampling, sample};
use voxflow_stages::image::prepare::{Files, Prepared, prepare_with};
use voxflow_stages::image::{Augmentation, CaseFiles, Preparation, nifti};

fn main() {
    let words: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let [image, label, folder, repeats] = &words[..] else {
        panic!("cargo bench --bench images -- IMAGE LABEL FOLDER REPEATS")
    };
    let repeats = repeats.parse().expect("a number of repetitions");
    let (image, label, folder) = (PathBuf::from(image), PathBuf::from(label), Path::new(folder));
    limit(&image, &label, repeats);
    let prepared = preparing(image, &label, folder, repeats);
    copying(repeats);
    sampling(&prepared, repeats);
}

/// What no preparation can do without: both files unpacked by libdeflate.
fn limit(image: &Path, label: &Path, repeats: usize) {
    let packed = [image, label].map(|path| std::fs::read(path).expect("a file"));
    let length =
        |packed: &[u8]| packed.last_chunk().map_or(0, |last| u32::from_le_bytes(*last)) as usize;
    let mut whole = packed.each_ref().map(|packed| vec![1u8; length(packed)]);
    measure("libdeflate alone, both files", repeats, || {
        for (packed, whole) in packed.iter().zip(&mut whole) {
            libdeflater::Decompressor::new().gzip_decompress(packed, whole).expect("one member");
        }
        black_box(&whole);
    });
}

fn preparation() -> Preparation {
    let all = json!({ "spacing": [1.5, 1.5, 2.0], "intensity": { "window": [-57, 164] }, "crop_foreground": true });
    serde_json::from_value(all).expect("a preparation")
}

fn preparing(image: PathBuf, label: &Path, folder: &Path, repeats: usize) -> Prepared {
    let (images, modality, mut scratch) = ([image], ["CT".to_string()], Scratch::default());
    let case = CaseFiles::at(&images, Some(label));
    let files =
        Files { case: &case, modality: &modality, named_by: "the dataset", values: (&[1]).into() };
    let mut work =
        || prepare_with(&mut scratch, &preparation(), files).expect("a CT with its label");
    measure("prepare a CT with its label", repeats, || drop(black_box(work())));
    let prepared = work();
    measure("write what was prepared", repeats, || {
        nifti::write_volume_f32(&folder.join("image.nii"), &prepared.image, false).expect("writes");
        nifti::write_label(
            &folder.join("label.nii"),
            prepared.label.as_ref().expect("a label"),
            false,
        )
        .expect("writes");
    });
    let bytes = std::fs::read(folder.join("image.nii")).expect("a file");
    measure("write as many bytes and wait for the disk", repeats, || {
        let path = folder.join("durable");
        let mut file = File::create(&path).expect("creates");
        file.write_all(&bytes).and_then(|()| file.sync_all()).expect("writes");
        std::fs::remove_file(path).expect("removes");
    });
    prepared
}

/// What four patches of 96³ cannot do without: their bytes copied, image and label.
fn copying(repeats: usize) {
    let bytes = vec![1u8; 4 * 5 * 96 * 96 * 96];
    let mut copy = vec![0u8; bytes.len()];
    measure("copy the bytes of 4 patches of 96³", repeats, || {
        copy.copy_from_slice(&bytes);
        black_box(&copy);
    });
}

/// Four patches of one volume, shifted in intensity and flipped, or rotated and scaled; by one
/// thread, and by two.
fn sampling(prepared: &Prepared, repeats: usize) {
    let (image, label) = (&prepared.image, prepared.label.as_ref().expect("a label"));
    let background = Some((image.data.as_slice(), 0.0));
    let candidates = || {
        Candidates::compute(
            image.shape,
            &label.data,
            CandidateSelection { labels: &[1], background },
        )
    };
    measure("find the candidates", repeats, || drop(black_box(candidates())));
    let candidates = candidates().expect("a volume with a label");
    let (shape, image, label) = (image.shape, &image.data[..], &label.data[..]);
    let case = PatchSource { image, channels: 1, shape, label, beyond: 0, candidates: &candidates };
    let shifts = json!({ "intensity_shift": { "offset": 0.1, "probability": 0.5 }, "flip": { "probability": 0.5 } });
    let affine = json!({ "affine": { "probability": 1.0, "rotation_degrees": [15, 15, 15], "scale": [0.15, 0.15, 0.15] } });
    let noise = json!({ "noise": { "probability": 1.0, "std": 0.1 } });
    for (named, side, augmentation) in [
        ("sample 4 patches of 96³, shifted and flipped", [96, 96, 96], shifts),
        ("sample 4 patches of 32×48×32 as they are", [32, 48, 32], json!({})),
        ("sample 4 patches of 32×48×32, rotated and scaled", [32, 48, 32], affine),
        ("sample 4 patches of 32×48×32, with noise", [32, 48, 32], noise),
    ] {
        let augmentation: Augmentation =
            serde_json::from_value(augmentation).expect("an augmentation");
        let voxels = side.iter().product();
        let mut batch = vec![(vec![0.0; voxels], vec![0; voxels]); 4];
        let mut epoch = 0;
        for threads in [1, 2] {
            measure(&format!("{named}, {threads} threads"), repeats, || {
                epoch += 1;
                let take = |(item, (image, label)): (u64, &mut (Vec<f32>, Vec<u8>))| {
                    sample(
                        &case,
                        &Sampling::default(),
                        &augmentation,
                        side,
                        PatchKey { seed: 0, epoch, item, batch: (0, 4) },
                        (image, label),
                    );
                };
                std::thread::scope(|scope| {
                    let mut shares = (0..).zip(batch.chunks_mut(4 / threads));
                    let own = shares.next();
                    for (share, some) in shares {
                        scope.spawn(move || {
                            some.iter_mut()
                                .zip(0..)
                                .for_each(|(one, at)| take((2 * share + at, one)))
                        });
                    }
                    own.into_iter()
                        .flat_map(|(_, some)| some)
                        .zip(0..)
                        .for_each(|(one, at)| take((at, one)));
                });
                black_box(&batch);
            });
        }
    }
}
