//! The phantom: a believable abdominal CT with a spleen, drawn from a seed.
//!
//! Made so that nothing simple finds the spleen: it varies in place, size and shape, its neighbours
//! touch it and share its Hounsfield units, the contrast phase changes all of them from case to
//! case, and the whole pose is shifted by up to 20 mm an axis. What remains is what a network must
//! learn: where it lies among the others, its shape, and the thin fat around most of it.
//!
//! Voxels are the same on every machine: additions, multiplications, divisions and roots in f32,
//! and transcendental functions from `libm`. Writing files is left to [`file`], the layout to the
//! kind.

pub mod anatomy;
pub mod file;
pub mod noise;
pub mod organ;
pub mod shape;
pub mod tissue;

use crate::image::Affine;
use crate::random::Draw;
use anatomy::Anatomy;
pub use organ::Organ;
use rayon::prelude::*;
use tissue::{TISSUES, TissueContrast};

/// Orientation of an affine's axes, in nibabel's letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanOrientation {
    /// Right, anterior, superior: all axes as in world space.
    Ras,
    /// Left, anterior, superior: x is flipped, as in the Decathlon's CTs.
    Las,
    /// Left, posterior, superior: as DICOM has it.
    Lps,
}

impl ScanOrientation {
    /// The sign of each axis.
    pub fn signs(self) -> [f64; 3] {
        match self {
            ScanOrientation::Ras => [1.0, 1.0, 1.0],
            ScanOrientation::Las => [-1.0, 1.0, 1.0],
            ScanOrientation::Lps => [-1.0, -1.0, 1.0],
        }
    }
}

/// Parameters common to all cases of a phantom dataset.
#[derive(Clone, Debug)]
pub struct Phantom {
    /// Voxels along x, y and z.
    pub shape: [usize; 3],
    /// The seed of all variation.
    pub seed: u64,
    /// The organs to label, in the order of their values 1, 2, …
    pub organs: Vec<Organ>,
    /// The channels: "CT" is in Hounsfield units, any other name is a made-up MRI contrast.
    pub modality: Vec<String>,
}

/// One case: x fastest, channels slowest.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Voxels along x, y and z.
    pub shape: [usize; 3],
    /// Voxel size in mm.
    pub spacing_mm: [f32; 3],
    /// Orientation of the axes.
    pub orientation: ScanOrientation,
    /// Voxel index to millimetres.
    pub affine: Affine,
    /// The image, one block for each channel.
    pub image: Vec<i16>,
    /// The label values.
    pub label: Vec<u8>,
}

/// A case's grid, and its voxels' place in the body's own frame.
struct ScanGrid {
    shape: [usize; 3],
    spacing_mm: [f32; 3],
    orientation: ScanOrientation,
    affine: Affine,
    shift_mm: [f32; 3],
}

impl Phantom {
    /// Draws case `index`. Work is shared out by slices; the result does not depend on how.
    pub fn scan(&self, index: u64) -> Scan {
        let grid = self.grid(index);
        let anatomy = Anatomy::draw(&mut Draw::new(self.seed, 0, index, "phantom anatomy"));
        let contrasts = self.contrasts(index);
        let [nx, ny, nz] = self.shape;
        let mut image = noise::field(self.shape, self.seed, index, &contrasts);
        let mut label = vec![0u8; nx * ny * nz];
        let mut channels: Vec<Vec<&mut [f32]>> = (0..nz).map(|_| vec![]).collect();
        for channel in image.chunks_mut(nx * ny * nz) {
            channel.chunks_mut(nx * ny).enumerate().for_each(|(z, slice)| channels[z].push(slice));
        }
        let slices = channels.par_iter_mut().zip(label.par_chunks_mut(nx * ny)).enumerate();
        slices.for_each(|(z, (image, label))| {
            self.slice(&grid, &anatomy, &contrasts, z, image, label)
        });
        let image =
            image.par_iter().map(|value| value.round().clamp(-1024.0, 32_000.0) as i16).collect();
        let ScanGrid { shape, spacing_mm, orientation, affine, .. } = grid;
        Scan { shape, spacing_mm, orientation, affine, image, label }
    }

    fn contrasts(&self, index: u64) -> Vec<TissueContrast> {
        self.modality
            .iter()
            .enumerate()
            .map(|(channel, name)| TissueContrast::draw(self.seed, index, channel as u64, name))
            .collect()
    }

    /// Adds the anatomy in slice `z` to the noise in `image`, and labels it.
    fn slice(
        &self,
        grid: &ScanGrid,
        anatomy: &Anatomy,
        contrasts: &[TissueContrast],
        z: usize,
        image: &mut [&mut [f32]],
        label: &mut [u8],
    ) {
        let width_mm = grid.spacing_mm.iter().sum::<f32>() / 3.0;
        for y in 0..grid.shape[1] {
            for x in 0..grid.shape[0] {
                let at = x + y * grid.shape[0];
                let place = grid.place([x, y, z]);
                let mix = anatomy.mix(place, width_mm);
                for (channel, contrast) in image.iter_mut().zip(contrasts) {
                    channel[at] += (0..TISSUES)
                        .map(|tissue| mix.weights[tissue] * contrast.levels[tissue])
                        .sum::<f32>();
                }
                let organ = self.organs.iter().position(|organ| mix.of(*organ) >= 0.5);
                label[at] = organ.map_or(0, |position| position as u8 + 1);
            }
        }
    }

    /// Anisotropic and varying spacing, a random orientation among three, somewhere in the
    /// scanner's space.
    fn grid(&self, index: u64) -> ScanGrid {
        let mut draw = Draw::new(self.seed, 0, index, "phantom grid");
        let field_mm = draw.between(335.0, 375.0);
        let extent_mm = [field_mm, field_mm, draw.between(185.0, 220.0)];
        let spacing_mm: [f32; 3] =
            std::array::from_fn(|axis| (extent_mm[axis] / self.shape[axis] as f64) as f32);
        let turns = [ScanOrientation::Las, ScanOrientation::Ras, ScanOrientation::Lps];
        let orientation = turns[((index + draw.below(2)) % 3) as usize];
        let centre_mm =
            [draw.between(-30.0, 30.0), draw.between(-30.0, 30.0), draw.between(-400.0, 400.0)];
        let shift_mm = std::array::from_fn(|_| draw.between(-20.0, 20.0) as f32);
        let mut affine = [[0.0; 4]; 4];
        affine[3][3] = 1.0;
        for axis in 0..3 {
            let step = orientation.signs()[axis] * f64::from(spacing_mm[axis]);
            affine[axis][axis] = step;
            affine[axis][3] =
                f64::from((centre_mm[axis] - step * (self.shape[axis] as f64 - 1.0) / 2.0) as f32);
        }
        ScanGrid { shape: self.shape, spacing_mm, orientation, affine, shift_mm }
    }
}

impl ScanGrid {
    /// Position of a voxel relative to the body's centre, in mm.
    fn place(&self, index: [usize; 3]) -> [f32; 3] {
        let signs = self.orientation.signs();
        std::array::from_fn(|axis| {
            let middle = (self.shape[axis] as f32 - 1.0) / 2.0;
            signs[axis] as f32 * self.spacing_mm[axis] * (index[axis] as f32 - middle)
                - self.shift_mm[axis]
        })
    }
}
