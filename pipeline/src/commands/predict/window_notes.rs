//! Lines about the windows of an image that takes long: done, all, time left.

use crate::humanize;
use std::time::{Duration, Instant};
use voxflow_stages::Progress;
use voxflow_stages::kinds::predict::WINDOWS;

/// Time before the first line about an image, and between lines.
const BETWEEN: Duration = Duration::from_secs(15);

/// The image in hand.
#[derive(Debug, Default)]
pub struct WindowNotes {
    image: Option<LongImage>,
}

#[derive(Debug)]
struct LongImage {
    name: String,
    began: Instant,
    /// Windows that were done when it was first heard of.
    first: u64,
    told: Instant,
}

impl WindowNotes {
    /// "scan: 120 of 480 windows, 3 min left", if a line is due.
    pub fn note(&mut self, progress: &Progress, now: Instant) -> Option<String> {
        let (total, name) = (progress.total?, &progress.numbers.first()?.1);
        if progress.unit != WINDOWS {
            return None;
        }
        let Some(image) = self.image.as_mut().filter(|image| image.name == *name) else {
            let (name, first) = (name.clone(), progress.done);
            self.image = Some(LongImage { name, began: now, first, told: now });
            return None;
        };
        if now < image.told + BETWEEN || progress.done >= total {
            return None;
        }
        image.told = now;
        let done = progress.done.saturating_sub(image.first).max(1);
        let each = now.duration_since(image.began).as_secs_f64() / done as f64;
        let left = humanize::duration(each * (total - progress.done) as f64);
        Some(format!("{name}: {} of {total} windows, {left} left", progress.done))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_image_is_told_of_every_quarter_minute_with_the_time_that_is_left() {
        let start = Instant::now();
        let mut notes = WindowNotes::default();
        let mut at = |seconds: u64, done: u64, image: &str| {
            let numbers = vec![("image".to_string(), image.to_string())];
            let progress = Progress { done, total: Some(100), unit: WINDOWS.into(), numbers };
            notes.note(&progress, start + Duration::from_secs(seconds))
        };
        assert_eq!((at(0, 4, "a"), at(14, 12, "a")), (None, None));
        assert_eq!(at(20, 24, "a").as_deref(), Some("a: 24 of 100 windows, 1 min 16 s left"));
        assert_eq!((at(30, 30, "a"), at(40, 4, "b"), at(60, 100, "b")), (None, None, None));
        assert_eq!(at(60, 24, "b").as_deref(), Some("b: 24 of 100 windows, 1 min 16 s left"));
    }

    #[test]
    fn other_progress_is_none_of_its_business() {
        let progress = Progress { done: 1, total: Some(2), unit: "cases".into(), numbers: vec![] };
        assert_eq!(WindowNotes::default().note(&progress, Instant::now()), None);
    }
}
