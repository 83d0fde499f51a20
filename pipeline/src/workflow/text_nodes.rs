//! The nodes of a YAML text with their positions, as a tree in which the nodes below an alias or a
//! merge key are those of its anchor.

use super::diagnostic::SourceSpan;
use super::merge_keys::MERGE;
use std::collections::HashMap;

/// Keys and indices leading to a node.
pub type Path = Vec<String>;

/// Positions of keys and values as a tree; the first node is the whole text.
#[derive(Clone, Debug, Default)]
pub struct SourceMap(pub(super) Vec<TextNode>);

#[derive(Clone, Debug, Default)]
pub(super) struct TextNode {
    /// Positions of key and value; `None` for parents of an override.
    pub(super) places: Option<(SourceSpan, SourceSpan)>,
    /// Children by key or index; shared with an anchor's node below an alias.
    pub(super) below: HashMap<String, usize>,
    pub(super) is_mapping: bool,
}

impl SourceMap {
    /// Position of a node's key, or of its nearest known ancestor.
    pub fn key(&self, path: &[String]) -> SourceSpan {
        self.around(path).0
    }

    /// Position of a node's value, or of its nearest known ancestor.
    pub fn value(&self, path: &[String]) -> SourceSpan {
        match self.walk(path).nth(path.len()) {
            Some(TextNode { places: Some((_, value)), .. }) => value.clone(),
            _ => self.around(path).0,
        }
    }

    /// Replaces a subtree's position after an override.
    pub fn replace(&mut self, path: &[String], place: &SourceSpan) {
        let mut at = self.root();
        for key in path {
            at = self.copied_below(at, key);
        }
        let places = Some((place.clone(), place.clone()));
        self.0[at] = TextNode { places, ..TextNode::default() };
    }

    /// Copy of a child node, or a new one: other aliases of its anchor stay the same.
    fn copied_below(&mut self, at: usize, key: &str) -> usize {
        let known = self.0[at].below.get(key).map(|&known| self.0[known].clone());
        self.0.push(known.unwrap_or_default());
        let copy = self.0.len() - 1;
        self.0[at].below.insert(key.to_string(), copy);
        copy
    }

    /// Lets an alias's node lead to the nodes below its anchor.
    pub(super) fn alias(&mut self, node: usize, anchor: usize) {
        let TextNode { below, is_mapping, .. } = self.0[anchor].clone();
        (self.0[node].below, self.0[node].is_mapping) = (below, is_mapping);
    }

    /// Lets a mapping lead to the nodes of its merge key, except those of its own keys. False if
    /// the merge key holds anything but mappings.
    pub(super) fn merge(&mut self, node: usize) -> bool {
        let Some(merge) = self.0[node].below.remove(MERGE) else { return true };
        let items = self.0[merge].below.len();
        let sources: Vec<usize> = if self.0[merge].is_mapping {
            vec![merge]
        } else {
            (0..items).filter_map(|at| self.0[merge].below.get(&at.to_string()).copied()).collect()
        };
        let mut is_sound = !sources.is_empty();
        for source in sources {
            is_sound &= self.0[source].is_mapping;
            if !self.0[source].is_mapping {
                continue;
            }
            for (key, child) in self.0[source].below.clone() {
                self.0[node].below.entry(key).or_insert(child);
            }
        }
        is_sound
    }

    /// Adds the nodes of a base file below keys that this text lacks; mappings are merged.
    pub(super) fn graft(&mut self, base: &SourceMap, file: &str) {
        let offset = self.0.len();
        if base.0.is_empty() || offset == 0 {
            return;
        }
        self.0.extend(base.0.iter().map(|node| {
            let places = node.places.clone();
            TextNode {
                places: places.map(|(key, value)| (key.of_base(file), value.of_base(file))),
                below: node.below.iter().map(|(key, at)| (key.clone(), offset + at)).collect(),
                is_mapping: node.is_mapping,
            }
        }));
        self.merge_below(0, offset);
    }

    fn merge_below(&mut self, own: usize, base: usize) {
        for (key, child) in self.0[base].below.clone() {
            match self.0[own].below.get(&key) {
                None => drop(self.0[own].below.insert(key, child)),
                Some(&known) if self.0[known].is_mapping && self.0[child].is_mapping => {
                    let copy = self.copied_below(own, &key);
                    self.merge_below(copy, child);
                }
                Some(_) => {}
            }
        }
    }

    fn around(&self, path: &[String]) -> (SourceSpan, SourceSpan) {
        let found = self.walk(path).filter_map(|node| node.places.clone()).last();
        found.unwrap_or((SourceSpan::Nowhere, SourceSpan::Nowhere))
    }

    /// Nodes along `path` as far as they exist, starting with the whole text.
    fn walk<'a>(&'a self, path: &'a [String]) -> impl Iterator<Item = &'a TextNode> {
        let mut keys = path.iter();
        std::iter::successors(self.0.first(), move |node| {
            Some(&self.0[*node.below.get(keys.next()?)?])
        })
    }

    pub(super) fn root(&mut self) -> usize {
        if self.0.is_empty() { self.apart() } else { 0 }
    }

    /// Child node for a key, created if missing.
    pub(super) fn below(&mut self, at: usize, key: &str) -> usize {
        if let Some(&known) = self.0[at].below.get(key) {
            return known;
        }
        let new = self.apart();
        self.0[at].below.insert(key.to_string(), new);
        new
    }

    /// Unattached node.
    pub(super) fn apart(&mut self) -> usize {
        self.0.push(TextNode::default());
        self.0.len() - 1
    }
}
