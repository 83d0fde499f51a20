//! Tissues and what they look like: Hounsfield units by contrast phase, or a made-up MRI contrast.

use crate::random::Draw;

/// Number of tissues.
pub const TISSUES: usize = 14;

/// Tissues of a voxel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Tissue {
    /// Around the body.
    Air,
    /// Under the skin and between organs.
    Fat,
    /// The wall, and beside the spine.
    Muscle,
    /// Ribs and vertebrae.
    Bone,
    /// Between vertebrae.
    Disc,
    /// The aorta.
    Blood,
    /// Above the diaphragm.
    Lung,
    /// The liver.
    Liver,
    /// The kidneys.
    Kidney,
    /// The middle of a kidney.
    Pelvis,
    /// The stomach's wall and content.
    Stomach,
    /// Gas in the stomach.
    Gas,
    /// The bend of the colon below the spleen.
    Bowel,
    /// The spleen.
    Spleen,
}

/// Each tissue's intensity in one channel and case, and the channel's noise.
#[derive(Clone, Debug)]
pub struct TissueContrast {
    /// The value of each tissue.
    pub levels: [f32; TISSUES],
    /// The noise's standard deviation.
    pub noise: f32,
}

/// Hounsfield units without contrast medium, in the arterial and in the portal venous phase, in the
/// order of [`Tissue`]. Kidney, stomach and bowel are drawn about the spleen's.
const PHASES: [[f64; TISSUES]; 3] = [
    [-1000.0, -102.0, 52.0, 230.0, 85.0, 42.0, -820.0, 58.0, 0.0, 0.0, 0.0, -850.0, 0.0, 50.0],
    [-1000.0, -102.0, 60.0, 240.0, 90.0, 270.0, -810.0, 78.0, 0.0, 0.0, 0.0, -850.0, 0.0, 122.0],
    [-1000.0, -102.0, 64.0, 240.0, 95.0, 150.0, -815.0, 108.0, 0.0, 0.0, 0.0, -850.0, 0.0, 116.0],
];

impl TissueContrast {
    /// The contrast in a case's channel.
    pub fn draw(seed: u64, index: u64, channel: u64, name: &str) -> TissueContrast {
        let mut draw = Draw::new(seed, channel, index, "phantom contrast");
        if name.eq_ignore_ascii_case("ct") { ct(&mut draw) } else { mri(&mut draw, channel) }
    }
}

fn ct(draw: &mut Draw) -> TissueContrast {
    let mut levels = PHASES[draw.below(3) as usize];
    for tissue in [Tissue::Muscle, Tissue::Liver, Tissue::Spleen, Tissue::Blood] {
        levels[tissue as usize] += draw.between(-7.0, 7.0);
    }
    neighbours(&mut levels, draw, 4.0, 25.0);
    TissueContrast {
        levels: levels.map(|level| level as f32),
        noise: draw.between(12.0, 20.0) as f32,
    }
}

/// The same tissues in the same order of brightness for all cases, at a scale drawn per case, as in
/// MRI.
fn mri(draw: &mut Draw, channel: u64) -> TissueContrast {
    let mut own = Draw::new(0, 0, channel, "phantom sequence");
    let mut levels: [f64; TISSUES] = std::array::from_fn(|_| own.between(150.0, 600.0));
    levels[Tissue::Fat as usize] = own.between(600.0, 900.0);
    for dark in [Tissue::Air, Tissue::Lung, Tissue::Gas, Tissue::Bone] {
        levels[dark as usize] = own.between(20.0, 60.0);
    }
    neighbours(&mut levels, draw, 12.0, 80.0);
    let scale = draw.between(0.5, 3.0);
    TissueContrast {
        levels: levels.map(|level| (level * scale) as f32),
        noise: (draw.between(18.0, 30.0) * scale) as f32,
    }
}

/// Gives the spleen's neighbours its level, but for a little.
fn neighbours(levels: &mut [f64; TISSUES], draw: &mut Draw, little: f64, pelvis: f64) {
    let spleen = levels[Tissue::Spleen as usize];
    for tissue in [Tissue::Kidney, Tissue::Stomach, Tissue::Bowel] {
        levels[tissue as usize] = spleen + draw.between(-little, little);
    }
    levels[Tissue::Pelvis as usize] = spleen - draw.between(pelvis, 2.0 * pelvis);
}
