//! Warnings of a stage as they are written down: each once, those of many cases in one line.

/// A line names at most so many cases.
const NAMED: usize = 5;

/// The warnings in the order of their first telling. What several cases say in the same words
/// ("case a: no foreground") is one line: "3 cases (a, b, c): no foreground".
pub fn grouped(told: &[String]) -> Vec<String> {
    let mut groups: Vec<(&str, Vec<&str>)> = vec![];
    for words in told {
        let (case, words) = parted(words);
        let at = groups.iter().position(|group| group.0 == words).unwrap_or_else(|| {
            groups.push((words, vec![]));
            groups.len() - 1
        });
        let cases = &mut groups[at].1;
        if let Some(case) = case.filter(|case| !cases.contains(case)) {
            cases.push(case);
        }
    }
    // Cases are worked on side by side: their order says nothing.
    groups.iter_mut().for_each(|(_, cases)| cases.sort_unstable());
    groups.iter().map(|(words, cases)| line(words, cases)).collect()
}

/// "case a: no foreground" as its case and the rest.
fn parted(words: &str) -> (Option<&str>, &str) {
    match words.strip_prefix("case ").and_then(|rest| rest.split_once(": ")) {
        Some((case, rest)) => (Some(case), rest),
        None => (None, words),
    }
}

fn line(words: &str, cases: &[&str]) -> String {
    match cases {
        [] => words.to_string(),
        [case] => format!("case {case}: {words}"),
        _ => {
            let named = cases.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
            let more = if cases.len() > NAMED { ", …" } else { "" };
            format!("{} cases ({named}{more}): {words}", cases.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_cases_say_is_one_line() {
        let told = ["case b: cut", "slow disk", "case a: cut", "case c: torn", "case a: cut"];
        let told = told.map(String::from);
        assert_eq!(
            grouped(&told),
            ["2 cases (a, b): cut", "slow disk", "case c: torn"].map(String::from)
        );
    }
}
