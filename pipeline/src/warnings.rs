//! Merges a stage's warnings for records: each once, with many cases in one line.

use std::collections::BTreeSet;

/// Cases named per line.
const NAMED: usize = 5;

/// Warnings in order of first arrival. Warnings differing only in case and numbers ("case a: label
/// 'x': 36 of 63 voxels are cut away") merge into one line with number ranges: "2 cases (a, b):
/// label 'x': 12 to 36 of 63 voxels are cut away".
pub fn grouped(told: &[String]) -> Vec<String> {
    let mut groups: Vec<Group> = vec![];
    for words in told {
        let (case, words) = parted(words);
        let (shape, numbers) = taken_apart(words);
        // Without a case, numbers tell different things.
        let at = groups
            .iter()
            .position(|group| match case {
                Some(_) => group.has_cases() && group.shape == shape,
                None => !group.has_cases() && group.told.contains(words),
            })
            .unwrap_or_else(|| {
                groups.push(Group { shape, first: words, ..Group::default() });
                groups.len() - 1
            });
        groups[at].add(case, words, numbers);
    }
    groups.into_iter().map(Group::line).collect()
}

/// Warnings sharing a text pattern.
#[derive(Default)]
struct Group<'a> {
    shape: Vec<&'a str>,
    first: &'a str,
    cases: BTreeSet<&'a str>,
    told: BTreeSet<&'a str>,
    /// Numbers per distinct warning.
    numbers: Vec<Vec<&'a str>>,
}

impl<'a> Group<'a> {
    fn has_cases(&self) -> bool {
        !self.cases.is_empty()
    }

    fn add(&mut self, case: Option<&'a str>, words: &'a str, numbers: Vec<&'a str>) {
        // Cases are worked on side by side: their order says nothing.
        self.cases.extend(case);
        if self.told.insert(words) {
            self.numbers.push(numbers);
        }
    }

    fn line(self) -> String {
        let words = match self.told.len() {
            1 => self.first.to_string(),
            _ => self.ranged(),
        };
        match self.cases.len() {
            0 => words,
            1 => format!("case {}: {words}", self.cases.into_iter().collect::<String>()),
            count => {
                let named: Vec<&str> = self.cases.into_iter().take(NAMED).collect();
                let more = if count > NAMED { ", …" } else { "" };
                format!("{count} cases ({}{more}): {words}", named.join(", "))
            }
        }
    }

    /// The pattern with each number's range.
    fn ranged(&self) -> String {
        let mut out = String::new();
        for (at, text) in self.shape.iter().enumerate() {
            out += text;
            let column: Vec<&str> =
                self.numbers.iter().filter_map(|row| row.get(at).copied()).collect();
            out += &range(&column);
        }
        out
    }
}

/// "5", or "3 to 12".
fn range(numbers: &[&str]) -> String {
    let parsed = numbers.iter().map(|text| (text.parse().unwrap_or(f64::NAN), *text));
    let least = parsed.clone().min_by(|(a, _), (b, _): &(f64, _)| a.total_cmp(b));
    let most = parsed.max_by(|(a, _), (b, _): &(f64, _)| a.total_cmp(b));
    match (least, most) {
        (Some((low, least)), Some((high, most))) if low != high => format!("{least} to {most}"),
        (Some((_, least)), _) => least.to_string(),
        _ => String::new(),
    }
}

/// Splits into texts and numbers. Quoted names, digits inside words, and version numbers stay text.
fn taken_apart(words: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut texts, mut numbers) = (vec![], vec![]);
    let (mut start, mut at, mut quoted, mut in_word) = (0, 0, false, false);
    let bytes = words.as_bytes();
    while at < bytes.len() {
        let byte = bytes[at];
        quoted ^=
            byte == b'\'' && !(in_word && bytes.get(at + 1).is_some_and(u8::is_ascii_alphabetic));
        let begins = byte.is_ascii_digit() && !quoted && !in_word;
        let end = at + if begins { number_length(&bytes[at..]) } else { 0 };
        let after = bytes.get(end).copied().unwrap_or(b' ');
        if begins && !after.is_ascii_alphanumeric() && !b"_:".contains(&after) && after < 128 {
            texts.push(&words[start..at]);
            numbers.push(&words[at..end]);
            (start, at, in_word) = (end, end, false);
            continue;
        }
        in_word = byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte) || byte >= 128;
        at += 1;
    }
    texts.push(&words[start..]);
    (texts, numbers)
}

/// Length of a leading number such as 12, 0.5 or 1.2e-4.
fn number_length(bytes: &[u8]) -> usize {
    let digits =
        |from: usize| from + bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = digits(0);
    if bytes.get(end) == Some(&b'.') && digits(end + 1) > end + 1 {
        end = digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        if end + 1 + sign < bytes.len() && digits(end + 1 + sign) > end + 1 + sign {
            end = digits(end + 1 + sign);
        }
    }
    end
}

/// Splits "case a: no foreground" into case and rest.
fn parted(words: &str) -> (Option<&str>, &str) {
    match words.strip_prefix("case ").and_then(|rest| rest.split_once(": ")) {
        Some((case, rest)) => (Some(case), rest),
        None => (None, words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines<const N: usize>(told: [&str; N]) -> Vec<String> {
        grouped(&told.map(String::from))
    }

    #[test]
    fn what_many_cases_say_is_one_line() {
        let told = ["case b: cut", "slow disk", "case a: cut", "case c: torn", "case a: cut"];
        assert_eq!(lines(told), ["2 cases (a, b): cut", "slow disk", "case c: torn"]);
    }

    #[test]
    fn what_differs_in_numbers_only_is_one_line_with_their_ranges() {
        let cut = |case: &str, count: u32, share: &str| {
            format!("case {case}: label 'rib 1' (1): {count} of 63 voxels ({share} %) are cut away")
        };
        let told = [cut("b", 36, "57"), cut("a", 5, "7.9"), cut("c", 36, "57")];
        assert_eq!(
            grouped(&told),
            [
                "3 cases (a, b, c): label 'rib 1' (1): 5 to 36 of 63 voxels (7.9 to 57 %) are cut away"
            ]
        );
        assert_eq!(
            lines(["case a: at most 1.0e-4 away", "case b: at most 2.5e-6 away"]),
            ["2 cases (a, b): at most 2.5e-6 to 1.0e-4 away"]
        );
    }

    #[test]
    fn names_stay_apart_and_so_does_what_is_no_case() {
        for told in [
            ["case a: label 'rib 1': cut", "case b: label 'rib 2': cut"],
            ["case a: file_1.nii is odd", "case b: file_2.nii is odd"],
            ["'numTest' is 3, but there are 2", "'numTest' is 4, but there are 2"],
            ["case a: libtorch 2.11.0", "case b: libtorch 2.11.1"],
        ] {
            assert_eq!(lines(told), told);
        }
    }
}
