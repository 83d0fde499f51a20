//! A case's statistics, as needed for planning.

use crate::error::Result;
use crate::image::Volume;
use crate::image::affine::spacing_mm;
use crate::image::crop::Box3;
use crate::image::intensity_distribution::IntensityDistribution;
use crate::image::nifti::{LabelMap, Scratch, load_label};
use crate::image::nonzero::nonzero_box;
use crate::image::oriented::OrientedImage;
use crate::image::preparation::AxisOrder;
use crate::image::prepared::Files;

/// Shape, voxel size and intensities of a case, turned to RAS.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseStatistics {
    /// Shape (x, y, z) of the box around voxels with a non-zero channel.
    pub shape_after_crop: [usize; 3],
    /// Voxel size in mm: x, y, z.
    pub spacing: [f64; 3],
    /// The box's share in the image's voxels.
    pub relative_size_after_cropping: f64,
    /// For each channel, the box's labelled values.
    pub foreground: Vec<IntensityDistribution>,
}

impl CaseStatistics {
    /// Reads a case's files. Without a label nothing is foreground.
    pub fn read(scratch: &mut Scratch, files: Files) -> Result<CaseStatistics> {
        let OrientedImage { frame, image, .. } =
            OrientedImage::load(scratch, AxisOrder::Ras, files)?;
        let whole = Box3::whole(image.shape);
        let part = nonzero_box(image.each_channel(), image.shape).unwrap_or(whole);
        let label = match &files.case.label {
            None => vec![],
            Some(file) => {
                let LabelMap { header, voxels, .. } =
                    load_label(file, "label", files.values, scratch)?;
                let turn = frame.turn_to_prepared("label", &header.grid())?;
                let (shape, affine, data) = (header.shape, header.affine, voxels.into_owned());
                turn.apply(Volume { channels: 1, shape, data, affine }).data
            }
        };
        let [kept, all] =
            [part.shape(), image.shape].map(|shape| shape.iter().product::<usize>() as f64);
        Ok(CaseStatistics {
            shape_after_crop: part.shape(),
            spacing: spacing_mm(&image.affine),
            relative_size_after_cropping: kept / all,
            foreground: foreground(&image, &label, &part),
        })
    }
}

/// The values of labelled voxels in the box, channel by channel.
fn foreground(image: &Volume<f32>, label: &[u8], part: &Box3) -> Vec<IntensityDistribution> {
    let [width, height, _] = image.shape;
    let mut labelled: Vec<usize> = vec![];
    let rows = label.chunks_exact(width.max(1)).enumerate().filter(|(row, labels)| {
        let (y, z) = (row % height, row / height);
        (part.start[1]..part.end[1]).contains(&y)
            && (part.start[2]..part.end[2]).contains(&z)
            // Told for whole rows first, many voxels at a time.
            && labels.iter().fold(0, |all, label| all | label) != 0
    });
    for (row, labels) in rows {
        let inside = (part.start[0]..part.end[0]).filter(|x| labels[*x] > 0);
        labelled.extend(inside.map(|x| row * width + x));
    }
    let values = image.each_channel().map(|channel| {
        let values = labelled.iter().map(|voxel| channel[*voxel]);
        IntensityDistribution::of(values.collect())
    });
    values.collect()
}
