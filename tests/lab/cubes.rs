//! A small dataset written by hand, apart from the program's own writers, and a workflow over it.

use flate2::write::GzEncoder;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A small dataset in Decathlon layout: MRI-like cubes with one label, each case its own.
pub struct Dataset {
    pub folder: PathBuf,
    pub labelled: usize,
    pub unlabelled: usize,
}

pub const SHAPE: [usize; 3] = [20, 18, 16];

impl Dataset {
    pub fn write(folder: &Path, labelled: usize, unlabelled: usize) -> Dataset {
        for name in ["imagesTr", "labelsTr", "imagesTs"] {
            std::fs::create_dir_all(folder.join(name)).expect("a folder");
        }
        let dataset = Dataset { folder: folder.to_path_buf(), labelled, unlabelled };
        for case in 0..labelled {
            dataset.write_case(case, 0);
        }
        for case in labelled..labelled + unlabelled {
            write_nifti(
                &folder.join(format!("imagesTs/case_{case:02}.nii.gz")),
                &image(case, 0),
                16,
            );
        }
        dataset.write_listing();
        dataset
    }

    /// Writes one labelled case; another `variant` has another image and another label.
    pub fn write_case(&self, case: usize, variant: usize) {
        write_nifti(&self.image(case), &image(case, variant), 16);
        write_nifti(&self.label(case), &label(case, variant), 2);
    }

    pub fn image(&self, case: usize) -> PathBuf {
        self.folder.join(format!("imagesTr/case_{case:02}.nii.gz"))
    }

    pub fn label(&self, case: usize) -> PathBuf {
        self.folder.join(format!("labelsTr/case_{case:02}.nii.gz"))
    }

    fn write_listing(&self) {
        let pair = |case: usize| serde_json::json!({"image": format!("./imagesTr/case_{case:02}.nii.gz"), "label": format!("./labelsTr/case_{case:02}.nii.gz")});
        let listing = serde_json::json!({
            "name": "Cubes", "licence": "none", "tensorImageSize": "3D",
            "modality": {"0": "MRI"}, "labels": {"0": "background", "1": "cube"},
            "numTraining": self.labelled, "numTest": self.unlabelled,
            "training": (0..self.labelled).map(pair).collect::<Vec<_>>(),
            "test": (self.labelled..self.labelled + self.unlabelled).map(|case| format!("./imagesTs/case_{case:02}.nii.gz")).collect::<Vec<_>>(),
        });
        std::fs::write(self.folder.join("dataset.json"), listing.to_string())
            .expect("dataset.json");
    }
}

fn inside(case: usize, variant: usize, at: [usize; 3]) -> bool {
    let start = [3 + case % 4, 4 + case % 3, 2 + variant % 3];
    (0..3).all(|axis| (start[axis]..start[axis] + 7).contains(&at[axis]))
}

fn voxels(value: impl Fn([usize; 3]) -> f32) -> Vec<f32> {
    let mut data = Vec::with_capacity(SHAPE.iter().product());
    for z in 0..SHAPE[2] {
        for y in 0..SHAPE[1] {
            for x in 0..SHAPE[0] {
                data.push(value([x, y, z]));
            }
        }
    }
    data
}

fn image(case: usize, variant: usize) -> Vec<f32> {
    voxels(|at| {
        let texture = ((at[0] * 7 + at[1] * 13 + at[2] * 29 + case * 31) % 17) as f32;
        100.0 + texture + if inside(case, variant, at) { 80.0 } else { 0.0 }
    })
}

fn label(case: usize, variant: usize) -> Vec<f32> {
    voxels(|at| f32::from(u8::from(inside(case, variant, at))))
}

/// Writes a NIfTI-1 file by hand (gzip): `datatype` 2 is uint8, 16 is float32; several volumes one
/// after the other make it 4D. Independent of the program's own writer, so that a mistake there
/// cannot hide.
pub fn write_nifti(path: &Path, data: &[f32], datatype: i16) {
    write_nifti_of(path, data, SHAPE, datatype);
}

/// The same with another shape.
pub fn write_nifti_of(path: &Path, data: &[f32], shape: [usize; 3], datatype: i16) {
    let mut header = vec![0u8; 352];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &348i32.to_le_bytes());
    let volumes = (data.len() / shape.iter().product::<usize>()) as i16;
    let axes = if volumes > 1 { 4 } else { 3 };
    let dims = [axes, shape[0] as i16, shape[1] as i16, shape[2] as i16, volumes, 1, 1, 1];
    dims.iter().enumerate().for_each(|(i, dim)| put(40 + 2 * i, &dim.to_le_bytes()));
    put(70, &datatype.to_le_bytes());
    put(72, &(if datatype == 2 { 8i16 } else { 32 }).to_le_bytes());
    [1f32; 4].iter().enumerate().for_each(|(i, size)| put(76 + 4 * i, &size.to_le_bytes()));
    put(108, &352f32.to_le_bytes());
    put(112, &1f32.to_le_bytes());
    put(254, &1i16.to_le_bytes());
    for row in 0..3 {
        put(280 + 16 * row + 4 * row, &1f32.to_le_bytes());
    }
    put(344, b"n+1\0");
    let body: Vec<u8> = match datatype {
        2 => data.iter().map(|value| *value as u8).collect(),
        _ => data.iter().flat_map(|value| value.to_le_bytes()).collect(),
    };
    let file = std::fs::File::create(path).expect("a NIfTI file");
    let mut gzip = GzEncoder::new(file, flate2::Compression::fast());
    gzip.write_all(&header).and_then(|()| gzip.write_all(&body)).expect("writing NIfTI");
    gzip.finish().expect("writing NIfTI");
}

/// A workflow over the small dataset in `folder`, from the folder to the test.
pub const CUBES: &str = r#"
name: cubes
stages:
  dataset: { uses: folder, with: { path: data } }
  split: { uses: split, needs: [dataset], with: { training: 4, validation: 1, testing: 2, order: listed } }
  volumes: { uses: preprocess, needs: [dataset], with: { spacing: [1.0, 1.0, 1.0], intensity: { zscore: all } } }
  cache: { uses: cache, needs: [dataset, volumes, split] }
  model:
    uses: train
    needs: [cache]
    with:
      epochs: 2
      patch: [16, 16, 16]
      volumes_per_step: 2
      patches_per_volume: 1
      network: { channels: [4, 8, 8], strides: [2, 2], residual_units: 1 }
      learning_rate: 0.002
      validate_every: 1
      inference: { roi: [16, 16, 16], overlap: 0.25 }
  score: { uses: validate, needs: [cache, model] }
  final: { uses: test, needs: [dataset, cache, model] }
"#;
