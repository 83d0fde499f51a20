//! A few runs side by side, one per column: differing parameters, final metrics with differences
//! from the first run, and cases on request.

use super::args::CompareArgs;
use crate::commands::output::ComparisonFormat;
use crate::error::Result;
use crate::run_set::Member;
use crate::runs::short;
use crate::tables::{self, Comparison, PairedScores, RunSummary, Side};
use crate::text_table::{TableFormat, pretty};

/// Prints the comparison; the first run is the baseline.
pub fn write(compare: &CompareArgs, members: Vec<Member>) -> Result<()> {
    let people = compare.output.is_for_people();
    let names: Vec<String> = members
        .iter()
        .map(|member| {
            let id = &member.summary.run;
            if people { short(id).to_string() } else { id.clone() }
        })
        .collect();
    let pairs = if compare.cases { pairs(&names, &members)? } else { vec![] };
    let legend = legend(&members, compare.output.style());
    let runs: Vec<RunSummary> = members.into_iter().map(|member| member.summary).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut comparison = Comparison::of(&names, &runs, compare.measured);
    if !compare.metrics.is_empty() {
        comparison.metrics.retain(|line| line.is_named(&compare.metrics));
    }
    match compare.output.format {
        ComparisonFormat::Json => {
            let mut all = comparison.json();
            if compare.cases {
                all["cases"] = pairs.iter().map(PairedScores::json).collect();
            }
            compare.output.deliver(&pretty(&all))
        }
        ComparisonFormat::Csv => compare
            .output
            .deliver(&pairs.iter().map(|pairs| pairs.sheet().csv()).collect::<String>()),
        ComparisonFormat::Parquet => {
            pairs.first().map_or(Ok(()), |first| compare.output.deliver_parquet(&first.sheet()))
        }
        _ => compare.output.deliver(&in_words(compare, &comparison, &pairs, &legend)),
    }
}

/// Per-case scores for each further run against the first.
fn pairs(names: &[String], members: &[Member]) -> Result<Vec<PairedScores>> {
    let sides: Vec<Side> = names
        .iter()
        .zip(members)
        .map(|(name, member)| {
            Ok(Side { name: name.clone(), tables: tables::read(member.folder.path())? })
        })
        .collect::<Result<_>>()?;
    Ok(sides[1..].iter().flat_map(|other| PairedScores::of(&sides[0], other)).collect())
}

fn in_words(
    compare: &CompareArgs,
    comparison: &Comparison,
    pairs: &[PairedScores],
    legend: &str,
) -> String {
    let (style, width) = (compare.output.style(), compare.output.width());
    let sheets = [comparison.params_sheet(), comparison.metrics_sheet().without_empty_columns(1)];
    let shown = sheets.iter().filter(|sheet| !sheet.rows.is_empty());
    let mut parts: Vec<String> = shown.map(|sheet| sheet.write(style, width)).collect();
    let each = pairs
        .iter()
        .map(|pairs| format!("{}\n{}\n", pairs.sheet().write(style, width), pairs.sentence()));
    parts.extend(each);
    let same = if comparison.params.is_empty() { "no parameter differs\n\n" } else { "" };
    let note = comparison.note.map(|note| format!("note: {note}\n\n")).unwrap_or_default();
    format!("{legend}\n{note}{same}{}", parts.join("\n"))
}

/// Legend for short run names.
fn legend(members: &[Member], style: TableFormat) -> String {
    let bullet = if style == TableFormat::Markdown { "- " } else { "" };
    members
        .iter()
        .enumerate()
        .map(|(at, member)| {
            let role = if at == 0 { " (baseline)" } else { "" };
            let summary = &member.summary;
            format!(
                "{bullet}{} is {}, {}{role}\n",
                short(&summary.run),
                summary.run,
                summary.outcome.word()
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::output::OutputArgs;
    use crate::run_set::RunSet;
    use crate::runs;

    fn written(format: ComparisonFormat) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let home = runs::tests::home(folder.path());
        let names = ["abc123", "latest"].map(String::from);
        let members = RunSet::new(&home).named(&names).expect("runs");
        let out = folder.path().join("out");
        let compare = CompareArgs {
            output: OutputArgs { format, out: Some(out.clone()) },
            ..CompareArgs::default()
        };
        write(&compare, members).expect("writes");
        std::fs::read_to_string(out).expect("reads")
    }

    #[test]
    fn people_see_what_differs_and_by_how_much() {
        let text = written(ComparisonFormat::Text);
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
        let json: serde_json::Value =
            serde_json::from_str(&written(ComparisonFormat::Json)).expect("JSON");
        assert_eq!(json["baseline"], "20260101-000000-demo-abc123");
        let line = "\n| final | testing | spleen | original | dice | 0.5000 | 0.9000 | +0.4000 |\n";
        assert!(written(ComparisonFormat::Markdown).contains(line));
    }
}
