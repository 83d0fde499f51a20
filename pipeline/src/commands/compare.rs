//! `voxflow compare`: two or more runs side by side: parameters that differ, final metrics, and where
//! asked the cases that got better and worse.

use super::answer;
use crate::cli::Globals;
use crate::console::terminal_width;
use crate::exit::{Exit, Result};
use crate::history::{self, Past};
use crate::sheet::{Format, pretty};
use crate::tables::{self, Comparison, Pairs, Side};
use clap::Args;

/// Which runs, and how they are written.
#[derive(Debug, Args)]
pub struct Compare {
    /// The runs, the baseline first: latest, ids, beginnings of ids, workflows' names, or folders
    #[arg(required = true, num_args = 2.., value_name = "RUN")]
    pub runs: Vec<String>,
    /// Only these metrics
    #[arg(long = "metric", value_name = "NAME")]
    pub metrics: Vec<String>,
    /// Each case's Dice too, from the greatest loss to the greatest gain, with a paired test
    #[arg(long)]
    pub cases: bool,
    /// Times, speeds and memory too
    #[arg(long)]
    pub measured: bool,
    /// How to write it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

impl Compare {
    /// Writes the comparison on stdout.
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let home = globals.home();
        let runs = history::find_each(&home, &self.runs)?;
        let sides = self.sides(&runs)?;
        let mut comparison = Comparison::of(&sides, self.measured);
        if !self.metrics.is_empty() {
            comparison.metrics.retain(|line| self.metrics.contains(&line.what.metric));
        }
        let others = if self.cases { &sides[1..] } else { &[] };
        let pairs: Vec<Pairs> = others.iter().flat_map(|other| Pairs::of(&sides[0], other)).collect();
        answer(&self.written(&comparison, &pairs, &runs))?;
        Ok(Exit::Done)
    }

    /// Short names for people, whole ids for programs.
    fn sides(&self, runs: &[Past]) -> Result<Vec<Side>> {
        let people = matches!(self.format, Format::Text | Format::Markdown);
        runs.iter()
            .map(|run| {
                let id = &run.record.run;
                let name = if people { history::short(id).to_string() } else { id.clone() };
                Ok(Side { name, tables: tables::read(run.folder.path())? })
            })
            .collect()
    }

    fn written(&self, comparison: &Comparison, pairs: &[Pairs], runs: &[Past]) -> String {
        match self.format {
            Format::Json => {
                let mut all = comparison.json();
                if self.cases {
                    all["cases"] = pairs.iter().map(Pairs::json).collect();
                }
                pretty(&all)
            }
            Format::Csv if self.cases => pairs.iter().map(|pairs| pairs.sheet().csv()).collect(),
            Format::Csv => comparison.long_sheet().csv(),
            Format::Text | Format::Markdown => {
                let sheets = [comparison.params_sheet(), comparison.metrics_sheet().without_empty_columns(1)];
                let shown = sheets.iter().filter(|sheet| !sheet.rows.is_empty());
                let mut parts: Vec<String> = shown.map(|sheet| sheet.write(self.format, terminal_width())).collect();
                for pairs in pairs {
                    parts.push(format!(
                        "{}\n{}\n",
                        pairs.sheet().write(self.format, terminal_width()),
                        pairs.sentence()
                    ));
                }
                let same = if comparison.params.is_empty() { "no parameter differs\n\n" } else { "" };
                format!("{}\n{same}{}", self.legend(runs), parts.join("\n"))
            }
        }
    }

    /// Which short name is which run.
    fn legend(&self, runs: &[Past]) -> String {
        let bullet = if self.format == Format::Markdown { "- " } else { "" };
        let line = |(at, run): (usize, &Past)| {
            let role = if at == 0 { " (baseline)" } else { "" };
            let id = &run.record.run;
            format!("{bullet}{} is {id}, {}{role}\n", history::short(id), run.record.outcome.word())
        };
        runs.iter().enumerate().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let home = history::tests::home(folder.path());
        let names = ["abc123", "latest"].map(String::from).to_vec();
        let compare = Compare { runs: names, metrics: vec![], cases: false, measured: false, format };
        let runs: Vec<Past> = compare.runs.iter().map(|name| history::find(&home, name).expect("a run")).collect();
        compare.written(&Comparison::of(&compare.sides(&runs).expect("tables"), false), &[], &runs)
    }

    #[test]
    fn people_see_what_differs_and_by_how_much() {
        let text = written(Format::Text);
        let expected = "\
abc123 is 20260101-000000-demo-abc123, done (baseline)
77ffee is 20260102-000000-spleen-77ffee, done

parameters that differ
stage  parameter                abc123  77ffee
───────────────────────────────────────────────
model  optimizer.learning_rate  0.5     0.9

final metrics
stage  split       label   grid       metric   abc123  77ffee  77ffee − abc123
───────────────────────────────────────────────────────────────────────────────
model  validation  –       resampled  dice     0.7500  0.7500                =
final  testing     spleen  original   dice     0.5000  0.9000          +0.4000
final  testing     spleen  original   hd95_mm       –       –                –
final  testing     spleen  original   n             6       6                =
final  testing     –       original   dice     0.5000  0.9000          +0.4000
";
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn programs_get_whole_ids() {
        let json: serde_json::Value = serde_json::from_str(&written(Format::Json)).expect("JSON");
        assert_eq!(json["baseline"], "20260101-000000-demo-abc123");
        assert!(
            written(Format::Csv)
                .contains("\n20260102-000000-spleen-77ffee,metric,final,testing,spleen,original,dice,0.9,0.4\n")
        );
        assert!(
            written(Format::Markdown)
                .contains("\n| final | testing | spleen | original | dice | 0.5000 | 0.9000 | +0.4000 |\n")
        );
    }
}
