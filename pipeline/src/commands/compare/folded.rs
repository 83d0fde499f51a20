//! Runs with identical parameters and results, folded into the first of them.

use crate::run_set::Member;
use crate::runs::short;
use crate::tables::RunSummary;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// A run with the short ids of those that repeat it.
#[derive(Clone, Debug)]
pub struct Folded {
    pub member: Member,
    pub repeats: Vec<String>,
}

impl Folded {
    pub fn alone(member: Member) -> Folded {
        Folded { member, repeats: vec![] }
    }

    /// Folds runs in order; the first of identical ones stays.
    pub fn of(members: Vec<Member>) -> Vec<Folded> {
        let mut folded: Vec<Folded> = vec![];
        let mut first: BTreeMap<String, usize> = BTreeMap::new();
        for member in members {
            match first.entry(content(&member.summary)) {
                Entry::Occupied(at) => {
                    let id = short(&member.summary.run).to_string();
                    folded[*at.get()].repeats.push(id);
                }
                Entry::Vacant(at) => {
                    at.insert(folded.len());
                    folded.push(Folded::alone(member));
                }
            }
        }
        folded
    }
}

/// Text that is equal for runs of one workflow with equal outcome, parameters and metrics, times
/// and memory aside.
fn content(run: &RunSummary) -> String {
    let finals: Vec<_> = run.finals_of(false).collect();
    serde_json::json!([run.workflow, run.outcome, run.params, finals, run.test_set]).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_set::RunSet;
    use crate::runs;

    #[test]
    fn a_run_that_repeats_another_is_folded_into_it_and_others_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = runs::tests::home(folder.path());
        let mut members = RunSet::new(&home).all().expect("runs").to_vec();
        let mut again = members[0].clone();
        again.summary.run = "20260103-000000-demo-00again".into();
        again.summary.seconds = Some(0.1);
        members.push(again);
        let folded = Folded::of(members);
        let shown: Vec<(&str, &[String])> =
            folded.iter().map(|one| (short(&one.member.summary.run), &one.repeats[..])).collect();
        let repeats = ["00again".to_string()];
        assert_eq!(shown, [("abc123", &repeats[..]), ("abd456", &[]), ("77ffee", &[])]);
    }
}
