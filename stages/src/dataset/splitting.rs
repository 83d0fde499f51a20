//! Splitting: parts of a listing by counts, names or folds.
//!
//! Testing is taken first, so it is the same for all folds; then validation; training comes last.
//! Everything derives from the rule and the listing: equal inputs give equal splits.

use crate::dataset::pattern::Pattern;
use crate::dataset::{Listing, Split, name};
use crate::error::{Error, Result};
use crate::random::Draw;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use voxflow_cache::Digest;

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
    /// Each case by a hash of its name (or patient) and the seed: new, removed or excluded cases
    /// move no other, except the few needed to keep the counts.
    Hash,
    /// As the dataset lists them.
    Listed,
    /// Sorted as text.
    Sorted,
}

/// The rule of a split.
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
    /// (k, i): fold i of k validates, the other folds train; testing cases are in no fold.
    pub fold: Option<(u32, u32)>,
    /// Finds the patient in a case's name.
    pub group: Option<Pattern>,
    /// The patients by case, where the dataset tells them; not used with `group`.
    pub patients: BTreeMap<String, String>,
    /// The folds by case, where the dataset tells them: these are used.
    pub own_folds: BTreeMap<String, u64>,
}

impl Rule {
    /// The patient of a case, or the case itself; `None` if the pattern does not fit.
    fn patient<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        match &self.group {
            Some(pattern) => pattern.find(name),
            None => Some(self.patients.get(name).map_or(name, String::as_str)),
        }
    }
}

/// Cases kept together: a single case, or all from one patient.
type Unit<'a> = Vec<&'a str>;

/// The split for the listing's cases, and remarks about it.
pub fn split(listing: &Listing, rule: &Rule) -> Result<(Split, Vec<String>)> {
    let mut notes = vec![];
    let mut pool = units(listing, rule)?;
    let mut parts: [Vec<String>; 3] = Default::default();
    let selections = [&rule.training, &rule.validation, &rule.testing];
    take_names(listing, &selections, &mut pool, &mut parts, &mut notes)?;
    take_counts(listing, rule, &selections, &mut pool, &mut parts, &mut notes)?;
    if let Some((folds, fold)) = rule.fold {
        take_fold(&mut pool, (folds, fold), rule, &mut parts)?;
        if !rule.own_folds.is_empty() {
            notes.push("the folds are those of the dataset".into());
        }
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

/// The labelled cases in order, a patient's cases together.
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

/// The patient of each case, or the case itself.
fn groups(names: &[&str], rule: &Rule) -> Result<Vec<String>> {
    let strange: Vec<&str> =
        names.iter().copied().filter(|name| rule.patient(name).is_none()).collect();
    match strange.is_empty() {
        true => {
            Ok(names.iter().filter_map(|name| rule.patient(name)).map(str::to_string).collect())
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
            match place(listing, name, part, &mut part_of) {
                Ok(()) => parts[part].push(name.clone()),
                Err(trouble) => wrong.push(trouble),
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

/// Notes a named case's part. The error is a sentence.
fn place<'n>(
    listing: &Listing,
    name: &'n str,
    part: usize,
    part_of: &mut BTreeMap<&'n str, usize>,
) -> Result<(), String> {
    match listing.case(name) {
        None => Err(format!("{}: {}", PARTS[part], listing.no_case(name))),
        Some(case) if case.label.is_none() => {
            Err(format!("{}: '{name}' has no label", PARTS[part]))
        }
        Some(_) => match part_of.insert(name, part) {
            Some(other) => Err(format!("'{name}' is in {} and in {}", PARTS[other], PARTS[part])),
            None => Ok(()),
        },
    }
}

/// Takes testing from the pool's end, validation before it, training from the front; or each part
/// by its own hash ranks.
fn take_counts(
    listing: &Listing,
    rule: &Rule,
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
        let sum = if terms.len() > 1 { format!("{} = ", terms.join(" + ")) } else { String::new() };
        return Err(Error::failed(format!(
            "{sum}{asked} cases asked for, but dataset '{}' has {free} labelled ones to take from",
            listing.name
        )));
    }
    for part in [2, 1, 0] {
        let taken = take(pool, counts[part], turns(pool, part, rule));
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

/// The pool's indices in the order a part takes them.
fn turns(pool: &[Unit], part: usize, rule: &Rule) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..pool.len()).collect();
    match rule.order {
        Order::Hash => indices.sort_by_cached_key(|index| rank(rule, PARTS[part], &pool[*index])),
        _ if part > 0 => indices.reverse(),
        _ => {}
    }
    indices
}

/// The rank of a case or patient for a purpose: blake3 of the seed, the purpose and the name.
fn rank(rule: &Rule, purpose: &str, unit: &Unit) -> Digest {
    let name = unit.first().copied().unwrap_or_default();
    let name = rule.patient(name).unwrap_or(name);
    Digest::of(format!("split {} {purpose} {name}", rule.seed).as_bytes())
}

/// Takes whole units in this order, never more than `count` cases; they keep the pool's order.
fn take(pool: &mut Vec<Unit>, count: usize, indices: Vec<usize>) -> Vec<String> {
    let mut room = count;
    let mut taken = vec![false; pool.len()];
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

/// Deals the pool into folds; fold `fold` validates and the others train.
fn take_fold(
    pool: &mut Vec<Unit>,
    (folds, fold): (u32, u32),
    rule: &Rule,
    parts: &mut [Vec<String>; 3],
) -> Result<()> {
    if !rule.own_folds.is_empty() {
        let dealt = dealt_as_told(pool, folds as usize, rule)?;
        deal(pool, dealt, fold, parts);
        return Ok(());
    }
    if pool.len() < folds as usize {
        return Err(Error::failed(format!(
            "{folds} folds of {} cases or patients: each needs at least one",
            pool.len()
        )));
    }
    let dealt = match rule.order {
        Order::Hash => dealt_by_hash(pool, folds as usize, rule),
        _ => dealt_in_turn(pool, folds as usize),
    };
    deal(pool, dealt, fold, parts);
    Ok(())
}

/// Moves the pool into training, or into validation where a unit's fold is `fold`.
fn deal(pool: &mut Vec<Unit>, dealt: Vec<usize>, fold: u32, parts: &mut [Vec<String>; 3]) {
    for (unit, own) in pool.drain(..).zip(dealt) {
        parts[usize::from(own == fold as usize)].extend(unit.into_iter().map(str::to_string));
    }
}

/// The fold of each unit as the dataset tells it, numbered from 0 in the order of its numbers.
fn dealt_as_told(pool: &[Unit], folds: usize, rule: &Rule) -> Result<Vec<usize>> {
    let own: BTreeSet<u64> = rule.own_folds.values().copied().collect();
    if own.len() != folds {
        let numbers: Vec<String> = own.iter().map(u64::to_string).collect();
        return Err(Error::failed(format!(
            "folds is {folds}, but the dataset has {} folds of its own ({}): give 'folds: {}', or \
             take them out of the dataset",
            own.len(),
            name::shown(&numbers),
            own.len()
        )));
    }
    let mut wrong = vec![];
    let mut dealt = vec![];
    for unit in pool {
        let told: BTreeSet<Option<&u64>> =
            unit.iter().map(|name| rule.own_folds.get(*name)).collect();
        match told.into_iter().collect::<Vec<_>>()[..] {
            [Some(fold)] => dealt.push(own.range(..*fold).count()),
            [None] => wrong.push(format!("{}: no fold in the dataset", name::shown(unit))),
            _ => wrong.push(format!(
                "{} are of one patient, but in several folds of the dataset",
                name::shown(unit)
            )),
        }
    }
    if wrong.is_empty() { Ok(dealt) } else { Err(Error::failed(wrong.join("; "))) }
}

/// The fold of each unit: one unit at a time to the fold with the fewest cases.
fn dealt_in_turn(pool: &[Unit], folds: usize) -> Vec<usize> {
    let mut sizes = vec![0; folds];
    pool.iter()
        .map(|unit| {
            let smallest = (0..folds).min_by_key(|index| sizes[*index]).unwrap_or(0);
            sizes[smallest] += unit.len();
            smallest
        })
        .collect()
}

/// Assigns each unit a fold: in rank order, each to the fold preferred by its hash among those with
/// room. Folds differ by one unit at most (consistent hashing with bounded loads), and a new unit
/// moves one or two others.
fn dealt_by_hash(pool: &[Unit], folds: usize, rule: &Rule) -> Vec<usize> {
    let (least, mut larger) = (pool.len() / folds, pool.len() % folds);
    let mut sizes = vec![0; folds];
    let mut dealt = vec![0; pool.len()];
    let mut indices: Vec<usize> = (0..pool.len()).collect();
    indices.sort_by_cached_key(|index| rank(rule, "fold", &pool[*index]));
    for index in indices {
        let mut liked: Vec<usize> = (0..folds).collect();
        liked.sort_by_cached_key(|fold| rank(rule, &format!("fold {fold}"), &pool[index]));
        let own = liked
            .into_iter()
            .find(|fold| sizes[*fold] < least || (sizes[*fold] == least && larger > 0))
            .unwrap_or(0);
        larger -= usize::from(sizes[own] == least);
        sizes[own] += 1;
        dealt[index] = own;
    }
    dealt
}
