//! The area of a mask's surface inside each cube of eight neighbouring voxel centres.
//!
//! The surface of marching cubes: it runs through the middles of the cube's edges that join an
//! inside and an outside corner. Of a cube with more than four corners inside, the complement is
//! taken; on a face whose diagonals disagree, inside corners are kept apart; a loop of more than
//! three points is filled with the triangles of largest total area. These rules give the areas that
//! MONAI and DeepMind's surface-distance tabulate, which the tests compare.

type CubePoint = [f64; 3];

/// The surface area in mm² for each of the 256 codes. Bit dx + 2·dy + 4·dz of a code is the corner
/// at (dx, dy, dz).
pub fn areas_mm2(spacing_mm: [f64; 3]) -> [f64; 256] {
    let [x, y, z] = spacing_mm;
    let faces = [y * z, x * z, x * y];
    std::array::from_fn(|code| {
        triangles(code).iter().map(|triangle| length(scale(normal(triangle), faces))).sum()
    })
}

/// A code's triangles, with the cube as unit.
fn triangles(code: usize) -> Vec<[CubePoint; 3]> {
    let code = if code.count_ones() > 4 { 255 - code } else { code };
    loops(segments(code)).iter().flat_map(|points| fill(points)).collect()
}

/// The pairs of edge middles joined by the surface on the cube's six faces.
fn segments(code: usize) -> Vec<[CubePoint; 2]> {
    let mut segments = vec![];
    for axis in 0..3 {
        for side in 0..2 {
            let ring: [usize; 4] = [(0, 0), (0, 1), (1, 1), (1, 0)].map(|(first, second)| {
                side << axis | first << ((axis + 1) % 3) | second << ((axis + 2) % 3)
            });
            join(code, ring, &mut segments);
        }
    }
    segments
}

/// The segments on one face, whose corners follow each other in `ring`.
fn join(code: usize, ring: [usize; 4], segments: &mut Vec<[CubePoint; 2]>) {
    let inside = ring.map(|corner| code >> corner & 1 == 1);
    let cut: [CubePoint; 4] = std::array::from_fn(|at| middle(ring[at], ring[(at + 1) % 4]));
    let cuts: Vec<usize> = (0..4).filter(|at| inside[*at] != inside[(at + 1) % 4]).collect();
    match cuts.len() {
        2 => segments.push([cut[cuts[0]], cut[cuts[1]]]),
        4 => (0..4)
            .filter(|at| inside[*at])
            .for_each(|at| segments.push([cut[(at + 3) % 4], cut[at]])),
        _ => {}
    }
}

fn middle(one: usize, other: usize) -> CubePoint {
    std::array::from_fn(|axis| ((one >> axis & 1) + (other >> axis & 1)) as f64 / 2.0)
}

/// Chains segments into closed loops.
fn loops(mut segments: Vec<[CubePoint; 2]>) -> Vec<Vec<CubePoint>> {
    let mut loops = vec![];
    while let Some([first, mut end]) = segments.pop() {
        let mut points = vec![first];
        while end != first {
            points.push(end);
            let Some(index) = segments.iter().position(|segment| segment.contains(&end)) else {
                break;
            };
            let [a, b] = segments.swap_remove(index);
            end = if a == end { b } else { a };
        }
        loops.push(points);
    }
    loops
}

/// The triangles with the largest total area filling a loop.
fn fill(points: &[CubePoint]) -> Vec<[CubePoint; 3]> {
    let [first, .., last] = points else { return vec![] };
    let choices = (1..points.len() - 1).map(|apex| {
        let mut triangles = vec![[*first, points[apex], *last]];
        triangles.extend(fill(&points[..=apex]));
        triangles.extend(fill(&points[apex..]));
        triangles
    });
    choices.max_by(|one, other| area(one).total_cmp(&area(other))).unwrap_or_default()
}

fn area(triangles: &[[CubePoint; 3]]) -> f64 {
    triangles.iter().map(|triangle| length(normal(triangle))).sum()
}

/// Perpendicular to a triangle, as long as its area.
fn normal([a, b, c]: &[CubePoint; 3]) -> CubePoint {
    let (u, v): (CubePoint, CubePoint) =
        (std::array::from_fn(|i| b[i] - a[i]), std::array::from_fn(|i| c[i] - a[i]));
    std::array::from_fn(|i| {
        (u[(i + 1) % 3] * v[(i + 2) % 3] - u[(i + 2) % 3] * v[(i + 1) % 3]) / 2.0
    })
}

fn scale(point: CubePoint, factors: [f64; 3]) -> CubePoint {
    std::array::from_fn(|i| point[i] * factors[i])
}

fn length(point: CubePoint) -> f64 {
    point.iter().map(|part| part * part).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::areas_mm2;

    #[test]
    fn a_flat_surface_has_the_area_of_the_face_and_a_corner_that_of_its_triangle() {
        let areas = areas_mm2([2.0, 3.0, 5.0]);
        assert!(
            (areas[0b0000_1111] - 6.0).abs() < 1e-12,
            "the lower four corners: a face of 2 × 3 mm"
        );
        let triangle = (15f64.powi(2) + 10f64.powi(2) + 6f64.powi(2)).sqrt() / 8.0;
        assert!((areas[1] - triangle).abs() < 1e-12 && (areas[254] - triangle).abs() < 1e-12);
        assert_eq!((areas[0], areas[255]), (0.0, 0.0));
    }
}
