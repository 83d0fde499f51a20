//! Small datasets in any layout: files by their names, each what it is said to be.

use super::Lab;
use super::cubes::{SHAPE, write_nifti};
use std::fs;

/// What a file holds.
#[derive(Clone, Copy, Debug)]
pub enum Holds {
    /// An MRI-like image; another number is another image of the same case.
    Image(usize),
    /// An image that is black beyond a box in its middle.
    Bordered,
    /// A CT: air at -1000.
    Ct,
    /// So many channels in one file.
    Channels(usize),
    /// A label map with these values, one above the other.
    Label(&'static [u8]),
    /// Shares of a label, between 0 and 1.
    Shares,
}

/// The names of the cases in `write`.
pub const CASES: [&str; 6] = ["07", "08", "11", "12", "30", "41"];

/// Writes six cases below `folder`; `#` in a name stands for the case.
pub fn write(lab: &Lab, folder: &str, files: &[(&str, Holds)]) {
    for (at, case) in CASES.iter().enumerate() {
        for (name, holds) in files {
            let path = lab.path(&format!("{folder}/{}", name.replace('#', case)));
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            // Equal names in two folders are two images.
            let own = at * 31 + name.bytes().map(usize::from).sum::<usize>() % 29;
            let (data, datatype) = voxels(*holds, at, own);
            write_nifti(&path, &data, datatype);
        }
    }
}

fn voxels(holds: Holds, case: usize, own: usize) -> (Vec<f32>, i16) {
    let image = |shift: usize| each(|at| texture(at, own + shift) + 80.0 * inside(case, at));
    match holds {
        Holds::Image(number) => (image(number * 7), 16),
        Holds::Ct => (each(|at| (texture(at, own) + 60.0 * inside(case, at)) * 4.0 - 1400.0), 16),
        Holds::Bordered => {
            let is_inside =
                |at: [usize; 3]| (0..3).all(|axis| (2..SHAPE[axis] - 2).contains(&at[axis]));
            let value = |at| texture(at, own) + 80.0 * inside(case, at);
            (each(|at| if is_inside(at) { value(at) } else { 0.0 }), 16)
        }
        Holds::Channels(count) => ((0..count).flat_map(|channel| image(channel * 7)).collect(), 16),
        Holds::Label(values) => {
            (each(|at| inside(case, at) * f32::from(values[at[2] * values.len() / SHAPE[2]])), 2)
        }
        Holds::Shares => (each(|at| 0.7 * inside(case, at)), 16),
    }
}

fn texture(at: [usize; 3], own: usize) -> f32 {
    100.0 + ((at[0] * 7 + at[1] * 13 + at[2] * 29 + own * 31) % 101) as f32
}

fn inside(case: usize, at: [usize; 3]) -> f32 {
    let start = [3 + case % 4, 4 + case % 3, 2];
    f32::from(u8::from((0..3).all(|axis| (start[axis]..start[axis] + 11).contains(&at[axis]))))
}

fn each(value: impl Fn([usize; 3]) -> f32) -> Vec<f32> {
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
