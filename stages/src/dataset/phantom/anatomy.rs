//! The anatomy in one case: the organs' places, and each voxel's tissues.
//!
//! Coordinates are millimetres from the body's centre: right, anterior, superior.

use super::organ::Organ;
use super::shape::{Ellipsoid, Point, Waves, column, inside};
use super::tissue::{TISSUES, Tissue};
use crate::random::Draw;

/// The shapes of one case.
#[derive(Clone, Debug)]
pub struct Anatomy {
    body: [f32; 2],
    fat_mm: f32,
    wall_mm: f32,
    dome_mm: f32,
    rib_phase: f32,
    aorta: [f32; 2],
    liver: [Ellipsoid; 2],
    kidneys: [Ellipsoid; 2],
    pelves: [Ellipsoid; 2],
    stomach: Ellipsoid,
    gas_level: f32,
    bowel: Ellipsoid,
    spleen: Ellipsoid,
    gap: Waves,
    gap_mm: f32,
    food: Waves,
}

/// Tissue mixture of a voxel; the weights sum to 1.
pub struct Mix {
    /// By [`Tissue`].
    pub weights: [f32; TISSUES],
}

impl Mix {
    /// The organ's share in the voxel.
    pub fn of(&self, organ: Organ) -> f32 {
        match organ {
            Organ::Spleen => self.weights[Tissue::Spleen as usize],
            Organ::Liver => self.weights[Tissue::Liver as usize],
            Organ::Kidneys => {
                self.weights[Tissue::Kidney as usize] + self.weights[Tissue::Pelvis as usize]
            }
            Organ::Stomach => {
                self.weights[Tissue::Stomach as usize] + self.weights[Tissue::Gas as usize]
            }
        }
    }

    /// Replaces `part` of a voxel's mixture by a tissue.
    fn over(&mut self, tissue: Tissue, part: f32) {
        if part > 0.0 {
            self.weights.iter_mut().for_each(|weight| *weight *= 1.0 - part);
            self.weights[tissue as usize] += part;
        }
    }
}

/// Centres in mm, each with its largest shift along x, y and z. The order is that of drawing.
const CENTRES: [([f64; 3], [f64; 3]); 7] = [
    ([52.0, 2.0, 22.0], [6.0, 6.0, 10.0]),     // liver
    ([5.0, 34.0, 32.0], [10.0, 5.0, 10.0]),    // its left lobe
    ([50.0, -42.0, -38.0], [6.0, 5.0, 12.0]),  // right kidney
    ([-50.0, -40.0, -26.0], [6.0, 6.0, 14.0]), // left kidney
    ([-42.0, 22.0, 26.0], [8.0, 7.0, 12.0]),   // stomach
    ([-78.0, 18.0, -34.0], [8.0, 9.0, 12.0]),  // bowel
    ([-84.0, -26.0, 18.0], [8.0, 13.0, 16.0]), // spleen
];

/// Half axes in mm, each with its relative variation; organs as in `CENTRES`.
const RADII: [([f64; 3], f64); 7] = [
    ([64.0, 58.0, 58.0], 0.12),
    ([52.0, 24.0, 30.0], 0.2),
    ([24.0, 20.0, 46.0], 0.12),
    ([25.0, 21.0, 46.0], 0.15),
    ([36.0, 30.0, 42.0], 0.2),
    ([22.0, 22.0, 26.0], 0.2),
    ([22.0, 36.0, 50.0], 0.22),
];

/// Largest turns in degrees of right kidney, left kidney, spleen and stomach.
const TURNS: [f64; 4] = [10.0, 12.0, 20.0, 15.0];

impl Anatomy {
    /// Draws one.
    pub fn draw(draw: &mut Draw) -> Anatomy {
        let size = draw.between(0.92, 1.06);
        let fat = draw.between(8.0, 22.0);
        let [liver, lobe, right, left, stomach, bowel, spleen] = CENTRES.map(|(base, by)| {
            std::array::from_fn(|axis| (base[axis] + draw.between(-by[axis], by[axis])) * size)
        });
        let [
            liver_radii,
            lobe_radii,
            right_radii,
            left_radii,
            stomach_radii,
            bowel_radii,
            spleen_radii,
        ] = RADII
            .map(|(base, by)| base.map(|radius| radius * size * draw.between(1.0 - by, 1.0 + by)));
        let [right_turn, left_turn, spleen_turn, stomach_turn] =
            TURNS.map(|by| -> [f64; 3] { std::array::from_fn(|_| draw.between(-by, by)) });
        Anatomy {
            body: [(145.0 * size) as f32, (102.0 * size * draw.between(0.94, 1.06)) as f32],
            fat_mm: fat as f32,
            wall_mm: draw.between(9.0, 14.0) as f32,
            dome_mm: (draw.between(72.0, 90.0) * size) as f32,
            rib_phase: draw.between(0.0, 28.0) as f32,
            aorta: [(-12.0 * size) as f32, (-30.0 * size) as f32],
            liver: [
                Ellipsoid::new(liver, liver_radii).wavy(draw, 2.5),
                Ellipsoid::new(lobe, lobe_radii).turned([0.0, 15.0, 0.0]).wavy(draw, 2.0),
            ],
            pelves: [(right, right_radii), (left, left_radii)]
                .map(|(centre, radii)| Ellipsoid::new(centre, radii.map(|radius| radius * 0.42))),
            kidneys: [
                Ellipsoid::new(right, right_radii).turned(right_turn).wavy(draw, 1.0),
                Ellipsoid::new(left, left_radii).turned(left_turn).wavy(draw, 1.0),
            ],
            gas_level: (stomach[1] + stomach_radii[1] * draw.between(0.3, 1.1)) as f32,
            stomach: Ellipsoid::new(stomach, stomach_radii).turned(stomach_turn).wavy(draw, 3.0),
            bowel: Ellipsoid::new(bowel, bowel_radii).wavy(draw, 3.0),
            spleen: Ellipsoid::new(spleen, spleen_radii)
                .turned([spleen_turn[0], spleen_turn[1], spleen_turn[2] + 20.0])
                .bent(draw.between(0.0, 0.006))
                .wavy(draw, 2.0),
            gap: Waves::draw(draw, 2.2, 40.0, 90.0),
            gap_mm: draw.between(2.0, 4.0) as f32,
            food: Waves::draw(draw, 0.03, 12.0, 25.0),
        }
    }

    /// Mixture of the voxel at `p`, with edges blurred over `width_mm`.
    pub fn mix(&self, p: Point, width_mm: f32) -> Mix {
        let mut mix = Mix { weights: [0.0; TISSUES] };
        let skin = column(p, [0.0, 0.0], self.body);
        let part = |distance: f32| inside(distance, width_mm);
        if part(skin) == 0.0 {
            mix.weights[Tissue::Air as usize] = 1.0;
            return mix;
        }
        let cavity = skin + self.fat_mm + self.wall_mm;
        let (body, wall, within) = (part(skin), part(skin + self.fat_mm), part(cavity));
        mix.weights[Tissue::Air as usize] = 1.0 - body;
        mix.weights[Tissue::Fat as usize] = body - wall + within;
        mix.weights[Tissue::Muscle as usize] = wall - within;
        self.frame(p, skin, &part, &mut mix);
        if cavity < width_mm {
            self.organs(p, cavity, &part, &mut mix);
        }
        mix
    }

    /// Ribs, the muscles beside the spine, the spine and the aorta.
    fn frame(&self, p: Point, skin: f32, part: &impl Fn(f32) -> f32, mix: &mut Mix) {
        let depth = (skin + self.fat_mm + self.wall_mm / 2.0).abs() - 3.5;
        let along = (p[2] + 0.35 * p[1] + self.rib_phase).rem_euclid(28.0) - 14.0;
        if p[2] > -30.0 {
            mix.over(Tissue::Bone, part(depth.max(along.abs() - 5.0)));
        }
        for side in [-1.0, 1.0] {
            mix.over(
                Tissue::Muscle,
                part(column(p, [side * 36.0, -self.body[1] + 38.0], [27.0, 19.0])),
            );
        }
        let spine = column(p, [0.0, -self.body[1] + 48.0], [19.0, 17.0]);
        let disc = (p[2] + 2.0 * self.rib_phase).rem_euclid(34.0) < 8.0;
        mix.over(if disc { Tissue::Disc } else { Tissue::Bone }, part(spine));
        mix.over(Tissue::Blood, part(column(p, self.aorta, [10.0, 10.0])));
    }

    /// The shares of liver, kidneys, stomach, spleen and bowel. Each leaves room for those before
    /// it; the spleen keeps a layer of fat from its neighbours, vanishing in places.
    fn shares(&self, p: Point, cavity: f32, dome: f32, part: &impl Fn(f32) -> f32) -> [f32; 5] {
        let bound = (cavity + 1.0).max(dome + 3.0);
        let column_free = -column(p, [0.0, -self.body[1] + 48.0], [22.0, 20.0]);
        let bound = bound.max(column_free);
        let liver = self.liver[0].distance(p).min(self.liver[1].distance(p)).max(bound);
        let kidney = self.kidneys[0].distance(p).min(self.kidneys[1].distance(p)).max(bound);
        let stomach = self.stomach.distance(p).max(bound).max(1.5 - liver).max(1.0 - kidney);
        let neighbour = kidney.min(stomach).min(liver);
        let (spleen, bowel) =
            (self.spleen.distance(p).max(bound), self.bowel.distance(p).max(bound));
        let near = spleen.min(bowel) < 10.0;
        let gap = if near { (self.gap_mm + self.gap.at(p)).clamp(0.0, 6.0) } else { 0.0 };
        let spleen = spleen.max(cavity + gap * 0.6);
        let spleen = part(spleen).min(1.0 - part(neighbour - gap));
        let bowel = part(bowel).min(1.0 - part(neighbour - gap * 0.7)).min(1.0 - spleen);
        [part(liver), part(kidney), part(stomach), spleen, bowel]
    }

    /// The cavity's organs.
    fn organs(&self, p: Point, cavity: f32, part: &impl Fn(f32) -> f32, mix: &mut Mix) {
        let across = p[0].abs() - 58.0;
        let dome = p[2] - self.dome_mm + 0.0045 * (across * across + p[1] * p[1]);
        let [liver, kidney, stomach, spleen, bowel] = self.shares(p, cavity, dome, part);
        let lung = part(-dome);
        mix.over(Tissue::Lung, lung * part(cavity));
        let full = liver + kidney + stomach + spleen + bowel;
        if full <= 0.0 {
            return;
        }
        let scale = 1.0 / full.max(1.0);
        mix.weights.iter_mut().for_each(|weight| *weight *= 1.0 - full.min(1.0));
        let pelvis = kidney * part(self.pelves[0].distance(p).min(self.pelves[1].distance(p)));
        let gas = stomach * part(self.gas_level - p[1]);
        let food = if stomach > gas {
            (stomach - gas) * (0.04 + self.food.at(p)).clamp(0.0, 0.2)
        } else {
            0.0
        };
        let parts = [
            (Tissue::Liver, liver),
            (Tissue::Kidney, kidney - pelvis),
            (Tissue::Pelvis, pelvis),
            (Tissue::Stomach, stomach - gas - food),
            (Tissue::Fat, food),
            (Tissue::Gas, gas),
            (Tissue::Bowel, bowel),
            (Tissue::Spleen, spleen),
        ];
        parts.iter().for_each(|(tissue, part)| mix.weights[*tissue as usize] += part * scale);
    }
}
