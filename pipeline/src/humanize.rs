//! Durations, sizes, times, counts and values as readable text.

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// "0.4 s", "12 s", "3 min 12 s", "2 h 05 min", "1 d 3 h".
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    match whole {
        _ if seconds < 0.0995 => format!("{:.0} ms", (seconds * 1000.0).max(0.0)),
        _ if seconds < 9.95 => format!("{seconds:.1} s"),
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        3600..86400 => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86400, whole % 86400 / 3600),
    }
}

/// "just now", "12 min ago", "2 h ago", "3 d ago".
pub fn ago(seconds: f64) -> String {
    match seconds.max(0.0) as u64 {
        0..60 => "just now".into(),
        whole @ 60..3600 => format!("{} min ago", whole / 60),
        whole @ 3600..172_800 => format!("{} h ago", whole / 3600),
        whole => format!("{} d ago", whole / 86_400),
    }
}

/// "12 B", "3.4 kB", "1.2 GB" (powers of 1000).
pub fn bytes(bytes: u64) -> String {
    let (mut size, mut unit) = (bytes as f64, "B");
    for next in ["kB", "MB", "GB", "TB"] {
        if size < 999.5 {
            break;
        }
        (size, unit) = (size / 1000.0, next);
    }
    if unit == "B" || size >= 99.95 {
        format!("{size:.0} {unit}")
    } else {
        format!("{size:.1} {unit}")
    }
}

/// "1 stage", "3 stages".
pub fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Value in `--set` syntax: strings bare, anything else as JSON.
pub fn value(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

/// UTC time in seconds: "2025-11-23T12:50:29Z".
pub fn moment(at_ms: i64) -> String {
    written(at_ms, format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z"))
}

/// UTC time in minutes: "2025-11-23 12:50 UTC".
pub fn minute(at_ms: i64) -> String {
    written(at_ms, format_description!("[year]-[month]-[day] [hour]:[minute] UTC"))
}

fn written(at_ms: i64, form: &[BorrowedFormatItem]) -> String {
    let moment = OffsetDateTime::from_unix_timestamp(at_ms.div_euclid(1000)).ok();
    moment.and_then(|moment| moment.format(form).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        let shown: Vec<String> = [0.004, 0.042, 0.42, 9.96, 12.3, 192.4, 7500.0, 100_000.0]
            .map(duration)
            .into_iter()
            .collect();
        assert_eq!(
            shown,
            ["4 ms", "42 ms", "0.4 s", "10 s", "12 s", "3 min 12 s", "2 h 05 min", "1 d 3 h"]
        );
    }

    #[test]
    fn a_time_ago_has_one_unit() {
        let shown = [-5.0, 59.0, 60.0, 7_200.0, 172_799.0, 172_800.0].map(ago);
        assert_eq!(shown, ["just now", "just now", "1 min ago", "2 h ago", "47 h ago", "2 d ago"]);
    }

    #[test]
    fn sizes_are_in_powers_of_a_thousand() {
        let shown: Vec<String> =
            [12, 3_400, 999_700, 1_234_000_000, 530_000_000].map(bytes).into_iter().collect();
        assert_eq!(shown, ["12 B", "3.4 kB", "1.0 MB", "1.2 GB", "530 MB"]);
    }

    #[test]
    fn moments_are_in_utc() {
        assert_eq!(moment(1_700_000_000_999), "2023-11-14T22:13:20Z");
        assert_eq!(minute(1_700_000_000_999), "2023-11-14 22:13 UTC");
    }
}
