//! Finds the weights in a file and their names: nested dictionaries, TorchScript modules, and name
//! prefixes added by wrappers.

use crate::dataset::name::shown;
use crate::error::{Error, Result};
use crate::model::pickle::{Pickle, PickleNode, PickleValue, View};
use std::collections::BTreeMap;

/// Keys under which programs keep weights, in search order.
const KEYS: [&str; 9] = [
    "state_dict",
    "model_state_dict",
    "network_weights",
    "model",
    "network",
    "net",
    "weights",
    "module",
    "model_state",
];

/// Name prefixes from wrappers: parallel training, torch.compile.
const PREFIXES: [&str; 2] = ["module.", "_orig_mod."];

/// Maximum nesting depth of dictionaries and modules.
const DEEPEST: usize = 64;

/// More tensors and modules than any network has.
const MOST: usize = 1 << 17;

/// The weights' place (keys joined by '/') and their views by name, without wrappers' prefixes.
pub fn weights(pickle: &Pickle, under: Option<&str>) -> Result<(String, BTreeMap<String, View>)> {
    let (place, dictionary) = match under {
        Some(under) => (under.to_string(), told(pickle, under)?),
        None => found(pickle)?,
    };
    let mut walk = WeightSearch { pickle, views: BTreeMap::new(), left: MOST };
    walk.collect(dictionary, "", 0)?;
    if walk.views.is_empty() {
        let at = if place.is_empty() { String::new() } else { format!(" under '{place}'") };
        return Err(Error::failed(format!(
            "there are no tensors{at}; it has {}: name the place of the weights with 'under'",
            keys(pickle, dictionary)
        )));
    }
    Ok((place, unwrapped(walk.views)))
}

/// The views without the prefixes that all names share with a wrapper.
pub fn unwrapped(mut views: BTreeMap<String, View>) -> BTreeMap<String, View> {
    while let Some(prefix) =
        PREFIXES.iter().find(|prefix| views.keys().all(|name| name.starts_with(**prefix)))
    {
        if views.is_empty() {
            break;
        }
        views = views
            .into_iter()
            .map(|(name, view)| (name[prefix.len()..].to_string(), view))
            .collect();
    }
    views
}

fn told<'a>(pickle: &Pickle<'a>, under: &str) -> Result<PickleValue<'a>> {
    under.split('/').try_fold(pickle.root, |value, key| {
        pickle.get(value, key).ok_or_else(|| {
            Error::failed(format!(
                "under '{under}': there is no '{key}'; there is {}",
                keys(pickle, value)
            ))
        })
    })
}

/// Follows the known keys as far as they lead to dictionaries.
fn found<'a>(pickle: &Pickle<'a>) -> Result<(String, PickleValue<'a>)> {
    let (mut place, mut value) = (vec![], pickle.root);
    if pickle.entries(value).is_none() {
        return Err(Error::failed("it holds no dictionary of tensors; save model.state_dict()"));
    }
    while !matches!(pickle.node(value), Some(PickleNode::Module(_))) && place.len() < DEEPEST {
        let inner =
            |key: &&str| pickle.get(value, key).filter(|inner| pickle.entries(*inner).is_some());
        let Some((key, inner)) = KEYS.iter().find_map(|key| Some((*key, inner(key)?))) else {
            break;
        };
        place.push(key);
        value = inner;
    }
    Ok((place.join("/"), value))
}

fn keys(pickle: &Pickle, value: PickleValue) -> String {
    let entries = pickle.entries(value).unwrap_or_default();
    let names: Vec<String> =
        entries
            .iter()
            .filter_map(|(key, _)| {
                if let PickleValue::Text(key) = key { Some(format!("'{key}'")) } else { None }
            })
            .collect();
    if names.is_empty() { "nothing".to_string() } else { shown(&names) }
}

/// Collects tensors by their dotted names.
struct WeightSearch<'p, 'a> {
    pickle: &'p Pickle<'a>,
    views: BTreeMap<String, View>,
    left: usize,
}

impl<'a> WeightSearch<'_, 'a> {
    fn collect(&mut self, value: PickleValue<'a>, prefix: &str, depth: usize) -> Result<()> {
        for (key, value) in self.pickle.entries(value).unwrap_or_default() {
            let PickleValue::Text(key) = key else { continue };
            self.left = self.left.checked_sub(1).ok_or_else(|| {
                Error::failed(format!(
                    "more than {MOST} entries; keep the weights alone in the file"
                ))
            })?;
            if let Some(view) = self.pickle.tensor(*value) {
                self.views.insert(format!("{prefix}{key}"), view.clone());
            } else if matches!(self.pickle.node(*value), Some(PickleNode::Module(_))) {
                if depth == DEEPEST {
                    return Err(Error::failed(format!(
                        "modules are nested more than {DEEPEST} times"
                    )));
                }
                self.collect(*value, &format!("{prefix}{key}."), depth + 1)?;
            }
        }
        Ok(())
    }
}
