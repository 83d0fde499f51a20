//! Who goes where: parts of a split taken from a listing by counts, names or folds.
//!
//! Testing is taken first, so it is the same for all folds; then validation; training comes last.
//! Everything derives from the rule and the listing: equal ones give equal splits.

use crate::dataset::pattern::Pattern;
use crate::dataset::{Listing, Split, name};
use crate::error::{Error, Result};
use crate::random::Draw;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The cases of one part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Selection {
    /// So many cases.
    Count(u32),
    /// All that no other part takes.
    Rest(Rest),
    /// These cases.
    Names(Vec<String>),
}

/// The word `rest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    /// All that no other part takes.
    Rest,
}

/// The order in which cases stand before parts are taken: training from the front, testing from the
/// end, validation before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Drawn by the seed, from the names sorted as text.
    #[default]
    Seed,
    /// As the dataset lists them.
    Listed,
    /// Sorted as text.
    Sorted,
}

/// How to split.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// Training cases; `None` is none.
    pub training: Option<Selection>,
    /// Validation cases.
    pub validation: Option<Selection>,
    /// Testing cases.
    pub testing: Option<Selection>,
    /// The order of cases.
    pub order: Order,
    /// The seed of the order.
    pub seed: u64,
    /// (k, i): validation is fold i of k, training the other folds, of what testing leaves.
    pub fold: Option<(u32, u32)>,
    /// Finds the patient in a case's name.
    pub group: Option<Pattern>,
}

/// Cases that stay together: one, or all of one patient.
type Unit<'a> = Vec<&'a str>;

/// The split of the listing's cases, and what is worth saying about it.
pub fn split(listing: &Listing, rule: &Rule) -> Result<(Split, Vec<String>)> {
    let mut notes = vec![];
    let mut pool = units(listing, rule)?;
    let mut parts: [Vec<String>; 3] = Default::default();
    let selections = [&rule.training, &rule.validation, &rule.testing];
    take_names(listing, &selections, &mut pool, &mut parts, &mut notes)?;
    take_counts(listing, &selections, &mut pool, &mut parts, &mut notes)?;
    if let Some((folds, fold)) = rule.fold {
        take_fold(&mut pool, folds, fold, &mut parts)?;
    }
    if let Some(part) =
        selections.iter().position(|selection| matches!(selection, Some(Selection::Rest(_))))
    {
        parts[part].extend(pool.drain(..).flatten().map(str::to_string));
    }
    let left: Vec<&str> = pool.into_iter().flatten().collect();
    if !left.is_empty() {
        notes.push(format!("{} labelled cases are in no part: {}", left.len(), name::shown(&left)));
    }
    let [training, validation, testing] = parts;
    let unlabelled = listing.unlabelled().map(|case| case.name.clone()).collect();
    Ok((Split { training, validation, testing, unlabelled }, notes))
}

/// The labelled cases in order, those of one patient together.
fn units<'a>(listing: &'a Listing, rule: &Rule) -> Result<Vec<Unit<'a>>> {
    let mut names: Vec<&str> = listing.labelled().map(|case| case.name.as_str()).collect();
    if rule.order != Order::Listed {
        names.sort_unstable();
    }
    let mut units: Vec<Unit> = vec![];
    let mut place: BTreeMap<String, usize> = BTreeMap::new();
    for (name, group) in names.iter().zip(groups(&names, rule)?) {
        match place.get(&group) {
            Some(&index) => units[index].push(name),
            None => {
                place.insert(group, units.len());
                units.push(vec![name]);
            }
        }
    }
    if rule.order == Order::Seed {
        Draw::new(rule.seed, 0, 0, "split").shuffle(&mut units);
    }
    Ok(units)
}

/// The patient of each case; without a pattern, the case itself.
fn groups(names: &[&str], rule: &Rule) -> Result<Vec<String>> {
    let Some(pattern) = &rule.group else {
        return Ok(names.iter().map(|name| name.to_string()).collect());
    };
    let strange: Vec<&str> =
        names.iter().copied().filter(|name| pattern.find(name).is_none()).collect();
    match strange.is_empty() {
        true => {
            Ok(names.iter().filter_map(|name| pattern.find(name)).map(str::to_string).collect())
        }
        false => {
            Err(Error::failed(format!("group: the pattern does not fit {}", name::shown(&strange))))
        }
    }
}

const PARTS: [&str; 3] = ["training", "validation", "testing"];

/// Gives named cases to their parts, and takes their whole units out of the pool.
fn take_names(
    listing: &Listing,
    selections: &[&Option<Selection>; 3],
    pool: &mut Vec<Unit<'_>>,
    parts: &mut [Vec<String>; 3],
    notes: &mut Vec<String>,
) -> Result<()> {
    let mut wrong = vec![];
    let mut part_of: BTreeMap<&str, usize> = BTreeMap::new();
    for (part, selection) in selections.iter().enumerate() {
        let Some(Selection::Names(names)) = selection else { continue };
        for name in names {
            match listing.case(name) {
                None => wrong.push(format!("{}: {}", PARTS[part], listing.no_case(name))),
                Some(case) if case.label.is_none() => {
                    wrong.push(format!("{}: '{name}' has no label", PARTS[part]))
                }
                Some(_) => match part_of.insert(name, part) {
                    Some(other) => wrong
                        .push(format!("'{name}' is in {} and in {}", PARTS[other], PARTS[part])),
                    None => parts[part].push(name.clone()),
                },
            }
        }
    }
    let mut sides: Vec<String> = vec![];
    pool.retain(|unit| {
        let taken: BTreeSet<usize> =
            unit.iter().filter_map(|name| part_of.get(name).copied()).collect();
        if taken.len() > 1 {
            sides
                .push(format!("group: {} are of one patient, but on two sides", name::shown(unit)));
        }
        let beside: Vec<&str> =
            unit.iter().copied().filter(|name| !part_of.contains_key(name)).collect();
        if !taken.is_empty() && !beside.is_empty() {
            notes.push(format!(
                "left out, since the same patient is named elsewhere: {}",
                name::shown(&beside)
            ));
        }
        taken.is_empty()
    });
    wrong.extend(sides);
    if wrong.is_empty() { Ok(()) } else { Err(Error::failed(wrong.join("; "))) }
}

/// Takes testing from the end of the pool, validation before it, training from the front.
fn take_counts(
    listing: &Listing,
    selections: &[&Option<Selection>; 3],
    pool: &mut Vec<Unit>,
    parts: &mut [Vec<String>; 3],
    notes: &mut Vec<String>,
) -> Result<()> {
    let counts = selections.map(|selection| match selection {
        Some(Selection::Count(count)) => *count as usize,
        _ => 0,
    });
    let (asked, free) = (counts.iter().sum::<usize>(), pool.iter().map(Vec::len).sum::<usize>());
    if asked > free {
        let terms: Vec<String> =
            counts.iter().filter(|count| **count > 0).map(usize::to_string).collect();
        return Err(Error::failed(format!(
            "{} = {asked} cases asked for, but dataset '{}' has {free} labelled ones to take from",
            terms.join(" + "),
            listing.name
        )));
    }
    for part in [2, 1, 0] {
        let taken = take(pool, counts[part], part > 0);
        if taken.len() < counts[part] {
            notes.push(format!(
                "{}: {} of {} cases, since patients stay together",
                PARTS[part],
                taken.len(),
                counts[part]
            ));
        }
        parts[part].extend(taken);
    }
    Ok(())
}

/// Takes whole units, never more than `count` cases, and keeps their order.
fn take(pool: &mut Vec<Unit>, count: usize, from_end: bool) -> Vec<String> {
    let mut room = count;
    let mut taken = vec![false; pool.len()];
    let indices: Vec<usize> =
        if from_end { (0..pool.len()).rev().collect() } else { (0..pool.len()).collect() };
    for index in indices {
        if pool[index].len() <= room {
            room -= pool[index].len();
            taken[index] = true;
        }
    }
    let mut flags = taken.iter();
    let chosen = pool.extract_if(.., |_| flags.next().copied().unwrap_or(false));
    chosen.flatten().map(str::to_string).collect()
}

/// Fills folds one unit at a time, the smallest first; fold `fold` validates and the others train.
fn take_fold(
    pool: &mut Vec<Unit>,
    folds: u32,
    fold: u32,
    parts: &mut [Vec<String>; 3],
) -> Result<()> {
    if pool.len() < folds as usize {
        return Err(Error::failed(format!(
            "{folds} folds of {} cases or patients: each needs at least one",
            pool.len()
        )));
    }
    let mut sizes = vec![0; folds as usize];
    for unit in pool.drain(..) {
        let smallest = (0..sizes.len()).min_by_key(|index| sizes[*index]).unwrap_or(0);
        sizes[smallest] += unit.len();
        parts[usize::from(smallest == fold as usize)].extend(unit.into_iter().map(str::to_string));
    }
    Ok(())
}
