//! Small matrices: 4×4 affines and geometry's few decompositions.
//!
//! Sums run in the order of the reference's LAPACK, and `solve` divides by a reciprocal as it does,
//! since positions exactly between two voxels hang on the last bit.

/// A 4×4 matrix by rows: voxel index (i, j, k, 1) to millimetres (x, y, z, 1), RAS+.
pub type Affine = [[f64; 4]; 4];

/// The matrix that changes nothing.
pub const IDENTITY: Affine =
    [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]];

/// A 3×3 matrix by rows.
pub type Matrix3 = [[f64; 3]; 3];

/// a · b.
pub fn multiply<const N: usize>(a: &[[f64; N]; N], b: &[[f64; N]; N]) -> [[f64; N]; N] {
    std::array::from_fn(|row| {
        std::array::from_fn(|column| {
            (0..N).fold(0.0, |sum, inner| sum + a[row][inner] * b[inner][column])
        })
    })
}

/// A voxel index's world point.
pub fn apply(affine: &Affine, index: [f64; 3]) -> [f64; 3] {
    let point = [index[0], index[1], index[2], 1.0];
    std::array::from_fn(|row| {
        (0..4).fold(0.0, |sum, inner| sum + affine[row][inner] * point[inner])
    })
}

/// Solves a · X = b by elimination with row pivots; `None` if a pivot is 0 or not finite.
pub fn solve<const N: usize>(a: &[[f64; N]; N], b: &[[f64; N]; N]) -> Option<[[f64; N]; N]> {
    let (mut a, mut x) = (*a, *b);
    for column in 0..N {
        let pivot = (column..N)
            .max_by(|&i, &j| a[i][column].abs().total_cmp(&a[j][column].abs()).then(j.cmp(&i)))?;
        if a[pivot][column] == 0.0 || !a[pivot][column].is_finite() {
            return None;
        }
        a.swap(column, pivot);
        x.swap(column, pivot);
        let reciprocal = 1.0 / a[column][column];
        for row in column + 1..N {
            let factor = a[row][column] * reciprocal;
            a[row] = less(a[row], factor, a[column]);
            x[row] = less(x[row], factor, x[column]);
        }
    }
    for row in (0..N).rev() {
        let reciprocal = 1.0 / a[row][row];
        let known = (row + 1..N).fold(x[row], |rest, inner| less(rest, a[row][inner], x[inner]));
        x[row] = known.map(|number| number * reciprocal);
    }
    Some(x)
}

/// row − factor · other.
fn less<const N: usize>(row: [f64; N], factor: f64, other: [f64; N]) -> [f64; N] {
    std::array::from_fn(|column| row[column] - factor * other[column])
}

/// The inverse; `None` for a singular matrix.
pub fn invert<const N: usize>(a: &[[f64; N]; N]) -> Option<[[f64; N]; N]> {
    let identity =
        std::array::from_fn(|row| std::array::from_fn(|column| f64::from(u8::from(row == column))));
    solve(a, &identity)
}

/// Rotation, zoom and shear: the affine without its translation.
pub fn axes(affine: &Affine) -> Matrix3 {
    std::array::from_fn(|row| std::array::from_fn(|column| affine[row][column]))
}

/// The voxel size along each axis in mm (column norms); 1 instead of 0.
pub fn spacing_mm(affine: &Affine) -> [f64; 3] {
    std::array::from_fn(|column| {
        let norm =
            (0..3).fold(0.0, |sum, row| sum + affine[row][column] * affine[row][column]).sqrt();
        if norm == 0.0 { 1.0 } else { norm }
    })
}

/// The axes' determinant: a voxel's signed volume in mm³.
pub fn determinant(affine: &Affine) -> f64 {
    let m = affine;
    m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
        - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
        + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
}

/// The volume of a voxel in ml (cm³): |det| of the axes / 1000, sheared or not.
pub fn voxel_ml(affine: &Affine) -> f64 {
    determinant(affine).abs() / 1000.0
}

/// The two axes (0 to 2) whose angle is the farthest from a right one, and that angle in degrees.
pub fn most_skewed(affine: &Affine) -> ([usize; 2], f64) {
    let (m, size) = (affine, spacing_mm(affine));
    let [first, rest @ ..] = [[0, 1], [0, 2], [1, 2]].map(|[a, b]| {
        let product: f64 = (0..3).map(|row| m[row][a] * m[row][b]).sum();
        ([a, b], (product / (size[a] * size[b])).clamp(-1.0, 1.0).acos().to_degrees())
    });
    rest.into_iter().fold(first, |one, other| {
        if (other.1 - 90.0).abs() > (one.1 - 90.0).abs() { other } else { one }
    })
}

/// True if all numbers are finite and the three axes span space.
pub fn is_usable(affine: &Affine) -> bool {
    let size: f64 = spacing_mm(affine).iter().product();
    affine.iter().flatten().all(|number| number.is_finite())
        && determinant(affine).abs() > 1e-6 * size
}

/// The nearest orthogonal matrix (the orthogonal factor of the polar decomposition), by Higham's
/// Newton iteration. `None` for a singular matrix.
pub fn nearest_rotation(matrix: &Matrix3) -> Option<Matrix3> {
    let mut x = *matrix;
    for _ in 0..60 {
        let inverse = invert(&x)?;
        let next: Matrix3 =
            std::array::from_fn(|i| std::array::from_fn(|j| 0.5 * (x[i][j] + inverse[j][i])));
        let change: f64 = (0..9).map(|k| (next[k / 3][k % 3] - x[k / 3][k % 3]).abs()).sum();
        x = next;
        if change < 1e-15 {
            break;
        }
    }
    Some(x)
}

/// The upper triangular U with Uᵀ·U = matrixᵀ·matrix (Cholesky). `None` for a singular matrix.
pub fn upper_factor(matrix: &Matrix3) -> Option<Matrix3> {
    let gram: Matrix3 = std::array::from_fn(|i| {
        std::array::from_fn(|j| (0..3).fold(0.0, |sum, k| sum + matrix[k][i] * matrix[k][j]))
    });
    let mut upper = [[0.0; 3]; 3];
    for i in 0..3 {
        let rest = (0..i).fold(gram[i][i], |rest, k| rest - upper[k][i] * upper[k][i]);
        if rest.is_nan() || rest <= 0.0 {
            return None;
        }
        upper[i][i] = rest.sqrt();
        for j in i + 1..3 {
            let rest = (0..i).fold(gram[i][j], |rest, k| rest - upper[k][i] * upper[k][j]);
            upper[i][j] = rest * (1.0 / upper[i][i]);
        }
    }
    Some(upper)
}

/// True if each |a − b| ≤ `absolute` + 1e-5·|b|.
pub fn close(a: &Affine, b: &Affine, absolute: f64) -> bool {
    a.iter()
        .flatten()
        .zip(b.iter().flatten())
        .all(|(a, b)| (a - b).abs() <= absolute + 1e-5 * b.abs())
}

/// The largest distance between a grid's corners under two affines, in `a`'s voxels.
pub fn corner_distance(a: &Affine, b: &Affine, shape: [usize; 3]) -> f64 {
    let size = spacing_mm(a);
    let smallest = size.iter().copied().fold(f64::INFINITY, f64::min);
    corners(shape).iter().fold(0.0, |largest: f64, corner| {
        let (p, q) = (apply(a, *corner), apply(b, *corner));
        let squared: f64 = (0..3).map(|axis| (p[axis] - q[axis]) * (p[axis] - q[axis])).sum();
        largest.max(squared.sqrt() / smallest)
    })
}

/// The eight corner voxels of a grid, the last axis changing fastest.
pub fn corners(shape: [usize; 3]) -> [[f64; 3]; 8] {
    std::array::from_fn(|corner| {
        std::array::from_fn(|axis| {
            if corner >> (2 - axis) & 1 == 1 { shape[axis] as f64 - 1.0 } else { 0.0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solving_undoes_multiplying() {
        let a = [
            [0.0, 2.0, 0.1, 5.0],
            [-1.5, 0.2, 0.0, -7.0],
            [0.0, 0.3, 3.0, 1.0],
            [0.0, 0.0, 0.0, 1.0],
        ];
        let b = [
            [1.0, 0.5, 0.0, 2.0],
            [0.0, 2.0, 0.0, 3.0],
            [0.1, 0.0, 1.0, 4.0],
            [0.0, 0.0, 0.0, 1.0],
        ];
        let x = solve(&a, &multiply(&a, &b)).unwrap();
        (0..16).for_each(|k| assert!((x[k / 4][k % 4] - b[k / 4][k % 4]).abs() < 1e-12));
    }

    #[test]
    fn a_singular_matrix_has_no_inverse_and_is_not_usable() {
        let mut flat = IDENTITY;
        flat[2] = [1.0, 0.0, 0.0, 0.0];
        assert!(invert(&flat).is_none());
        assert!(!is_usable(&flat));
        assert!(is_usable(&IDENTITY));
    }

    /// By numpy: `affines.voxel_sizes`, `abs(numpy.linalg.det(a[:3, :3]))` and the angles between
    /// columns, of the identity sheared by 30 % and of a sheared oblique grid.
    #[test]
    fn a_sheared_voxel_is_smaller_than_the_product_of_its_sides() {
        let mut sheared = IDENTITY;
        sheared[0][2] = 0.3;
        assert!((voxel_ml(&sheared) - 0.001).abs() < 1e-15);
        let (axes, degrees) = most_skewed(&sheared);
        assert!(axes == [0, 2] && (degrees - 73.300_755_766_006_37).abs() < 1e-9, "{degrees}");
        let oblique = [
            [0.9, -0.3, 0.2, 5.0],
            [0.4, 1.1, -0.25, -7.0],
            [0.1, 0.35, 2.5, 3.0],
            [0.0, 0.0, 0.0, 1.0],
        ];
        assert!((voxel_ml(&oblique) - 0.002_867_25).abs() < 1e-12, "{}", voxel_ml(&oblique));
        let (axes, degrees) = most_skewed(&oblique);
        assert!(
            axes == [1, 2] && (degrees - 79.651_395_439_696_47).abs() < 1e-9,
            "{axes:?} {degrees}"
        );
        assert_eq!(most_skewed(&IDENTITY).1, 90.0);
    }

    #[test]
    fn the_nearest_rotation_of_a_sheared_matrix_is_orthogonal() {
        let r = nearest_rotation(&[[1.0, 0.2, 0.0], [0.0, -1.0, 0.1], [0.0, 0.0, 1.0]]).unwrap();
        let transposed: Matrix3 = std::array::from_fn(|i| std::array::from_fn(|j| r[j][i]));
        let product = multiply(&r, &transposed);
        (0..9).for_each(|k| {
            assert!((product[k / 3][k % 3] - f64::from(u8::from(k / 3 == k % 3))).abs() < 1e-14)
        });
    }
}
