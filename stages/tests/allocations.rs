//! What preparing a case and taking a patch ask of memory, counted in bytes: gross losses of speed
//! show here first, and the same on every machine. One story, since the count is of all threads.

#[path = "../../tests/lab/allocator.rs"]
mod allocator;

use allocator::requested;
use std::path::Path;
use voxflow_stages::image::candidates::{CandidateSelection, Candidates};
use voxflow_stages::image::nifti::{Datatype, Scratch, read_header, write_label};
use voxflow_stages::image::patch_sampler::{PatchKey, PatchSource, Sampling, sample};
use voxflow_stages::image::prepare::{Files, Prepared, prepare_with};
use voxflow_stages::image::{Augmentation, CaseFiles, Preparation, Volume};

const SHAPE: [usize; 3] = [160, 150, 40];

/// A CT of int16 and its label, x flipped as scanners have it, both compressed.
fn write_case(folder: &Path) {
    let voxels = SHAPE.iter().product();
    let affine =
        [[-1.0, 0.0, 0.0, 9.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 2.5, 0.0], [0.0, 0.0, 0.0, 1.0]];
    let label =
        (0..voxels).map(|voxel| u8::from(voxel % 160 > 80 && voxel / 160 % 150 > 60)).collect();
    let label = Volume { channels: 1, shape: SHAPE, data: label, affine };
    write_label(&folder.join("label.nii.gz"), &label, true).unwrap();
    write_label(&folder.join("plain.nii"), &label, false).unwrap();
    // The same header, with another type of voxels.
    let mut image = std::fs::read(folder.join("plain.nii")).unwrap()[..352].to_vec();
    image[70..74].copy_from_slice(&[4, 0, 16, 0]);
    image.extend((0..voxels).flat_map(|voxel| ((voxel * 37 % 1800) as i16 - 900).to_le_bytes()));
    std::fs::write(folder.join("image.nii"), image).unwrap();
    assert_eq!(read_header(&folder.join("image.nii"), "image").unwrap().datatype, Datatype::I16);
}

fn prepared(folder: &Path, scratch: &mut Scratch) -> Prepared {
    let window = serde_json::json!({ "window": [-57, 164] });
    let all = serde_json::json!({ "spacing": [1.5, 1.5, 2.0], "intensity": window, "crop_foreground": true });
    let preparation: Preparation = serde_json::from_value(all).unwrap();
    let (images, modality) = ([folder.join("image.nii")], ["CT".to_string()]);
    let label = folder.join("label.nii.gz");
    let case = CaseFiles::at(&images, Some(&label));
    let files =
        Files { case: &case, modality: &modality, named_by: "the dataset", values: (&[1]).into() };
    prepare_with(scratch, &preparation, files).unwrap()
}

/// The bytes asked for by sampling one patch, as a share of the patch's.
fn sampled(prepared: &Prepared, augmentation: serde_json::Value) -> f64 {
    const SIDE: [usize; 3] = [48, 40, 32];
    let voxels = SIDE.iter().product();
    let (shape, label) = (prepared.image.shape, &prepared.label.as_ref().unwrap().data[..]);
    let candidates =
        Candidates::compute(shape, label, CandidateSelection { labels: &[1], background: None })
            .unwrap();
    let case = PatchSource {
        image: &prepared.image.data,
        channels: 1,
        shape,
        label,
        beyond: 0,
        candidates: &candidates,
    };
    let augmentation: Augmentation = serde_json::from_value(augmentation).unwrap();
    let (mut image, mut label) = (vec![0.0; voxels], vec![0; voxels]);
    let asked = requested(|| {
        sample(
            &case,
            &Sampling::default(),
            &augmentation,
            SIDE,
            PatchKey { seed: 0, epoch: 0, item: 0, batch: (0, 1) },
            (&mut image, &mut label),
        );
    });
    asked as f64 / (5 * voxels) as f64
}

#[test]
fn a_case_is_prepared_in_little_more_than_its_result_and_a_patch_is_taken_without_copies() {
    let folder = tempfile::tempdir().unwrap();
    write_case(folder.path());
    let mut scratch = Scratch::default();
    let original = 3 * SHAPE.iter().product::<usize>();
    let mut result = 0;
    let first =
        requested(|| result = 5 * prepared(folder.path(), &mut scratch).image.data.capacity());
    let next = requested(|| drop(prepared(folder.path(), &mut scratch)));
    assert!(
        first < 2 * original + 2 * result,
        "{first} bytes for a case of {original} that becomes {result}"
    );
    assert!(next < result * 3 / 2, "{next} bytes for the next case, which becomes {result}");

    let prepared = prepared(folder.path(), &mut scratch);
    let shifted = serde_json::json!({
        "flip": { "probability": 1.0 }, "intensity_shift": { "offset": 0.1, "probability": 1.0 },
    });
    assert!(
        sampled(&prepared, shifted) < 0.01,
        "a flipped and shifted patch is copied once, to its place"
    );
    let turned =
        serde_json::json!({ "affine": { "probability": 1.0, "rotation_degrees": [9, 9, 9] } });
    assert!(sampled(&prepared, turned) < 1.1, "an affine change reads a copy of the patch");
}
