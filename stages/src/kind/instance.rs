//! A kind with its parameters: roles, artifact and items of one stage.

use super::{Kind, Mistakes};
use crate::stage::{ArtifactType, Count, Items, Read};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

impl Kind {
    /// The type of a stage's artifact by its parameters as written; `None` if they name no type.
    pub fn makes_by(&self, written: &Value) -> Option<ArtifactType> {
        (self.makes_by)(written)
    }

    /// The items that a stage with these parameters recalls.
    pub fn items_with(&self, params: &Value) -> &'static [Items] {
        (self.items_by)(params)
    }

    /// True if a stage's work beside its items is quick ([`Stage::QUICK`]).
    pub fn quick_with(&self, params: &Value) -> bool {
        (self.quick_by)(params)
    }

    /// The files required in the artifact of a stage with these parameters.
    pub fn holds_with(&self, params: &Value) -> &'static [&'static str] {
        match self.runs_program {
            true => self.makes_by(params).unwrap_or(self.makes).holds(),
            false => self.holds,
        }
    }

    /// The roles that a stage reads: its kind's, or for a program those that the workflow names.
    /// `given` are the named roles with the types of their artifacts.
    pub fn reads_with(&self, params: &Value, given: &[(&str, ArtifactType)]) -> Vec<Read> {
        if !self.runs_program {
            return self.reads.to_vec();
        }
        let named = given.iter().map(|(role, artifact)| {
            let parts: Vec<&'static str> =
                (self.parts_of)(params, role).iter().map(|part| interned(part)).collect();
            Read {
                role: interned(role),
                artifact: *artifact,
                parts: interned_list(parts),
                count: Count::One,
                doc: "an input of the program",
            }
        });
        named.collect()
    }

    /// Mistakes in parameters that only the roles show; see [`crate::Stage::check_roles`].
    pub fn check_roles(&self, params: &Value, roles: &[&str]) -> Mistakes {
        (self.check_roles)(params, roles)
    }
}

/// The text for the whole life of the process. Workflows name few roles and parts, and the same
/// again in each variant of a sweep.
fn interned(text: &str) -> &'static str {
    static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(&kept) = known.get(text) {
        return kept;
    }
    let kept: &'static str = Box::leak(text.to_string().into_boxed_str());
    known.insert(kept);
    kept
}

/// The list for the whole life of the process.
fn interned_list(list: Vec<&'static str>) -> &'static [&'static str] {
    static KNOWN: Mutex<BTreeSet<&'static [&'static str]>> = Mutex::new(BTreeSet::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(&kept) = known.get(list.as_slice()) {
        return kept;
    }
    let kept: &'static [&'static str] = Box::leak(list.into_boxed_slice());
    known.insert(kept);
    kept
}
