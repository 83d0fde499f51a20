//! Tiles: small squares with rows turned to columns, so that a volume (x fastest) becomes a patch
//! (z fastest) nearly at memory speed.
//!
//! SSE2 instructions on x86-64; value by value elsewhere. All give the same bits.

/// A value type turned in `N` × `N` tiles.
pub trait Tiled<const N: usize>: Copy + Default {
    /// Asks for each row, and gives each column: value `i` of column `j` is value `j` of row `i`.
    fn turn(row: impl Fn(usize) -> [Self; N], column: impl FnMut(usize, [Self; N]));
}

#[cfg(target_arch = "x86_64")]
mod turning {
    //! Arrays are taken for vectors by `transmute`, and written out where a closure over them would
    //! do: builds with assertions check every other way at run time, which costs more than the
    //! turning.

    use super::Tiled;
    use std::arch::x86_64::{
        __m128, __m128i, _mm_movehl_ps, _mm_movelh_ps, _mm_unpackhi_epi8, _mm_unpackhi_ps,
        _mm_unpacklo_epi8, _mm_unpacklo_ps,
    };
    use std::mem::transmute;

    impl Tiled<4> for f32 {
        #[inline(always)]
        fn turn(row: impl Fn(usize) -> [f32; 4], mut column: impl FnMut(usize, [f32; 4])) {
            // SAFETY: every x86-64 has SSE; four floats and a vector are the same 16 bytes, and any
            // bits are both.
            let columns: [[f32; 4]; 4] = unsafe {
                let [a, b, c, d]: [__m128; 4] = transmute([row(0), row(1), row(2), row(3)]);
                let (low, high) = (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d));
                let first = [_mm_movelh_ps(low, high), _mm_movehl_ps(high, low)];
                let (low, high) = (_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d));
                transmute([first[0], first[1], _mm_movelh_ps(low, high), _mm_movehl_ps(high, low)])
            };
            (0..4).for_each(|i| column(i, columns[i]));
        }
    }

    impl Tiled<16> for u8 {
        #[inline(always)]
        fn turn(row: impl Fn(usize) -> [u8; 16], mut column: impl FnMut(usize, [u8; 16])) {
            let mut rows = [[0; 16]; 16];
            for (i, slot) in rows.iter_mut().enumerate() {
                *slot = row(i);
            }
            // SAFETY: 16 bytes and a vector are the same, and any bits are both.
            let rows: [__m128i; 16] = unsafe { transmute(rows) };
            let columns = shuffled(&shuffled(&shuffled(&shuffled(&rows))));
            // SAFETY: as above.
            let columns: [[u8; 16]; 16] = unsafe { transmute(columns) };
            (0..16).for_each(|i| column(i, columns[i]));
        }
    }

    /// Deals the first eight rows into the last eight, byte by byte. A byte's place (row and
    /// column, four bits each) turns by one bit, so that four times exchange row and column.
    #[inline(always)]
    fn shuffled(rows: &[__m128i; 16]) -> [__m128i; 16] {
        let mut dealt = *rows;
        for i in 0..8 {
            let (a, b) = (rows[i], rows[8 + i]);
            // SAFETY: every x86-64 has SSE2.
            (dealt[2 * i], dealt[2 * i + 1]) =
                unsafe { (_mm_unpacklo_epi8(a, b), _mm_unpackhi_epi8(a, b)) };
        }
        dealt
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod turning {
    use super::Tiled;

    fn turn<T: Copy, const N: usize>(
        row: impl Fn(usize) -> [T; N],
        mut column: impl FnMut(usize, [T; N]),
    ) {
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

    fn check<T: Tiled<N> + PartialEq + std::fmt::Debug, const N: usize>(
        value: impl Fn(usize) -> T,
    ) {
        let mut columns = vec![];
        T::turn(
            |i| std::array::from_fn(|j| value(i * N + j)),
            |j, column| columns.push((j, column)),
        );
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
