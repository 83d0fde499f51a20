//! A real CT, made into a one-case Decathlon archive on the fly, through unpack, preprocess and
//! cache. Skipped, and said so, where the data are not.

mod lab;

use lab::Lab;
use std::fs;
use std::path::{Path, PathBuf};
use voxflow_stages::image::nifti::{Mapped, read_label};

fn ct() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("DATA_ROOT").map_or_else(beside, PathBuf::from).join("ct");
    let found =
        folder.canonicalize().ok().filter(|folder| folder.join("spleen_8_image.nii.gz").exists());
    if found.is_none() {
        // A test has no other way to say that it was skipped.
        #[allow(clippy::print_stderr)]
        {
            eprintln!(
                "skipped: no real CT here; set DATA_ROOT to the folder that holds ct/spleen_8_image.nii.gz"
            );
        }
    }
    found
}

fn pack(ct: &Path, to: &Path) {
    let listing = serde_json::json!({
        "name": "Spleen", "licence": "CC-BY-SA 4.0", "tensorImageSize": "3D",
        "modality": {"0": "CT"}, "labels": {"0": "background", "1": "spleen"}, "numTraining": 1, "numTest": 0,
        "training": [{"image": "./imagesTr/spleen_8.nii.gz", "label": "./labelsTr/spleen_8.nii.gz"}], "test": [],
    });
    let listing = listing.to_string();
    let mut tar = tar::Builder::new(fs::File::create(to).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_size(listing.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    tar.append_data(&mut header, "Task09_Spleen/dataset.json", listing.as_bytes()).unwrap();
    for (from, name) in [("image", "imagesTr"), ("label", "labelsTr")] {
        let file = ct.join(format!("spleen_8_{from}.nii.gz"));
        tar.append_path_with_name(file, format!("Task09_Spleen/{name}/spleen_8.nii.gz")).unwrap();
    }
    tar.finish().unwrap();
}

fn millilitres(voxels: usize, spacing: [f64; 3]) -> f64 {
    voxels as f64 * spacing.iter().product::<f64>() / 1000.0
}

#[test]
fn a_real_ct_keeps_its_organs_volume_on_the_way_to_the_cache() {
    let Some(ct) = ct() else { return };
    let lab = Lab::new();
    pack(&ct, &lab.path("spleen.tar"));
    let workflow = "name: ct
stages:
  archive: { uses: download, with: { file: spleen.tar } }
  dataset: { uses: unpack, needs: [archive] }
  split: { uses: split, needs: [dataset], with: { training: 1 } }
  volumes:
    uses: preprocess
    needs: [dataset]
    with: { spacing: [1.5, 1.5, 2.0], intensity: { window: [-57, 164] }, crop_foreground: true }
  cache: { uses: cache, needs: [dataset, volumes, split] }
";
    let run = lab.run(workflow, &[], 0);
    let case = run.folder.join("outputs/cache/training/spleen_8");

    let original = read_label(&ct.join("spleen_8_label.nii.gz"), "label", &[1]).unwrap();
    let before = millilitres(
        original.data.iter().filter(|&&voxel| voxel == 1).count(),
        [0.785_156, 0.785_156, 7.5],
    );
    let label = Mapped::open(&case.join("label.nii"), "label.nii").unwrap();
    let after = millilitres(
        label.u8s().unwrap().iter().filter(|&&voxel| voxel == 1).count(),
        [1.5, 1.5, 2.0],
    );
    assert!((after / before - 1.0).abs() < 0.02, "{before} ml became {after} ml");

    let image = Mapped::open(&case.join("image.nii"), "image.nii").unwrap();
    assert_eq!(image.shape(), label.shape());
    let affine = image.header().affine;
    for axis in 0..3 {
        let size = [1.5, 1.5, 2.0][axis];
        assert!(
            (affine[axis][axis] - size).abs() < 1e-4,
            "axis {axis} of RAS points along itself: {affine:?}"
        );
    }
    assert!(
        image.f32s().unwrap().iter().all(|value| (0.0..=1.0).contains(value)),
        "windowed to 0…1"
    );
}
