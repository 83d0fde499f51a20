//! Two runs on the same cases: improvements, losses, and a significance test.

use super::compare::Side;
use super::metrics::MetricRow;
use crate::humanize;
use crate::statistics::{Wilcoxon, wilcoxon};
use crate::text_table::{Cell, TextTable};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use voxflow_stages::Kind;

/// Per-case scores from two runs, for one stage and grid.
#[derive(Clone, Debug, PartialEq)]
pub struct PairedScores {
    /// Run names, baseline first.
    pub runs: [String; 2],
    pub stage: String,
    pub grid: Option<String>,
    /// Mean Dice over labels per case in both runs, greatest loss first.
    pub cases: Vec<(String, [f64; 2])>,
    /// `None` if no case differs.
    pub test: Option<Wilcoxon>,
}

impl PairedScores {
    /// Pairs for every stage and grid scored per case in both runs.
    pub fn of(baseline: &Side, other: &Side) -> Vec<PairedScores> {
        let (first, second) = (by_case(&baseline.tables.metrics), by_case(&other.tables.metrics));
        let shared =
            first.into_iter().filter_map(|(place, one)| Some((second.get(&place)?, place, one)));
        shared
            .filter_map(|(two, (stage, grid), one)| {
                let both = one
                    .into_iter()
                    .filter_map(|(case, a)| Some((case.to_string(), [a, *two.get(case)?])));
                let mut cases: Vec<(String, [f64; 2])> = both.collect();
                cases.sort_by(|a, b| {
                    (a.1[1] - a.1[0]).total_cmp(&(b.1[1] - b.1[0])).then(a.0.cmp(&b.0))
                });
                let differences: Vec<f64> = cases.iter().map(|(_, [a, b])| b - a).collect();
                (!cases.is_empty()).then(|| PairedScores {
                    runs: [baseline.name.clone(), other.name.clone()],
                    stage: stage.to_string(),
                    grid: grid.map(str::to_string),
                    test: wilcoxon(&differences),
                    cases,
                })
            })
            .collect()
    }

    /// True if any case differs.
    pub fn differs(&self) -> bool {
        self.test.is_some()
    }

    /// Cases, greatest loss first.
    pub fn sheet(&self) -> TextTable {
        let [one, two] = &self.runs;
        let grid = self.grid.as_deref().map(|grid| format!(", {grid} grid")).unwrap_or_default();
        let difference = format!("{two} − {one}");
        let title = format!("Dice of each case of {}{grid}", self.stage);
        let mut sheet = TextTable::new(title, ["case", one.as_str(), two.as_str(), &difference]);
        for (case, [a, b]) in &self.cases {
            sheet.push(vec![
                Cell::text(case),
                Cell::Number(*a),
                Cell::Number(*b),
                Cell::Change(b - a),
            ]);
        }
        sheet
    }

    /// One sentence: cases improved and worsened, with the test's verdict.
    pub fn sentence(&self) -> String {
        let count =
            |fits: fn(f64) -> bool| self.cases.iter().filter(|(_, [a, b])| fits(b - a)).count();
        let [one, two] = &self.runs;
        let Some(Wilcoxon { p, effect }) = self.test else {
            return format!("{}: no case differs between {two} and {one}", self.stage);
        };
        let verdict = match p {
            _ if p < 0.01 => "significant at 0.01 (hardly chance)",
            _ if p < 0.05 => "significant at 0.05 (probably not chance)",
            _ => "not significant at 0.05 (may well be chance)",
        };
        format!(
            "{}: of {}, {} better and {} worse in {two} than in {one}; {verdict} \
             (Wilcoxon signed-rank test, p = {p:.2e}; rank-biserial correlation {effect:+.2})",
            self.stage,
            humanize::count(self.cases.len() as u64, "case"),
            count(|difference| difference > 0.0),
            count(|difference| difference < 0.0),
        )
    }

    pub fn json(&self) -> Value {
        let cases = self.cases.iter().map(|(case, values)| json!({"case": case, "values": values}));
        json!({
            "runs": self.runs, "stage": self.stage, "grid": self.grid,
            "cases": cases.collect::<Vec<_>>(),
            "p": self.test.map(|test| test.p), "effect": self.test.map(|test| test.effect),
        })
    }
}

/// Values by (stage, grid) and case.
type ByCase<'a, T> = BTreeMap<(&'a str, Option<&'a str>), BTreeMap<&'a str, T>>;

/// Mean Dice over labels by (stage, grid) and case.
fn by_case(rows: &[MetricRow]) -> ByCase<'_, f64> {
    let mut sums: ByCase<(f64, f64)> = BTreeMap::new();
    for row in rows
        .iter()
        .filter(|row| row.found.metric == "dice")
        .filter(|row| Kind::yields_of(&row.kind).is_scores())
    {
        if let (Some(case), Some(value)) = (&row.found.case, row.found.value) {
            let place = sums.entry((&row.stage, row.found.grid.as_deref())).or_default();
            let sum = place.entry(case).or_default();
            *sum = (sum.0 + value, sum.1 + 1.0);
        }
    }
    sums.into_iter().map(|(place, cases)| (place, means(cases))).collect()
}

fn means(sums: BTreeMap<&str, (f64, f64)>) -> BTreeMap<&str, f64> {
    sums.into_iter().map(|(case, (sum, count))| (case, sum / count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::tests::example;

    #[test]
    fn cases_are_listed_from_the_greatest_loss_with_a_sentence() {
        let side = |name: &str, dice| Side { name: name.into(), tables: example(name, dice) };
        let pairs = PairedScores::of(&side("a1", 0.5), &side("b2", 0.75));
        assert_eq!(pairs.len(), 1);
        assert_eq!(pairs[0].cases, [("case_1".to_string(), [0.4, 0.65])]);
        assert_eq!(
            pairs[0].sentence(),
            "final: of 1 case, 1 better and 0 worse in b2 than in a1; not significant at \
             0.05 (may well be chance) \
             (Wilcoxon signed-rank test, p = 1.00e0; rank-biserial correlation +1.00)"
        );
        assert!(
            PairedScores::of(&side("a1", 0.5), &side("b2", 0.5))[0]
                .sentence()
                .ends_with("no case differs between b2 and a1")
        );
    }
}
