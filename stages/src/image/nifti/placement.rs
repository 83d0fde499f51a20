//! Where a file's grid lies: nibabel's best affine, then MONAI's correction of disagreeing headers.

use crate::image::Affine;
use crate::image::affine::{IDENTITY, multiply};
use nifti::NiftiHeader;

/// The affine that MONAI's reader gives: the sform if its code is 1 to 5, else the qform if its
/// code is, else a grid centred at the origin with x negated; and where that disagrees with the
/// voxel sizes, the qform if it agrees.
pub(super) fn affine(raw: &NiftiHeader) -> Result<Affine, String> {
    let size = voxel_size(raw);
    let best = match (has_code(raw.sform_code), has_code(raw.qform_code)) {
        (true, _) => sform(raw),
        (false, true) => qform(raw, size)?,
        (false, false) => return Ok(centred(raw, size)),
    };
    Ok(if has_code(raw.sform_code) { corrected(raw, size, best) } else { best })
}

/// MONAI's `correct_nifti_header_if_necessary`. It compares as many columns as the file has axes:
/// with four, it takes the translation for the fourth axis's step. Surprising, and the reference.
fn corrected(raw: &NiftiHeader, size: [f32; 3], sform: Affine) -> Affine {
    let axes = usize::from(raw.dim[0]);
    if axes >= 5 || agrees(&sform, raw, size, axes) {
        return sform;
    }
    match qform(raw, size) {
        // The header keeps what is set into it as float32.
        Ok(qform) if agrees(&qform, raw, size, axes) => {
            qform.map(|row| row.map(|number| f64::from(number as f32)))
        }
        _ => sform,
    }
}

/// Whether the norms of the columns are the voxel sizes, to 1e-5 relative.
fn agrees(affine: &Affine, raw: &NiftiHeader, size: [f32; 3], axes: usize) -> bool {
    (0..axes.min(4)).all(|column| {
        let norm = (0..4.min(axes))
            .map(|row| affine[row][column] * affine[row][column])
            .sum::<f64>()
            .sqrt();
        let norm = if norm == 0.0 { 1.0 } else { norm };
        let step = f64::from(if column < 3 { size[column] } else { raw.pixdim[4] });
        (norm - step).abs() <= 1e-8 + 1e-5 * step.abs()
    })
}

fn has_code(code: i16) -> bool {
    (1..=5).contains(&code)
}

/// The voxel sizes as nibabel repairs them: positive, and 1 for 0.
fn voxel_size(raw: &NiftiHeader) -> [f32; 3] {
    std::array::from_fn(
        |axis| if raw.pixdim[axis + 1] == 0.0 { 1.0 } else { raw.pixdim[axis + 1].abs() },
    )
}

fn sform(raw: &NiftiHeader) -> Affine {
    let mut affine = IDENTITY;
    for (row, numbers) in [raw.srow_x, raw.srow_y, raw.srow_z].iter().enumerate() {
        affine[row] = numbers.map(f64::from);
    }
    affine
}

/// Rotation by the quaternion, zoom by the voxel sizes, and the offset (NIfTI-1, "method 2").
fn qform(raw: &NiftiHeader, size: [f32; 3]) -> Result<Affine, String> {
    let [b, c, d] = [raw.quatern_b, raw.quatern_c, raw.quatern_d].map(f64::from);
    let rest = 1.0 - (b * b + c * c + d * d);
    let small = 3.0 * f64::from(f32::EPSILON);
    if rest.is_nan() || rest <= -small {
        return Err("has a qform whose quaternion is longer than 1; correct its header".into());
    }
    let a = if rest.abs() < small { 0.0 } else { rest.sqrt() };
    let qfac = if raw.pixdim[0] == -1.0 { -1.0 } else { 1.0 };
    let zoom = [f64::from(size[0]), f64::from(size[1]), f64::from(size[2]) * qfac];
    let rotation = rotation([a, b, c, d]);
    let offset = [raw.quatern_x, raw.quatern_y, raw.quatern_z].map(f64::from);
    let mut affine = IDENTITY;
    for row in 0..3 {
        for column in 0..3 {
            affine[row][column] = rotation[row][column] * zoom[column];
        }
        affine[row][3] = offset[row];
    }
    Ok(affine)
}

/// The rotation of a quaternion of any length.
fn rotation([w, x, y, z]: [f64; 4]) -> [[f64; 3]; 3] {
    let square = w * w + x * x + y * y + z * z;
    if square < f64::EPSILON {
        return [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    }
    let s = 2.0 / square;
    let (xs, ys, zs) = (x * s, y * s, z * s);
    let (wx, wy, wz) = (w * xs, w * ys, w * zs);
    let (xx, xy, xz) = (x * xs, x * ys, x * zs);
    let (yy, yz, zz) = (y * ys, y * zs, z * zs);
    [
        [1.0 - (yy + zz), xy - wz, xz + wy],
        [xy + wz, 1.0 - (xx + zz), yz - wx],
        [xz - wy, yz + wx, 1.0 - (xx + yy)],
    ]
}

/// No codes: x negated, and the middle of the grid at the origin (nibabel's base affine).
fn centred(raw: &NiftiHeader, size: [f32; 3]) -> Affine {
    let mut zoom = IDENTITY;
    let mut shift = IDENTITY;
    for axis in 0..3 {
        let sign = if axis == 0 { -1.0 } else { 1.0 };
        zoom[axis][axis] = sign * f64::from(size[axis]);
        shift[axis][3] = -(f64::from(raw.dim[axis + 1]) - 1.0) / 2.0;
    }
    multiply(&zoom, &shift)
}
