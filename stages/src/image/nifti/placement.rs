//! Where a file's grid lies: the sform where its code is set and its axes span space, else the
//! qform where its code is set, else a grid centred at the origin with x negated (nibabel's rule).
//!
//! The voxel sizes never decide between the two. What a header contradicts itself in is told as a
//! warning: a predicate, as errors are.

use super::fields::Fields;
use crate::image::Affine;
use crate::image::affine::{IDENTITY, corner_distance, is_usable, multiply, spacing_mm};
use serde::{Deserialize, Serialize};

/// A quaternion this little longer than 1 is rounding.
const LONGER: f64 = 3.0 * f32::EPSILON as f64;
/// Voxel sizes that agree to this share are the same.
const SAME_SIZE: f64 = 1e-5;
/// So many voxels apart, two matrices mean two places.
const ELSEWHERE: f64 = 0.5;

/// A header's words on space besides the affine, which results on its grid repeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Space {
    /// 0 if unset or unusable.
    pub sform_code: i16,
    /// 0 if unset or unusable.
    pub qform_code: i16,
    /// Of space and time, as NIfTI writes them.
    pub units: u8,
    /// The qform itself, if its code is set: it may differ from the sform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qform: Option<Qform>,
}

/// A qform as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Qform {
    /// 1 or −1: the direction of the third axis.
    pub qfac: f32,
    /// b, c, d.
    pub quaternion: [f32; 3],
    /// The first voxel's place in mm.
    pub offset: [f32; 3],
}

/// A grid's affine, with warnings.
pub(super) struct GridPlacement {
    pub affine: Affine,
    pub space: Space,
    pub warnings: Vec<String>,
}

/// The affine for a grid with this `shape`. The error is a predicate.
pub(super) fn place(fields: &Fields, shape: [usize; 3]) -> Result<GridPlacement, String> {
    let mut warnings = vec![];
    warnings.extend(unknown_code("sform", fields.sform_code));
    warnings.extend(unknown_code("qform", fields.qform_code));
    warnings.extend(foreign_unit(fields.units));
    let sform = has_code(fields.sform_code).then(|| sform(fields));
    let qform = has_code(fields.qform_code).then(|| qform(fields));
    let good_sform = sform.filter(is_usable);
    let good_qform = qform.clone().and_then(Result::ok).filter(is_usable);
    let space = space(fields, good_sform.is_some(), good_qform.is_some());
    let forms = Forms { sform, good_sform, qform, good_qform };
    let affine = forms.counting(fields, shape, &mut warnings)?;
    Ok(GridPlacement { affine, space, warnings })
}

fn space(fields: &Fields, has_sform: bool, has_qform: bool) -> Space {
    Space {
        sform_code: if has_sform { fields.sform_code as i16 } else { 0 },
        qform_code: if has_qform { fields.qform_code as i16 } else { 0 },
        units: fields.units,
        qform: has_qform.then(|| Qform {
            qfac: qfac(fields) as f32,
            quaternion: fields.quaternion.map(|number| number as f32),
            offset: fields.qform_offset.map(|number| number as f32),
        }),
    }
}

const NO_FORM_SPANS: &str =
    "has an sform whose axes do not span space, and no qform that does; correct its header";
const NO_FORM_NOR_SIZES: &str =
    "has neither sform nor qform, and voxel sizes that are no numbers; correct its header";

/// The two matrices of a header with a set code; good if their axes span space.
struct Forms {
    sform: Option<Affine>,
    good_sform: Option<Affine>,
    qform: Option<Result<Affine, String>>,
    good_qform: Option<Affine>,
}

impl Forms {
    /// The matrix that counts: a good sform, else a good qform, else the grid's middle as nibabel
    /// has it. A bad one is never replaced without a warning.
    fn counting(
        self,
        fields: &Fields,
        shape: [usize; 3],
        warnings: &mut Vec<String>,
    ) -> Result<Affine, String> {
        Ok(match (self.good_sform, self.sform, self.good_qform, self.qform) {
            (Some(affine), _, other, _) => {
                warnings.extend(other_size(fields, &affine));
                let same_code = fields.sform_code == fields.qform_code;
                let other = other.filter(|_| same_code);
                warnings.extend(other.and_then(|other| other_place(&affine, &other, shape)));
                affine
            }
            (_, Some(_), Some(affine), _) => {
                warnings.push("has an sform whose axes do not span space; its qform counts".into());
                affine
            }
            (_, Some(_), None, _) => return Err(NO_FORM_SPANS.into()),
            (_, _, Some(affine), _) => {
                warnings.extend(no_size(fields));
                affine
            }
            (_, _, _, Some(Err(trouble))) => return Err(trouble),
            (_, _, _, Some(Ok(_))) => {
                return Err("has a qform whose axes do not span space; correct its header".into());
            }
            _ => {
                warnings.extend(no_size(fields));
                Some(centred(fields)).filter(is_usable).ok_or(NO_FORM_NOR_SIZES)?
            }
        })
    }
}

fn has_code(code: i64) -> bool {
    (1..=5).contains(&code)
}

fn unknown_code(what: &str, code: i64) -> Option<String> {
    (code != 0 && !has_code(code))
        .then(|| format!("has the unknown {what} code {code}; it is taken for one that is not set"))
}

/// Readers with and without conversion between units differ.
fn foreign_unit(units: u8) -> Option<String> {
    let unit = match units & 7 {
        1 => "metres",
        3 => "micrometres",
        _ => return None,
    };
    Some(format!("says that its unit is {unit}; its sizes are taken for mm as they stand"))
}

/// A warning if the voxel sizes are not the sform's.
fn other_size(fields: &Fields, sform: &Affine) -> Option<String> {
    let (said, true_size) = (sizes(fields).map(f64::abs), spacing_mm(sform));
    let agree =
        (0..3).all(|axis| (said[axis] - true_size[axis]).abs() <= SAME_SIZE * true_size[axis]);
    let [pixdim, sform] =
        [said, true_size].map(|sizes| sizes.map(|size| (size as f32).to_string()).join(" x "));
    (!agree).then(|| {
        format!(
            "has voxel sizes (pixdim) of {pixdim} mm, but an sform of {sform} mm; the sform counts"
        )
    })
}

/// Warns if two matrices with equal codes lead to different places.
fn other_place(sform: &Affine, qform: &Affine, shape: [usize; 3]) -> Option<String> {
    let apart = corner_distance(sform, qform, shape);
    (apart > ELSEWHERE).then(|| {
        format!(
            "has a qform that lies up to {apart:.1} voxels from its sform, though both have one \
             code; the sform counts"
        )
    })
}

/// Warns if a needed voxel size is missing.
fn no_size(fields: &Fields) -> Option<String> {
    let missing = sizes(fields).iter().filter(|size| **size == 0.0).count();
    (missing > 0)
        .then(|| format!("has no voxel size (pixdim 0) along {missing} of its axes; 1 mm is taken"))
}

fn sizes(fields: &Fields) -> [f64; 3] {
    [fields.pixdim[1], fields.pixdim[2], fields.pixdim[3]]
}

/// The voxel sizes as nibabel repairs them: positive, and 1 for 0.
fn voxel_size(fields: &Fields) -> [f64; 3] {
    sizes(fields).map(|size| if size == 0.0 { 1.0 } else { size.abs() })
}

fn qfac(fields: &Fields) -> f64 {
    if fields.pixdim[0] == -1.0 { -1.0 } else { 1.0 }
}

fn sform(fields: &Fields) -> Affine {
    let [x, y, z] = fields.sform;
    [x, y, z, IDENTITY[3]]
}

/// Rotation by the quaternion, zoom by the voxel sizes, and the offset (NIfTI-1, "method 2").
fn qform(fields: &Fields) -> Result<Affine, String> {
    let [b, c, d] = fields.quaternion;
    let rest = 1.0 - (b * b + c * c + d * d);
    if rest.is_nan() || rest <= -LONGER {
        return Err("has a qform whose quaternion is longer than 1; correct its header".into());
    }
    let a = if rest.abs() < LONGER { 0.0 } else { rest.sqrt() };
    let size = voxel_size(fields);
    let zoom = [size[0], size[1], size[2] * qfac(fields)];
    let rotation = rotation([a, b, c, d]);
    let mut affine = IDENTITY;
    for row in 0..3 {
        for column in 0..3 {
            affine[row][column] = rotation[row][column] * zoom[column];
        }
        affine[row][3] = fields.qform_offset[row];
    }
    Ok(affine)
}

/// A quaternion's rotation, at any length.
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
fn centred(fields: &Fields) -> Affine {
    let (mut zoom, mut shift, size) = (IDENTITY, IDENTITY, voxel_size(fields));
    for axis in 0..3 {
        let sign = if axis == 0 { -1.0 } else { 1.0 };
        zoom[axis][axis] = sign * size[axis];
        shift[axis][3] = -(fields.dim[axis + 1] as f64 - 1.0) / 2.0;
    }
    multiply(&zoom, &shift)
}
