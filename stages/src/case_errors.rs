//! Cases that could not be done, for people: equal reasons told once, and a line to paste that
//! leaves the cases out.

use std::fmt::Write;

/// From so many on, cases of one reason share a line.
const SHARED: usize = 3;
/// So many of them are named.
const NAMED: usize = 8;
/// Between a case's trouble and the way to go on without it.
const LEAVE_OUT: &str = "; or leave the case out: ";

/// Case, trouble and way out.
type Parted<'a> = (&'a str, &'a str, Option<&'a str>);

/// A case's trouble with the way to go on without it, by the dataset's stage.
pub fn with_way_out(trouble: &str, case: &str, stage: &str) -> String {
    format!("{trouble}{LEAVE_OUT}'exclude: [{case}]' of stage '{stage}'")
}

/// A line per case, or for all cases of one reason, then the line that excludes all those allowed.
pub fn lines(cases: &[(String, String)]) -> String {
    let parted: Vec<Parted> = cases.iter().map(|(case, reason)| parted(case, reason)).collect();
    let ways: Vec<(&str, &str)> =
        parted.iter().filter_map(|(case, _, way)| Some((*case, stage_of((*way)?)?))).collect();
    let stage = ways.first().map(|(_, stage)| *stage);
    let is_one = ways.len() > 1 && ways.iter().all(|(_, own)| Some(*own) == stage);
    let width = cases.iter().map(|(case, _)| case.len()).max().unwrap_or(0);
    let mut out = String::new();
    for (reason, own) in grouped(&parted) {
        let _ = match own[..] {
            [(case, trouble, way)] => match way.filter(|_| !is_one) {
                Some(way) => write!(out, "\n  {case:width$}  {trouble}{LEAVE_OUT}{way}"),
                None => write!(out, "\n  {case:width$}  {trouble}"),
            },
            _ => {
                write!(out, "\n  {} cases ({})  {reason}", own.len(), few(&own))
            }
        };
    }
    if let (true, Some(stage)) = (is_one, stage) {
        let names: Vec<&str> = ways.iter().map(|(case, _)| *case).collect();
        let _ = write!(out, "\n  or leave these cases out, in stage '{stage}':");
        let _ = write!(out, "\n  exclude: [{}]", names.join(", "));
    }
    out
}

/// The first names, and how many more there are.
fn few(cases: &[Parted]) -> String {
    let names: Vec<&str> = cases.iter().take(NAMED).map(|(case, ..)| *case).collect();
    match cases.len().saturating_sub(NAMED) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

fn parted<'a>(case: &'a str, reason: &'a str) -> Parted<'a> {
    match reason.rsplit_once(LEAVE_OUT) {
        Some((trouble, way)) => (case, trouble, Some(way)),
        None => (case, reason, None),
    }
}

/// "dataset" of "'exclude: [a]' of stage 'dataset'".
fn stage_of(way: &str) -> Option<&str> {
    way.rsplit_once(" of stage '")?.1.strip_suffix('\'')
}

/// Cases by reason, in which `{case}` stands for each one's name; few of one reason stay alone.
fn grouped<'a>(cases: &[Parted<'a>]) -> Vec<(String, Vec<Parted<'a>>)> {
    let mut groups: Vec<(String, Vec<Parted>)> = vec![];
    for own in cases {
        let reason = own.1.replace(own.0, "{case}");
        match groups.iter_mut().find(|(other, _)| *other == reason) {
            Some((_, members)) => members.push(*own),
            None => groups.push((reason, vec![*own])),
        }
    }
    groups.into_iter().flat_map(alone_or_together).collect()
}

fn alone_or_together<'a>(
    (reason, members): (String, Vec<Parted<'a>>),
) -> Vec<(String, Vec<Parted<'a>>)> {
    match members.len() < SHARED {
        true => members.into_iter().map(|own| (reason.clone(), vec![own])).collect(),
        false => vec![(reason, members)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(cases: &[(&str, String)]) -> String {
        let cases: Vec<(String, String)> =
            cases.iter().map(|(case, reason)| (case.to_string(), reason.clone())).collect();
        lines(&cases)
    }

    #[test]
    fn equal_reasons_are_told_once_and_one_line_leaves_all_out() {
        let labels = ["p01", "p02", "p03"].map(|case| {
            (case, with_way_out(&format!("'labels/{case}.nii' holds 2"), case, "dataset"))
        });
        let mut cases = labels.to_vec();
        cases.push(("p10", with_way_out("1 of 8 voxels are NaN", "p10", "dataset")));
        assert_eq!(
            told(&cases),
            "\n  3 cases (p01, p02, p03)  'labels/{case}.nii' holds 2\
             \n  p10  1 of 8 voxels are NaN\
             \n  or leave these cases out, in stage 'dataset':\
             \n  exclude: [p01, p02, p03, p10]"
        );
    }

    #[test]
    fn a_single_case_and_reasons_without_a_way_out_stay_as_they_are() {
        let one = with_way_out("is torn", "p1", "data");
        assert_eq!(
            told(&[("p1", one)]),
            "\n  p1  is torn; or leave the case out: 'exclude: [p1]' of stage 'data'"
        );
        assert_eq!(
            told(&[("a", "memory ran out".into()), ("bcd", "memory ran out".into())]),
            "\n  a    memory ran out\n  bcd  memory ran out"
        );
    }
}
