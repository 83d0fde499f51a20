//! Conditions on runs: NAME, a comparison, VALUE. No conjunctions: repeated conditions must all
//! hold.

use crate::tables::{Column, Datum, RunSummary};
use std::cmp::Ordering;
use std::str::FromStr;

/// Evaluates a comparison on an ordering.
type Holds = fn(Ordering) -> bool;

/// Comparison signs, longest first for prefix matching.
const SIGNS: [(&str, Holds); 7] = [
    ("<=", Ordering::is_le),
    (">=", Ordering::is_ge),
    ("!=", Ordering::is_ne),
    ("==", Ordering::is_eq),
    ("<", Ordering::is_lt),
    (">", Ordering::is_gt),
    ("=", Ordering::is_eq),
];

#[derive(Clone, Debug)]
pub struct Condition {
    name: String,
    sign: &'static str,
    holds: Holds,
    value: Datum,
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Condition, String> {
        let at = text.find(['<', '>', '=', '!']).ok_or_else(|| malformed(text))?;
        let (name, rest) = text.split_at(at);
        let known = SIGNS.into_iter().find(|(sign, _)| rest.starts_with(sign));
        let (sign, holds) = known.ok_or_else(|| malformed(text))?;
        let (name, value) = (name.trim(), rest[sign.len()..].trim().trim_matches(['"', '\'']));
        if name.is_empty() || value.is_empty() || value.starts_with(['<', '>', '=', '!']) {
            return Err(malformed(text));
        }
        let value = Datum::of(value);
        if matches!(&value, Datum::Words(_)) && sign.contains(['<', '>']) {
            return Err(format!("'{text}': '{sign}' compares with a number"));
        }
        Ok(Condition { name: name.to_string(), sign, holds, value })
    }
}

fn malformed(text: &str) -> String {
    format!(
        "'{text}' is no condition: write a name, a comparison (< <= > >= = !=) and a value, as in \
         'score.dice > 0.8'"
    )
}

impl Condition {
    /// Resolves the condition's column among these runs.
    pub fn column(&self, runs: &[RunSummary]) -> Result<Column, String> {
        Column::named(&self.name, runs)
    }

    /// Evaluates the condition. False for runs without the value, and for text compared by size.
    pub fn holds(&self, column: &Column, run: &RunSummary) -> bool {
        let Some(value) = column.of(run) else { return false };
        let comparable = !self.sign.contains(['<', '>']) || matches!(value, Datum::Number(_));
        comparable && (self.holds)(value.order(&self.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_set::RunSet;
    use crate::runs;

    fn fitting(text: &str) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let home = runs::tests::home(folder.path());
        let runs: Vec<RunSummary> = RunSet::new(&home)
            .all()
            .expect("runs")
            .iter()
            .map(|member| member.summary.clone())
            .collect();
        let condition: Condition = text.parse().expect("a condition");
        let column = condition.column(&runs).expect("a column");
        let fitting = runs.iter().filter(|run| condition.holds(&column, run));
        fitting.map(|run| runs::short(&run.run).to_string()).collect()
    }

    #[test]
    fn parameters_metrics_and_facts_are_compared() {
        assert_eq!(fitting("model.optimizer.learning_rate<0.8"), ["abc123", "abd456"]);
        assert_eq!(fitting("final.dice >= 0.75"), ["abd456", "77ffee"]);
        assert_eq!(fitting("workflow = spleen"), ["77ffee"]);
        assert_eq!(fitting("workflow != 'spleen'"), ["abc123", "abd456"]);
    }

    #[test]
    fn what_is_no_condition_says_how_one_is_written() {
        for text in ["dice", "dice >", "> 3", "dice => 3", "dice =< 3", ""] {
            let error = text.parse::<Condition>().expect_err(text);
            assert!(error.contains("write a name, a comparison"), "{error}");
        }
        assert_eq!(
            "workflow < demo".parse::<Condition>().expect_err("words"),
            "'workflow < demo': '<' compares with a number"
        );
    }
}
