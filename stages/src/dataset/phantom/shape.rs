//! Shapes as distances: negative inside, in millimetres, exact enough near the surface.

use crate::random::Draw;
use std::f64::consts::TAU;

/// A point in millimetres: right, anterior, superior.
pub type Point = [f32; 3];

/// A distance counting as far away.
const FAR: f32 = 100.0;

/// An ellipsoid turned about its centre, bent along its first axis, with a wavy surface.
#[derive(Clone, Debug)]
pub struct Ellipsoid {
    centre: Point,
    radii: Point,
    rows: [Point; 3],
    bend: f32,
    waves: Waves,
    reach: f32,
}

impl Ellipsoid {
    /// A smooth ellipsoid with these half axes in mm.
    pub fn new(centre: [f64; 3], radii: [f64; 3]) -> Ellipsoid {
        let rows = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let [centre, radii] = [centre, radii].map(|values| values.map(|value| value as f32));
        let reach = 1.5 * radii.iter().copied().fold(0.0, f32::max) + 15.0;
        Ellipsoid { centre, radii, rows, bend: 0.0, waves: Waves::default(), reach }
    }

    /// Turns it by these angles in degrees about x, then y, then z.
    pub fn turned(mut self, degrees: [f64; 3]) -> Ellipsoid {
        for (axis, angle) in degrees.iter().enumerate() {
            let (sin, cos) =
                (libm::sin(angle * TAU / 360.0) as f32, libm::cos(angle * TAU / 360.0) as f32);
            let (i, j) = ((axis + 1) % 3, (axis + 2) % 3);
            for row in &mut self.rows {
                (row[i], row[j]) = (cos * row[i] - sin * row[j], sin * row[i] + cos * row[j]);
            }
        }
        self
    }

    /// Bends it: its first axis moves by `bend` × the square of the distance along the others
    /// (1/mm).
    pub fn bent(self, bend: f64) -> Ellipsoid {
        Ellipsoid { bend: bend as f32, ..self }
    }

    /// Makes the surface wavy, with this height in mm.
    pub fn wavy(self, draw: &mut Draw, height_mm: f64) -> Ellipsoid {
        Ellipsoid { waves: Waves::draw(draw, height_mm, 35.0, 80.0), ..self }
    }

    /// The approximate distance to the surface; a large number if far away.
    pub fn distance(&self, p: Point) -> f32 {
        let from: Point = std::array::from_fn(|axis| p[axis] - self.centre[axis]);
        if from[0] * from[0] + from[1] * from[1] + from[2] * from[2] > self.reach * self.reach {
            return FAR;
        }
        let mut q = self.rows.map(|row| row[0] * from[0] + row[1] * from[1] + row[2] * from[2]);
        q[0] += self.bend * (q[1] * q[1] + q[2] * q[2]);
        let scaled: Point = std::array::from_fn(|axis| q[axis] / self.radii[axis]);
        let k0 = norm(scaled);
        let k1 = norm(std::array::from_fn(|axis| scaled[axis] / self.radii[axis]));
        let distance = if k1 > 1e-6 { k0 * (k0 - 1.0) / k1 } else { -self.radii[0] };
        if distance.abs() < 3.0 * self.waves.height + 10.0 {
            distance + self.waves.at(p)
        } else {
            distance
        }
    }
}

/// The length of a vector.
pub fn norm(v: Point) -> f32 {
    (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]).sqrt()
}

/// A smooth field of values about 0: three plane waves.
#[derive(Clone, Debug, Default)]
pub struct Waves {
    height: f32,
    waves: Vec<([f32; 3], f32)>,
}

impl Waves {
    /// Waves of this height between two lengths in mm.
    pub fn draw(draw: &mut Draw, height: f64, shortest_mm: f64, longest_mm: f64) -> Waves {
        Waves {
            height: height as f32,
            waves: (0..3)
                .map(|_| {
                    let direction = [draw.normal(), draw.normal(), draw.normal()];
                    let length = libm::sqrt(direction.iter().map(|d| d * d).sum::<f64>()).max(1e-9);
                    let number = TAU / draw.between(shortest_mm, longest_mm);
                    (direction.map(|d| (d / length * number) as f32), (draw.unit() * TAU) as f32)
                })
                .collect(),
        }
    }

    /// The value at a point; its standard deviation is about the height.
    pub fn at(&self, p: Point) -> f32 {
        self.height
            * 0.8
            * self
                .waves
                .iter()
                .map(|(k, phase)| libm::sinf(k[0] * p[0] + k[1] * p[1] + k[2] * p[2] + phase))
                .sum::<f32>()
    }
}

/// The distance to an elliptic cylinder along z.
pub fn column(p: Point, centre: [f32; 2], radii: [f32; 2]) -> f32 {
    let scaled = [(p[0] - centre[0]) / radii[0], (p[1] - centre[1]) / radii[1], 0.0];
    let k0 = norm(scaled);
    let k1 = norm([scaled[0] / radii[0], scaled[1] / radii[1], 0.0]);
    if k1 > 1e-6 { k0 * (k0 - 1.0) / k1 } else { -radii[0].min(radii[1]) }
}

/// A voxel's share inside a surface at this distance; `width_mm` is the voxel's.
pub fn inside(distance: f32, width_mm: f32) -> f32 {
    (0.5 - distance / width_mm).clamp(0.0, 1.0)
}
