//! Augmentation: the random transforms of training patches, in order. The transforms themselves are
//! in `transform`.

use crate::image::transform::{Changes, InOrder, ParamMistakes, Transform};
use crate::random::Draw;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;

/// Random changes of training patches.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Augmentation {
    /// A mapping: each transform at most once, in the order of this list. The absent ones are not
    /// done.
    InOrder(Box<InOrder>),
    /// Transforms with their names, applied in the listed order. A duplicate is drawn twice.
    List(Vec<Transform>),
}

impl Default for Augmentation {
    fn default() -> Augmentation {
        Augmentation::InOrder(Box::default())
    }
}

/// Written in the shorter form, whatever the workflow's was: equal meanings are equal recipes.
impl Serialize for Augmentation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let list = match self {
            Augmentation::InOrder(mapping) => return mapping.serialize(serializer),
            Augmentation::List(list) => list,
        };
        match InOrder::of(list) {
            Some(mapping) => mapping.serialize(serializer),
            None => list.serialize(serializer),
        }
    }
}

impl Augmentation {
    /// The transforms in the order in which they are applied.
    pub fn transforms(&self) -> Vec<Transform> {
        match self {
            Augmentation::InOrder(mapping) => mapping.list(),
            Augmentation::List(list) => list.clone(),
        }
    }

    /// The channels named by 'zero_outside'; `None` without it.
    pub fn zeroed_channels(&self) -> Option<Vec<usize>> {
        let each = self.transforms().into_iter().filter_map(|transform| match transform {
            Transform::ZeroOutside(params) => Some(params.channels.unwrap_or_default()),
            _ => None,
        });
        each.reduce(|all, more| [all, more].concat())
    }

    /// Mistakes that types cannot say: pairs of a parameter's path and the trouble.
    pub fn check(&self, patch_shape: [usize; 3]) -> ParamMistakes {
        let mut mistakes = vec![];
        for (index, transform) in self.transforms().into_iter().enumerate() {
            let place = match self {
                Augmentation::InOrder(_) => transform.name().to_string(),
                Augmentation::List(_) => index.to_string(),
            };
            let found = transform.parameters().check(patch_shape).into_iter();
            mistakes.extend(found.map(|(path, trouble)| (format!("{place}.{path}"), trouble)));
        }
        mistakes
    }

    /// Draws the changes for the patch (seed, epoch, item). Each transform has its own stream, so
    /// that adding a transform leaves the others as they were.
    pub fn draw(&self, patch_shape: [usize; 3], (seed, epoch, item): (u64, u64, u64)) -> Changes {
        let mut times: BTreeMap<&str, u32> = BTreeMap::new();
        let mut changes = Changes::default();
        for transform in self.transforms() {
            let name = transform.name();
            let time = times.entry(name).or_default();
            *time += 1;
            let purpose = if *time == 1 { name.to_string() } else { format!("{name} {time}") };
            let draw = Draw::new(seed, epoch, item, &purpose);
            changes.0.extend(transform.parameters().draw(draw, patch_shape));
        }
        changes
    }
}

#[cfg(test)]
#[path = "augment_tests.rs"]
mod tests;
