//! Trouble that a stage foresees before any work, from its own parameters and those of its inputs'
//! stages.

use crate::dataset::Listing;
use crate::model::ModelCard;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A stage that another one reads from, made or not.
pub struct Ancestor<'a> {
    /// Its id in the workflow.
    pub id: &'a str,
    /// The name of its kind.
    pub kind: &'static str,
    /// Its parameters as understood.
    pub params: &'a Value,
    /// The listing of its dataset, if it makes one and this is known.
    pub listing: Option<Listing>,
    /// The description of its model, if an earlier run made it.
    pub model: Option<ModelCard>,
}

impl Ancestor<'_> {
    /// Its parameters, if it is of the kind of this name.
    pub fn params_of<S: DeserializeOwned>(&self, kind: &str) -> Option<S> {
        (self.kind == kind).then(|| serde_json::from_value(self.params.clone()).ok())?
    }
}

/// Finds the first stage at the end of a path of roles: `["cache", "volumes"]` leads from a
/// training to the preprocessing of its cache.
pub type FindAncestor<'a> = dyn Fn(&[&str]) -> Option<Ancestor<'a>> + 'a;

/// All that is known of a stage's surroundings before any work.
pub struct Foresight<'a> {
    /// The stages that it reads from.
    pub ancestor: &'a FindAncestor<'a>,
    /// Bytes of memory of its machine; `None` if unknown, or with a graphics card.
    pub memory: Option<u64>,
    /// The workflow's number of folds, if a run makes all of them.
    pub folds: Option<u32>,
}
