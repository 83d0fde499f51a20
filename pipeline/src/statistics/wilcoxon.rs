//! Wilcoxon signed-rank test for paired scores.

/// Two-sided Wilcoxon signed-rank test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wilcoxon {
    /// Two-sided p-value.
    pub p: f64,
    /// Effect size: matched-pairs rank-biserial correlation, (W₊ − W₋) / (W₊ + W₋), from −1 (every
    /// case worse) to 1 (every case better).
    pub effect: f64,
}

/// Wilcoxon test: exact for at most 50 differences without ties, else a normal approximation with
/// tie and continuity corrections. Zeros are dropped (Wilcoxon 1945), like SciPy's `wilcoxon`.
pub fn wilcoxon(differences: &[f64]) -> Option<Wilcoxon> {
    let mut left: Vec<f64> =
        differences.iter().copied().filter(|difference| *difference != 0.0).collect();
    left.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    if left.is_empty() {
        return None;
    }
    let (ranks, ties) = ranks(&left);
    let above: f64 =
        left.iter().zip(&ranks).filter(|(value, _)| **value > 0.0).map(|(_, rank)| rank).sum();
    let (count, all) = (left.len() as f64, ranks.iter().sum::<f64>());
    let lesser = above.min(all - above);
    let exact = left.len() <= 50 && left.len() == differences.len() && ties == 0.0;
    let p =
        if exact { exact_p(left.len(), lesser as usize) } else { normal_p(count, ties, lesser) };
    Some(Wilcoxon { p: p.min(1.0), effect: (2.0 * above - all) / all })
}

/// Ranks by ascending size with ties averaged, and Σ(t³ − t) over groups with t ties.
fn ranks(sorted: &[f64]) -> (Vec<f64>, f64) {
    let (mut ranks, mut ties) = (vec![], 0.0);
    for group in sorted.chunk_by(|a, b| a.abs() == b.abs()) {
        let (first, size) = (ranks.len() as f64 + 1.0, group.len() as f64);
        ranks.extend(std::iter::repeat_n(first + (size - 1.0) / 2.0, group.len()));
        ties += size.powi(3) - size;
    }
    (ranks, ties)
}

/// 2·P(W ≤ w), counting sign assignments with rank sum at most w among all 2ⁿ.
fn exact_p(count: usize, w: usize) -> f64 {
    let most = count * (count + 1) / 2;
    let mut ways = vec![0.0; most + 1];
    ways[0] = 1.0;
    for rank in 1..=count {
        for sum in (rank..=most).rev() {
            ways[sum] += ways[sum - rank];
        }
    }
    2.0 * ways[..=w.min(most)].iter().sum::<f64>() / 2f64.powi(count as i32)
}

fn normal_p(count: f64, ties: f64, w: f64) -> f64 {
    let mean = count * (count + 1.0) / 4.0;
    let variance = count * (count + 1.0) * (2.0 * count + 1.0) / 24.0 - ties / 48.0;
    let z = ((mean - w).abs() - 0.5).max(0.0) / variance.sqrt();
    libm::erfc(z / std::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(one: f64, other: f64) -> bool {
        (one - other).abs() <= 1e-12
    }

    #[test]
    fn few_cases_have_the_exact_probability_of_scipy() {
        let test =
            wilcoxon(&[0.02, -0.01, 0.035, 0.04, -0.005, 0.06, 0.011, 0.027]).expect("differences");
        assert!(close(test.p, 0.0390625), "{}", test.p);
        assert!(close(test.effect, (33.0 - 3.0) / 36.0), "{}", test.effect);
    }

    #[test]
    fn ties_and_zeros_have_the_approximate_probability_of_scipy() {
        let differences =
            [0.02, 0.02, -0.01, 0.035, 0.0, 0.04, -0.005, 0.06, 0.01, 0.027, -0.01, 0.05];
        let test = wilcoxon(&differences).expect("differences");
        assert!(close(test.p, 0.023035326803577887), "{}", test.p);
        assert_eq!(wilcoxon(&[0.0, 0.0]), None);
    }
}
