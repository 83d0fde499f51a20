//! Tiles: small squares of values whose rows become columns, which is how a volume (x fastest) becomes
//! a patch (z fastest) nearly as fast as memory is copied.
//!
//! With the instructions that every x86-64 has; elsewhere value by value. All give the same bits.

/// A value that is turned in tiles of `N` × `N`.
pub trait Tiled<const N: usize>: Copy + Default {
    /// Asks for each row, and gives each column: value `i` of column `j` is value `j` of row `i`.
    fn turn(row: impl Fn(usize) -> [Self; N], column: impl FnMut(usize, [Self; N]));
}

#[cfg(target_arch = "x86_64")]
mod turning {
    use super::Tiled;
    use bytemuck::cast;
    use std::arch::x86_64::{
        __m128, __m128i, _mm_movehl_ps, _mm_movelh_ps, _mm_unpackhi_epi8, _mm_unpackhi_ps, _mm_unpacklo_epi8,
        _mm_unpacklo_ps,
    };

    impl Tiled<4> for f32 {
        #[inline(always)]
        fn turn(row: impl Fn(usize) -> [f32; 4], mut column: impl FnMut(usize, [f32; 4])) {
            let [a, b, c, d]: [__m128; 4] = std::array::from_fn(|i| cast(row(i)));
            // SAFETY: every x86-64 has SSE.
            let columns = unsafe {
                let (low, high) = (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d));
                let first = [_mm_movelh_ps(low, high), _mm_movehl_ps(high, low)];
                let (low, high) = (_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d));
                [first[0], first[1], _mm_movelh_ps(low, high), _mm_movehl_ps(high, low)]
            };
            columns.iter().enumerate().for_each(|(i, &values)| column(i, cast(values)));
        }
    }

    impl Tiled<16> for u8 {
        #[inline(always)]
        fn turn(row: impl Fn(usize) -> [u8; 16], mut column: impl FnMut(usize, [u8; 16])) {
            // Loops, not closures over arrays, which are not inlined at this length.
            let mut rows: [__m128i; 16] = cast([[0u8; 16]; 16]);
            for (i, slot) in rows.iter_mut().enumerate() {
                *slot = cast(row(i));
            }
            let columns = shuffled(&shuffled(&shuffled(&shuffled(&rows))));
            columns.iter().enumerate().for_each(|(i, &bytes)| column(i, cast(bytes)));
        }
    }

    /// The first eight rows dealt into the last eight, byte by byte. The place of a byte (row and column,
    /// four bits each) turns by one bit, so that four times exchange row and column.
    #[inline(always)]
    fn shuffled(rows: &[__m128i; 16]) -> [__m128i; 16] {
        let mut dealt = *rows;
        for (i, pair) in dealt.chunks_exact_mut(2).enumerate() {
            let (a, b) = (rows[i], rows[8 + i]);
            // SAFETY: every x86-64 has SSE2.
            (pair[0], pair[1]) = unsafe { (_mm_unpacklo_epi8(a, b), _mm_unpackhi_epi8(a, b)) };
        }
        dealt
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod turning {
    use super::Tiled;

    fn turn<T: Copy, const N: usize>(row: impl Fn(usize) -> [T; N], mut column: impl FnMut(usize, [T; N])) {
        let rows: [[T; N]; N] = std::array::from_fn(row);
        (0..N).for_each(|j| column(j, rows.map(|row| row[j])));
    }

    impl Tiled<4> for f32 {
        fn turn(row: impl Fn(usize) -> [f32; 4], column: impl FnMut(usize, [f32; 4])) {
            turn(row, column);
        }
    }

    impl Tiled<16> for u8 {
        fn turn(row: impl Fn(usize) -> [u8; 16], column: impl FnMut(usize, [u8; 16])) {
            turn(row, column);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Tiled<N> + PartialEq + std::fmt::Debug, const N: usize>(value: impl Fn(usize) -> T) {
        let mut columns = vec![];
        T::turn(|i| std::array::from_fn(|j| value(i * N + j)), |j, column| columns.push((j, column)));
        assert_eq!(columns.len(), N);
        for (j, column) in columns {
            (0..N).for_each(|i| assert_eq!(column[i], value(i * N + j), "row {i}, column {j}"));
        }
    }

    #[test]
    fn rows_become_columns() {
        check::<f32, 4>(|place| place as f32 - 7.5);
        check::<u8, 16>(|place| place as u8);
    }
}
