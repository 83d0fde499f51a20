//! A few runs side by side, one per column: differing parameters, final metrics with differences
//! from the first run, and cases on request.

use super::args::CompareArgs;
use super::folded::Folded;
use crate::commands::output::ComparisonFormat;
use crate::error::Result;
use crate::humanize::count;
use crate::runs::short;
use crate::tables::{self, Comparison, MetricLine, PairedScores, RunSummary, Side};
use crate::text_table::{TableFormat, pretty};

/// Prints the comparison; the first run is the baseline.
pub fn write(compare: &CompareArgs, members: Vec<Folded>) -> Result<()> {
    let people = compare.output.is_for_people();
    let names: Vec<String> = members
        .iter()
        .map(|folded| {
            let id = &folded.member.summary.run;
            if people { short(id).to_string() } else { id.clone() }
        })
        .collect();
    let pairs = if compare.cases || people { pairs(&names, &members, compare)? } else { vec![] };
    let legend = legend(&members, compare.output.style());
    let runs: Vec<RunSummary> = members.into_iter().map(|folded| folded.member.summary).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut comparison = Comparison::of(&names, &runs, compare.measured);
    comparison.metrics.retain(|line| compare.wants_stage(&line.stage));
    match compare.output.format {
        ComparisonFormat::Json => {
            if !compare.metrics.is_empty() {
                comparison.metrics.retain(|line| line.is_named(&compare.metrics));
            }
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

/// Per-case scores for each further run against the first, of the wanted stages.
fn pairs(names: &[String], members: &[Folded], compare: &CompareArgs) -> Result<Vec<PairedScores>> {
    let sides: Vec<Side> = names
        .iter()
        .zip(members)
        .map(|(name, folded)| {
            let tables = tables::read(folded.member.folder.path())?;
            Ok(Side { name: name.clone(), tables })
        })
        .collect::<Result<_>>()?;
    let mut pairs: Vec<PairedScores> =
        sides[1..].iter().flat_map(|other| PairedScores::of(&sides[0], other)).collect();
    pairs.retain(|pair| compare.wants_cases_of(&pair.stage));
    Ok(pairs)
}

fn in_words(
    compare: &CompareArgs,
    comparison: &Comparison,
    pairs: &[PairedScores],
    legend: &str,
) -> String {
    let (style, width) = (compare.output.style(), compare.output.width());
    let lines = lines(compare, comparison);
    let sheets =
        [comparison.params_sheet(), comparison.metrics_sheet(&lines).without_empty_columns(1)];
    let shown = sheets.iter().filter(|sheet| !sheet.rows.is_empty());
    let mut parts: Vec<String> = shown.map(|sheet| sheet.write(style, width)).collect();
    let more = comparison.metrics.len() - lines.len();
    if more > 0 && compare.metrics.is_empty() {
        parts.push(format!("{}: '--all' shows them\n", count(more as u64, "more metric")));
    }
    parts.extend(cases(compare, &comparison.main_lines(), pairs));
    parts.extend(unpaired(comparison, pairs));
    let same = if comparison.params.is_empty() { "no parameter differs\n\n" } else { "" };
    let note = comparison.note.map(|note| format!("note: {note}\n\n")).unwrap_or_default();
    format!("{legend}\n{note}{same}{}", parts.join("\n"))
}

/// Metrics to show: the named ones, all on request, else the main ones, with times if asked for.
fn lines(compare: &CompareArgs, comparison: &Comparison) -> Vec<MetricLine> {
    let all = comparison.metrics.iter();
    if !compare.metrics.is_empty() {
        return all.filter(|line| line.is_named(&compare.metrics)).cloned().collect();
    }
    if compare.all {
        return comparison.metrics.clone();
    }
    let mut lines = comparison.main_lines();
    lines.extend(all.filter(|line| line.what.measured).cloned());
    lines
}

/// A sentence for each stage with main scores; on request for all, with tables of the cases where
/// any differs.
fn cases(compare: &CompareArgs, main: &[MetricLine], pairs: &[PairedScores]) -> Vec<String> {
    let (style, width) = (compare.output.style(), compare.output.width());
    let mut parts = vec![];
    let mut sentences = String::new();
    for pair in pairs.iter().filter(|pair| compare.cases || is_main(pair, main)) {
        if compare.cases && pair.differs() {
            parts.push(format!("{}\n{}\n", pair.sheet().write(style, width), pair.sentence()));
        } else {
            sentences += &format!("{}\n", pair.sentence());
        }
    }
    parts.extend((!sentences.is_empty()).then_some(sentences));
    parts
}

fn is_main(pair: &PairedScores, main: &[MetricLine]) -> bool {
    main.iter().any(|line| line.stage == pair.stage && line.what.grid == pair.grid)
}

/// A sentence on the intervals of mean Dice for each stage whose cases are not shared.
fn unpaired(comparison: &Comparison, pairs: &[PairedScores]) -> Option<String> {
    let main = comparison.main_lines();
    let lines = main.iter().filter(|line| {
        let what = &line.what;
        let is_paired = pairs.iter().any(|pair| pair.stage == line.stage);
        what.metric == "dice" && what.label.is_none() && !is_paired
    });
    let sentences: String = lines
        .flat_map(|line| (1..comparison.runs.len()).map(move |at| (line, at)))
        .filter_map(|(line, at)| {
            let overlap = comparison.intervals_overlap(line, at)?;
            let (one, two) = (&comparison.runs[at], &comparison.runs[0]);
            let words =
                if overlap { "overlap: no difference is established" } else { "do not overlap" };
            let stage = &line.stage;
            Some(format!("{stage}: the 95 % intervals of mean Dice of {one} and {two} {words}\n"))
        })
        .collect();
    (!sentences.is_empty()).then_some(sentences)
}

/// Legend for short run names, with the runs that repeat them.
fn legend(members: &[Folded], style: TableFormat) -> String {
    let bullet = if style == TableFormat::Markdown { "- " } else { "" };
    let mut text = String::new();
    for (at, folded) in members.iter().enumerate() {
        let role = if at == 0 { " (baseline)" } else { "" };
        let summary = &folded.member.summary;
        let repeated = match &folded.repeats[..] {
            [] => String::new(),
            repeats => format!("; identical: {}", repeats.join(", ")),
        };
        text += &format!(
            "{bullet}{} is {}, {}{role}{repeated}\n",
            short(&summary.run),
            summary.run,
            summary.outcome.word()
        );
    }
    text
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
        let members = members.into_iter().map(Folded::alone).collect();
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
stage  split    grid      metric  abc123  77ffee  77ffee − abc123
──────────────────────────────────────────────────────────────────
final  testing  original  dice    0.5000  0.9000          +0.4000

4 more metrics: '--all' shows them

final: of 1 case, 1 better and 0 worse in 77ffee than in abc123; not significant at 0.05 (may well \
be chance) (Wilcoxon signed-rank test, p = 1.00e0; rank-biserial correlation +1.00)
";
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn programs_get_whole_ids() {
        let json: serde_json::Value =
            serde_json::from_str(&written(ComparisonFormat::Json)).expect("JSON");
        assert_eq!(json["baseline"], "20260101-000000-demo-abc123");
        let line = "\n| final | testing | original | dice | 0.5000 | 0.9000 | +0.4000 |\n";
        assert!(written(ComparisonFormat::Markdown).contains(line));
    }
}
