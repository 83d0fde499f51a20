//! The forecast of a validation curve: the gain that a longer training may still bring. A pure
//! function of the scores so far.
//!
//! Scores rise about in proportion to the logarithm of the epochs until they level off. A line
//! through the recent scores against log(epoch), by least squares, is steep while validation gains
//! and flat on a plateau, and its standard error says how far noise could tilt it.
//!
//! `stages/examples/plateau.rs` tries it on published curves; the constants were chosen there
//! (`docs/benchmarks.md`).

use serde::{Deserialize, Serialize};

/// Validations that a line needs.
pub const LEAST_VALIDATIONS: usize = 8;
/// The part of the epochs so far that a line leaves out, its first ones.
pub const LEFT_OUT: f64 = 0.2;
/// Standard errors by which a slope may be larger than it seems.
const STANDARD_ERRORS: f64 = 2.0;
/// A gain counts little if it is less than this share of the distance to a score of 1.
const SHARE_OF_ERROR: f64 = 0.225;

/// A validation: the epochs done, and the mean Dice.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Epochs done.
    pub epoch: u32,
    /// Mean Dice.
    pub dice: f64,
}

/// The gain of Dice that a longer training may bring.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// Its upper bound.
    pub gain: f64,
    /// Mean score of the line's validations.
    pub mean: f64,
}

impl Forecast {
    /// The forecast from the last score until `at_most` epochs. `None` with too few scores. Epochs
    /// must rise.
    pub fn new(scores: &[Score], at_most: u32) -> Option<Forecast> {
        let last = f64::from(scores.last()?.epoch);
        let recent = scores.iter().filter(|score| f64::from(score.epoch) > LEFT_OUT * last);
        let points: Vec<(f64, f64)> =
            recent.map(|score| (libm::log(f64::from(score.epoch)), score.dice)).collect();
        let line = Line::through(&points)?;
        let reach = libm::log(f64::from(at_most) / last).max(0.0);
        Some(Forecast {
            gain: (line.slope + STANDARD_ERRORS * line.standard_error) * reach,
            mean: line.mean,
        })
    }

    /// True if the gain is less than `min_gain`, or than a share of the distance to a score of 1:
    /// near 1 a small gain is worth more.
    pub fn is_plateau(&self, min_gain: f64) -> bool {
        self.gain < min_gain.min(SHARE_OF_ERROR * (1.0 - self.mean))
    }
}

/// A line by least squares.
struct Line {
    slope: f64,
    /// Of the slope.
    standard_error: f64,
    /// Mean of the ordinates.
    mean: f64,
}

impl Line {
    /// `None` with fewer than [`LEAST_VALIDATIONS`] points.
    fn through(points: &[(f64, f64)]) -> Option<Line> {
        if points.len() < LEAST_VALIDATIONS {
            return None;
        }
        let count = points.len() as f64;
        let middle = points.iter().map(|(x, _)| x).sum::<f64>() / count;
        let mean = points.iter().map(|(_, y)| y).sum::<f64>() / count;
        let spread: f64 = points.iter().map(|(x, _)| (x - middle) * (x - middle)).sum();
        let slope = points.iter().map(|(x, y)| (x - middle) * (y - mean)).sum::<f64>() / spread;
        let residuals = points.iter().map(|(x, y)| y - mean - slope * (x - middle));
        let variance = residuals.map(|residual| residual * residual).sum::<f64>() / (count - 2.0);
        Some(Line { slope, standard_error: (variance / spread).sqrt(), mean })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(epochs: impl Iterator<Item = u32>, dice: impl Fn(f64) -> f64) -> Vec<Score> {
        epochs.map(|epoch| Score { epoch, dice: dice(f64::from(epoch)) }).collect()
    }

    #[test]
    fn a_curve_that_rises_with_the_logarithm_is_forecast_by_its_slope() {
        let scores = curve(1..=50, |epoch| 0.5 + 0.02 * epoch.ln());
        let forecast = Forecast::new(&scores, 1000).unwrap();
        assert!((forecast.gain - 0.02 * 20f64.ln()).abs() < 1e-9, "{forecast:?}");
        assert!(!forecast.is_plateau(0.016) && forecast.is_plateau(0.07));
    }

    #[test]
    fn a_level_or_falling_curve_is_a_plateau_at_any_spacing_and_the_early_rise_does_not_count() {
        let level = |epoch: f64| if epoch < 10.0 { epoch / 20.0 } else { 0.8 };
        for step in [1, 2, 5] {
            let scores = curve((step..=50).step_by(step as usize), level);
            let forecast = Forecast::new(&scores, 1000).unwrap();
            assert!(forecast.gain.abs() < 1e-9 && forecast.is_plateau(1e-6), "{forecast:?}");
        }
        let falling = curve(1..=50, |epoch| 0.9 - 0.001 * epoch);
        assert!(Forecast::new(&falling, 1000).unwrap().gain < 0.0);
    }

    #[test]
    fn noise_that_could_hide_a_gain_keeps_the_training_going() {
        let noise = |epoch: f64| 0.8 + 0.05 * (epoch * 12.9898).sin();
        let scores = curve(1..=50, noise);
        assert!(!Forecast::new(&scores, 1000).unwrap().is_plateau(0.016));
        let quiet = curve(1..=50, |epoch| 0.8 + 0.0005 * (epoch * 12.9898).sin());
        assert!(Forecast::new(&quiet, 1000).unwrap().is_plateau(0.016));
    }

    #[test]
    fn near_a_score_of_one_a_smaller_gain_counts() {
        let forecast = |mean| Forecast { gain: 0.012, mean };
        assert!(forecast(0.6).is_plateau(0.016) && !forecast(0.96).is_plateau(0.016));
    }

    #[test]
    fn too_few_scores_say_nothing() {
        let scores = curve((10..=90).step_by(10), |_| 0.8);
        assert!(Forecast::new(&scores[..8], 1000).is_none(), "seven after a fifth of 80 epochs");
        assert!(Forecast::new(&scores, 1000).is_some(), "eight after a fifth of 90 epochs");
        assert!(Forecast::new(&[], 1000).is_none());
    }
}
