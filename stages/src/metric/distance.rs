//! Exact Euclidean distances between sets of voxels whose sides differ.
//!
//! Separable: along x by scanning, along y and z as the lower envelope of parabolas
//! (Felzenszwalb and Huttenlocher, Distance Transforms of Sampled Functions, 2012). Only the
//! columns along z that hold a voxel in question are kept.

use std::collections::BTreeSet;

/// For each voxel set in `from`, in index order (x fastest), the distance in mm to the nearest
/// voxel set in `to`; infinite where `to` is empty. Single precision, as MONAI keeps them.
pub fn distances_mm(
    from: &[bool],
    to: &[bool],
    shape: [usize; 3],
    spacing_mm: [f64; 3],
) -> Vec<f32> {
    let [nx, ny, nz] = shape;
    let slab = nx * ny;
    let columns = wanted_columns(from, slab);
    let rows: BTreeSet<usize> = columns.iter().map(|column| column % nx).collect();
    let mut envelope = Envelope::default();
    let mut plane = vec![f64::INFINITY; slab];
    let mut squared = vec![f64::INFINITY; columns.len() * nz];
    for z in (0..nz).filter(|z| to[z * slab..(z + 1) * slab].contains(&true)) {
        plane.fill(f64::INFINITY);
        let sites = &to[z * slab..(z + 1) * slab];
        let with_sites =
            sites.chunks(nx).zip(plane.chunks_mut(nx)).filter(|(sites, _)| sites.contains(&true));
        with_sites.for_each(|(sites, row)| scan(sites, spacing_mm[0], row));
        rows.iter().for_each(|x| envelope.lower(&mut plane, *x, nx, ny, spacing_mm[1]));
        let layer = &mut squared[z * columns.len()..(z + 1) * columns.len()];
        layer.iter_mut().zip(&columns).for_each(|(squared, column)| *squared = plane[*column]);
    }
    (0..columns.len())
        .for_each(|index| envelope.lower(&mut squared, index, columns.len(), nz, spacing_mm[2]));
    let wanted = (0..nz).flat_map(|z| columns.iter().map(move |column| from[column + z * slab]));
    wanted
        .zip(squared)
        .filter(|(wanted, _)| *wanted)
        .map(|(_, squared)| squared.sqrt() as f32)
        .collect()
}

/// A mask's columns (x, y) with a voxel at any z, rising.
fn wanted_columns(mask: &[bool], slab: usize) -> Vec<usize> {
    let mut columns = vec![false; slab];
    mask.chunks(slab)
        .for_each(|layer| columns.iter_mut().zip(layer).for_each(|(column, set)| *column |= set));
    (0..slab).filter(|column| columns[*column]).collect()
}

/// The squared distance along one row to its nearest site.
fn scan(sites: &[bool], step: f64, row: &mut [f64]) {
    let mut last = None;
    for (x, site) in sites.iter().enumerate() {
        last = if *site { Some(x) } else { last };
        row[x] = last.map_or(f64::INFINITY, |last| square(x - last, step));
    }
    let mut next = None;
    for x in (0..sites.len()).rev() {
        next = if sites[x] { Some(x) } else { next };
        row[x] = next.map_or(row[x], |next| row[x].min(square(next - x, step)));
    }
}

fn square(steps: usize, step: f64) -> f64 {
    (steps as f64 * step) * (steps as f64 * step)
}

/// Scratch for one line.
#[derive(Default)]
struct Envelope {
    line: Vec<f64>,
    /// The envelope's parabolas: each vertex, and the position its parabola takes over from.
    vertices: Vec<(usize, f64)>,
}

impl Envelope {
    /// Replaces a line (`length` values from `first`, `stride` apart) by the lower envelope of the
    /// parabolas that stand on its values, with voxels `step` mm apart.
    fn lower(&mut self, values: &mut [f64], first: usize, stride: usize, length: usize, step: f64) {
        self.line.clear();
        self.line.extend((0..length).map(|i| values[first + i * stride]));
        self.build(step * step);
        let mut current = 0;
        for i in 0..if self.vertices.is_empty() { 0 } else { length } {
            while self.vertices.get(current + 1).is_some_and(|(_, begin)| *begin <= i as f64) {
                current += 1;
            }
            let vertex = self.vertices[current].0;
            let away = (i as f64 - vertex as f64) * step;
            values[first + i * stride] = self.line[vertex] + away * away;
        }
    }

    fn build(&mut self, weight: f64) {
        self.vertices.clear();
        for (i, height) in self.line.iter().enumerate().filter(|(_, height)| height.is_finite()) {
            let place = i as f64;
            let mut begin = f64::NEG_INFINITY;
            while let Some((vertex, since)) = self.vertices.last() {
                let other = *vertex as f64;
                begin = ((height - self.line[*vertex]) / weight + place * place - other * other)
                    / (2.0 * (place - other));
                if begin > *since {
                    break;
                }
                self.vertices.pop();
                begin = f64::NEG_INFINITY;
            }
            self.vertices.push((i, begin));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Draw;

    #[test]
    fn distances_equal_those_of_trying_every_pair() {
        let (shape, spacing) = ([9, 7, 11], [0.7, 1.3, 2.9]);
        for (item, share) in [(0, 0.003), (1, 0.05), (2, 0.5)] {
            let mut draw = Draw::new(1, 0, item, "test");
            let mut mask = || (0..9 * 7 * 11).map(|_| draw.chance(share)).collect::<Vec<bool>>();
            let (from, to) = (mask(), mask());
            let places = |mask: &[bool]| -> Vec<[f64; 3]> {
                let set = mask.iter().enumerate().filter(|(_, set)| **set);
                set.map(|(i, _)| {
                    [(i % 9) as f64 * 0.7, (i / 9 % 7) as f64 * 1.3, (i / 63) as f64 * 2.9]
                })
                .collect()
            };
            let distances = distances_mm(&from, &to, shape, spacing);
            assert_eq!(distances.len(), places(&from).len());
            for (a, found) in places(&from).iter().zip(distances) {
                let each = places(&to)
                    .into_iter()
                    .map(|b| (0..3).map(|i| (a[i] - b[i]).powi(2)).sum::<f64>().sqrt());
                let least = each.fold(f64::INFINITY, f64::min) as f32;
                assert!((found - least).abs() <= 1e-5 || found == least, "{found} is not {least}");
            }
        }
    }
}
