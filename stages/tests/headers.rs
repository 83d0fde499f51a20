//! Headers as other programs write them, against nibabel and SimpleITK: the fixtures of
//! `tests/parity/make_headers.py`.

use serde::Deserialize;
use std::path::{Path, PathBuf};
use voxflow_stages::image::nifti::{ImageFile, read_header, read_image};
use voxflow_stages::image::{Affine, affine::spacing_mm};

#[derive(Deserialize)]
struct Row {
    file: String,
    shape: [usize; 3],
    channels: usize,
    nibabel: Option<Affine>,
    simpleitk: Option<Affine>,
    voxels: Vec<f32>,
    contradicts: bool,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/parity/fixtures/headers")
}

fn rows() -> Vec<Row> {
    let text = std::fs::read(folder().join("headers.json")).expect("fixtures/headers/headers.json");
    let rows: Vec<Row> = serde_json::from_slice(&text).expect("rows");
    assert!(rows.len() >= 40);
    rows
}

/// Unit columns and origin.
fn directions(affine: &Affine) -> Affine {
    let (mut unit, size) = (*affine, spacing_mm(affine));
    unit.iter_mut().take(3).for_each(|row| (0..3).for_each(|axis| row[axis] /= size[axis]));
    unit
}

fn assert_close(file: &str, ours: &Affine, theirs: &Affine, off: f64) {
    for (a, b) in ours.iter().flatten().zip(theirs.iter().flatten()) {
        assert!((a - b).abs() <= off, "{file}: {ours:?}, not {theirs:?}");
    }
}

#[test]
fn a_file_lies_where_nibabel_and_simpleitk_place_it() {
    for row in rows() {
        let header = read_header(&folder().join(&row.file), "image")
            .unwrap_or_else(|error| panic!("{}: {error}", row.file));
        if let Some(theirs) = &row.nibabel {
            assert_close(&row.file, &header.affine, theirs, 1e-12);
        }
        if let Some(theirs) = &row.simpleitk {
            assert_close(&row.file, &directions(&header.affine), &directions(theirs), 1e-5);
        }
        assert!(row.nibabel.is_some() || row.simpleitk.is_some(), "{}", row.file);
        assert_eq!((header.shape, header.channels), (row.shape, row.channels), "{}", row.file);
    }
}

#[test]
fn the_voxels_are_those_that_were_written() {
    for row in rows() {
        let image = read_image(&folder().join(&row.file), "image")
            .unwrap_or_else(|error| panic!("{}: {error}", row.file));
        assert_eq!(image.data, row.voxels, "{}", row.file);
    }
}

#[test]
fn a_header_that_contradicts_itself_is_told_once_and_others_are_not() {
    for row in rows() {
        let header = read_header(&folder().join(&row.file), "image").unwrap();
        let wanted = match row.file.as_str() {
            "unknown_codes.nii.gz" => 2,
            _ => usize::from(row.contradicts),
        };
        assert_eq!(header.warnings.len(), wanted, "{}: {:?}", row.file, header.warnings);
    }
    let rounded = folder().join("sform_and_rounded_pixdim.nii.gz");
    let words = read_header(&rounded, "image").unwrap().warnings.concat();
    assert!(
        words.contains("1.235 x 1.123 x 2 mm") && words.contains("1.23456 x 1.12345 x 2 mm"),
        "{words}"
    );
}

#[test]
fn a_pair_is_found_by_either_file_and_refused_without_the_other() {
    let hdr = ImageFile::at(&folder().join("pair.hdr"));
    assert_eq!(hdr, ImageFile::at(&folder().join("pair.img")));
    let alone = tempfile::tempdir().unwrap();
    let header = alone.path().join("x.hdr");
    std::fs::copy(&hdr.header, &header).unwrap();
    let trouble = read_header(&header, "image").unwrap_err().to_string();
    assert!(trouble.contains("its .img is not beside it"), "{trouble}");
    // One of them packed, the other not.
    std::fs::copy(folder().join("packed_pair.img.gz"), alone.path().join("x.img.gz")).unwrap();
    assert_eq!(read_image(&header, "image").unwrap().data.len(), 60);
}
