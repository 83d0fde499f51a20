//! NIfTI files that lie, break off or hold what makes no sense.

use crate::lab::cubes::{CUBES, Dataset, SHAPE};
use crate::lab::{Lab, tally};
use crate::{harmless, refused};
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// Where fields of a header begin.
const DIM: usize = 42;
const DATATYPE: usize = 70;
const BITPIX: usize = 72;
const QFAC: usize = 76;
const SPACING: usize = 80;
const OFFSET: usize = 108;
const QFORM: usize = 252;
const QUATERNION: usize = 256;
const AFFINE: usize = 280;

/// The workflow up to the candidates, with one thread and no network.
fn workflow() -> String {
    CUBES.split("  model:").next().unwrap().to_string()
}

fn unpacked(path: &Path) -> Vec<u8> {
    let mut bytes = vec![];
    GzDecoder::new(File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

fn pack(path: &Path, bytes: &[u8]) {
    let mut gzip = GzEncoder::new(File::create(path).unwrap(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap();
}

/// A laboratory whose third case has another image and label.
fn lab(image: impl FnOnce(&mut Vec<u8>), label: impl FnOnce(&mut Vec<u8>)) -> Lab {
    let lab = Lab::new();
    let dataset = Dataset::write(&lab.path("data"), 7, 0);
    let change = |path: &Path, change: &mut dyn FnMut(&mut Vec<u8>)| {
        let mut bytes = unpacked(path);
        change(&mut bytes);
        pack(path, &bytes);
    };
    let (mut image, mut label) = (Some(image), Some(label));
    change(&dataset.image(2), &mut |bytes| image.take().into_iter().for_each(|image| image(bytes)));
    change(&dataset.label(2), &mut |bytes| label.take().into_iter().for_each(|label| label(bytes)));
    lab
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

fn float(bytes: &mut [u8], at: usize, value: f32) {
    put(bytes, at, &value.to_le_bytes());
}

/// A change of an unpacked file's bytes.
type Change = fn(&mut Vec<u8>);

/// A change of a file as it lies there.
type Replacement = fn(&Path);

#[test]
fn images_that_lie_are_refused_by_the_name_of_their_case() {
    let table: [(&str, Change, &[&str]); 22] = [
        (
            "a spacing of 0 and a singular affine",
            |bytes| {
                float(bytes, SPACING, 0.0);
                float(bytes, AFFINE, 0.0);
            },
            &["do not span space"],
        ),
        ("an axis of length 0", |bytes| put(bytes, DIM, &[0, 0]), &["axis of length 0"]),
        (
            "an axis below 0",
            |bytes| put(bytes, DIM, &(-9i16).to_le_bytes()),
            &["axis of length -9"],
        ),
        ("more voxels than bytes", |bytes| put(bytes, DIM, &[0xff, 0x0f]), &["cut short or lies"]),
        (
            "2^45 voxels",
            |bytes| put(bytes, DIM, &[0xff, 0x7f, 0xff, 0x7f, 0xff, 0x7f]),
            &["claims more than"],
        ),
        ("no axes", |bytes| put(bytes, 40, &[0, 0]), &["0 dimensions"]),
        ("two axes", |bytes| put(bytes, 40, &[2, 0]), &["must be 3D"]),
        (
            "an affine of NaN, though the spacing is good",
            |bytes| float(bytes, AFFINE, f32::NAN),
            &["do not span space"],
        ),
        ("voxels beyond the end", |bytes| float(bytes, OFFSET, 9e7), &["cut short or lies"]),
        ("voxels at NaN", |bytes| float(bytes, OFFSET, f32::NAN), &["begin at byte NaN"]),
        (
            "voxels of an unknown type",
            |bytes| put(bytes, DATATYPE, &[99, 0]),
            &["unknown voxel type 99"],
        ),
        ("colours", |bytes| put(bytes, DATATYPE, &[128, 0]), &["colours"]),
        (
            "a spacing and an affine of NaN",
            |bytes| {
                float(bytes, SPACING, f32::NAN);
                float(bytes, AFFINE, f32::NAN);
            },
            &["do not span space"],
        ),
        (
            "a spacing of NaN and a singular affine",
            |bytes| {
                float(bytes, SPACING, f32::NAN);
                float(bytes, AFFINE, 0.0);
            },
            &["do not span space"],
        ),
        (
            "an infinite affine",
            |bytes| float(bytes, AFFINE + 12, f32::INFINITY),
            &["do not span space"],
        ),
        (
            "a qform of NaN",
            |bytes| {
                put(bytes, QFORM, &[1, 0, 0, 0]);
                float(bytes, QUATERNION, f32::NAN);
            },
            &["quaternion"],
        ),
        (
            "no codes and a spacing of NaN",
            |bytes| {
                put(bytes, QFORM, &[0, 0, 0, 0]);
                float(bytes, SPACING, f32::NAN);
            },
            &["neither sform nor qform"],
        ),
        (
            "a voxel of NaN",
            |bytes| float(bytes, 352, f32::NAN),
            &["1 of 5760 voxels are NaN or infinite"],
        ),
        ("an infinite voxel", |bytes| float(bytes, 352, f32::INFINITY), &["NaN or infinite"]),
        (
            "a grid other than the label's",
            |bytes| {
                put(bytes, DIM, &(SHAPE[1] as i16).to_le_bytes());
                put(bytes, DIM + 2, &(SHAPE[0] as i16).to_le_bytes());
            },
            &["different grids", "18×20×16", "20×18×16"],
        ),
        ("voxels cut off", |bytes| bytes.truncate(bytes.len() - 9), &["damaged or cut short"]),
        ("a header alone", |bytes| bytes.truncate(348), &["damaged or cut short"]),
    ];
    for (what, change, words) in &table {
        let lab = lab(change, |_| ());
        let words: Vec<&str> = ["case_02"].iter().chain(*words).copied().collect();
        refused(&lab, what, workflow().as_bytes(), &words);
    }
    tally::tell("bad inputs", table.len(), "images");
}

#[test]
fn labels_that_make_no_sense_are_refused_by_the_name_of_their_case() {
    let table: [(&str, Change, &[&str]); 3] = [
        ("a label that nobody declared", |bytes| bytes[400] = 7, &["7 (1 voxel)", "not declared"]),
        (
            "several channels",
            |bytes| {
                put(bytes, 40, &[4, 0]);
                put(bytes, DIM + 4, &[8, 0, 2, 0]);
            },
            &["a label map has one"],
        ),
        ("another place", |bytes| float(bytes, AFFINE + 12, 9.0), &["different places"]),
    ];
    for (what, change, words) in &table {
        let words: Vec<&str> = ["case_02"].iter().chain(*words).copied().collect();
        refused(&lab(|_| (), change), what, workflow().as_bytes(), &words);
    }
    tally::tell("bad inputs", table.len(), "labels");
}

#[test]
fn files_that_are_cut_short_or_expand_without_end_are_refused_by_the_name_of_their_case() {
    let table: [(&str, Replacement, &[&str]); 5] = [
        ("half a gzip", |path| truncate(path, 2), &["damaged or cut short"]),
        ("nothing", |path| std::fs::write(path, "").unwrap(), &["is empty"]),
        ("a gzip that ends without its checksum", |path| truncate_by(path, 8), &["damaged"]),
        ("no NIfTI", |path| std::fs::write(path, [3; 999]).unwrap(), &["is not a NIfTI file"]),
        (
            "a header in a gzip that lies",
            |path| {
                let mut bytes = unpacked(path);
                put(&mut bytes, DIM, &[0, 4, 0, 8, 0, 4]);
                pack(path, &bytes);
            },
            &["cut short or lies"],
        ),
    ];
    for (what, change, words) in &table {
        let lab = lab(|_| (), |_| ());
        change(&lab.path("data/imagesTr/case_02.nii.gz"));
        let words: Vec<&str> = ["case_02"].iter().chain(*words).copied().collect();
        refused(&lab, what, workflow().as_bytes(), &words);
    }
    tally::tell("bad inputs", table.len(), "packed images");
}

fn truncate_by(path: &Path, count: usize) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() - count]).unwrap();
}

#[test]
fn voxels_too_large_to_be_resampled_are_refused_by_the_name_of_their_case() {
    let metres = |bytes: &mut Vec<u8>| {
        for axis in 0..3 {
            float(bytes, SPACING + 4 * axis, 1000.0);
            float(bytes, AFFINE + 20 * axis, 1000.0);
        }
    };
    let words = ["case_02", "resampling would make 19001×17001×15001 voxels"];
    refused(&lab(metres, metres), "voxels of a metre", workflow().as_bytes(), &words);
    tally::tell("bad inputs", 1, "images of giants");
}

#[test]
fn bytes_after_a_gzip_do_no_harm() {
    let lab = lab(|_| (), |_| ());
    let path = lab.path("data/imagesTr/case_02.nii.gz");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, [bytes, vec![9; 500]].concat()).unwrap();
    harmless(&lab, "bytes after a gzip", workflow().as_bytes(), &[]);
    tally::tell("bad inputs", 1, "bytes after a gzip");
}

fn truncate(path: &Path, parts: usize) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() / parts]).unwrap();
}

#[test]
fn what_is_odd_but_means_something_does_no_harm() {
    let same = |bytes: &mut Vec<u8>| {
        let header = bytes[..352].to_vec();
        *bytes = [header, 5f32.to_le_bytes().repeat((bytes.len() - 352) / 4)].concat();
    };
    let table: [(&str, Change, Change, &[&str]); 10] = [
        ("bits that are not the type's", |bytes| put(bytes, BITPIX, &[8, 0]), |_| (), &[]),
        ("bytes after the voxels", |bytes| bytes.extend([9; 5000]), |_| (), &[]),
        ("50 MiB after the voxels", |bytes| bytes.resize(50 << 20, 0), |_| (), &[]),
        ("voxels before the header's end", |bytes| float(bytes, OFFSET, 10.0), |_| (), &[]),
        (
            "a spacing of 0 where the affine is good",
            |bytes| float(bytes, SPACING, 0.0),
            |_| (),
            &[],
        ),
        ("a qfac of NaN", |bytes| float(bytes, QFAC, f32::NAN), |_| (), &[]),
        ("a qfac of 0", |bytes| float(bytes, QFAC, 0.0), |_| (), &[]),
        ("an image of one value", same, |_| (), &[]),
        ("an empty label", |_| (), |bytes| bytes[352..].fill(0), &[]),
        ("a slope of NaN", |bytes| float(bytes, 112, f32::NAN), |_| (), &[]),
    ];
    for (what, image, label, words) in &table {
        harmless(&lab(image, label), what, workflow().as_bytes(), words);
    }
    let lab = lab(|bytes| bytes[352..].fill(0), |_| ());
    let cropped = workflow().replace("intensity:", "crop_foreground: true, intensity:");
    harmless(
        &lab,
        "nothing above the threshold",
        cropped.as_bytes(),
        &["case_02", "nothing is foreground"],
    );
    let narrow = CUBES
        .replace("patch: [16, 16, 16]", "patch: [32, 32, 32]")
        .replace("epochs: 2", "epochs: 1");
    harmless(&lab, "volumes smaller than the patch", narrow.as_bytes(), &[]);
    tally::tell("bad inputs", table.len() + 2, "odd images that do no harm");
}
