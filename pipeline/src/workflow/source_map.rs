//! Reads the positions of nodes in a YAML text, and mistakes in its form: duplicate keys, tags, NaN
//! and infinity, and texts too large, deep or self-referential (attacks).
//!
//! `text_nodes` is the tree of positions; `parse` reads the values.

use super::diagnostic::SourceSpan;
use super::merge_keys::{MERGE, WAY_OUT};
use super::text_nodes::{Path, SourceMap};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};
use std::collections::HashMap;

/// Ample for any experiment: ten thousand stages with all parameters.
pub const MOST_BYTES: usize = 4 << 20;
const MOST_DEPTH: usize = 64;
const MOST_NODES: usize = 500_000;

/// A mistake in the text's form.
#[derive(Debug, PartialEq)]
pub struct FormTrouble {
    pub place: SourceSpan,
    pub path: Path,
    /// Trouble and remedy.
    pub trouble: String,
    /// True if the text becomes meaningless.
    pub fatal: bool,
}

/// Reads positions and mistakes in a text's form.
pub fn read(text: &str) -> (SourceMap, Vec<FormTrouble>) {
    let mut reader = Reader::default();
    if text.len() > MOST_BYTES {
        let trouble = format!("is larger than {} KiB; a workflow is a page", MOST_BYTES >> 10);
        reader.trouble(SourceSpan::Nowhere, &[], trouble, true);
        return (reader.places, reader.troubles);
    }
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => reader.event(&event, span),
            Err(error) => {
                let (words, marker) = (error.info(), error.marker());
                let way_out = variable_hint(text, marker.line());
                let trouble = format!("not valid YAML: {words}{way_out}");
                reader.trouble(place(marker), &[], trouble, true);
            }
        }
        if reader.is_over {
            break;
        }
    }
    (reader.places, reader.troubles)
}

/// Hint for lines with an unquoted variable: inside `{…}` and `[…]` YAML reads its braces as a
/// mapping.
fn variable_hint(text: &str, line: usize) -> String {
    let line = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let Some(at) = line.match_indices("${").map(|(at, _)| at).find(|at| {
        let before = &line[..*at];
        ['"', '\''].iter().all(|quote| before.matches(*quote).count() % 2 == 0)
    }) else {
        return String::new();
    };
    let end = line[at..].find('}').map_or(line.len(), |end| at + end + 1);
    let rest = line[end..].find([',', ']', '}', ' ']).map_or(line.len(), |more| end + more);
    let start = line[..at].rfind([' ', '[', '{', ',']).map_or(0, |space| space + 1);
    format!("; a variable inside {{…}} or […] needs quotes: \"{}\"", &line[start..rest])
}

#[derive(Default)]
struct Reader {
    places: SourceMap,
    troubles: Vec<FormTrouble>,
    stack: Vec<OpenNode>,
    documents: usize,
    nodes: usize,
    sizes: HashMap<usize, usize>,
    /// Nodes of mappings and sequences by anchor.
    anchors: HashMap<usize, usize>,
    /// True after a fatal mistake.
    is_over: bool,
}

/// An open mapping or sequence.
struct OpenNode {
    node: usize,
    /// Own key or index.
    name: String,
    mapping: bool,
    /// Key awaiting its value.
    key: Option<(String, SourceSpan)>,
    index: usize,
    anchor: usize,
    nodes_before: usize,
}

impl Reader {
    fn event(&mut self, event: &Event, span: Span) {
        let here = place(&span.start);
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.trouble(
                        here,
                        &[],
                        "a second document begins; one file holds one workflow".into(),
                        true,
                    );
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.tag(tag.is_some(), &here);
                self.scalar(text, *style, &here);
                self.sizes.insert(*anchor, 1);
            }
            Event::Alias(anchor) => {
                let size = self.sizes.get(anchor).copied().unwrap_or(1);
                self.count(size, &here);
                let (node, _) = self.node(&here);
                if let Some(&anchored) = self.anchors.get(anchor) {
                    self.places.alias(node, anchored);
                }
            }
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => {
                self.tag(tag.is_some(), &here);
                self.open(matches!(event, Event::MappingStart(..)), *anchor, &here);
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            _ => {}
        }
    }

    /// Records a value's position; returns its node and name.
    fn node(&mut self, here: &SourceSpan) -> (usize, String) {
        let Some(frame) = self.stack.last_mut() else {
            let root = self.places.root();
            self.places.0[root].places = Some((here.clone(), here.clone()));
            return (root, String::new());
        };
        let (name, key_place) = frame.key.take().unwrap_or_else(|| {
            frame.index += 1;
            ((frame.index - 1).to_string(), here.clone())
        });
        let twice = self.places.0[frame.node].below.contains_key(&name);
        // What is given twice counts once: nothing leads to the second.
        let node = if twice { self.places.apart() } else { self.places.below(frame.node, &name) };
        self.places.0[node].places.get_or_insert((key_place, here.clone()));
        (node, name)
    }

    /// Path to a child of the innermost open node.
    fn path(&self, name: &str) -> Path {
        self.stack
            .iter()
            .skip(1)
            .map(|frame| frame.name.clone())
            .chain([name.to_string()])
            .collect()
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, here: &SourceSpan) {
        self.count(1, here);
        if self.awaits_key() {
            return self.key(text, here);
        }
        let (_, name) = self.node(here);
        let bare = text.trim_start_matches(['+', '-']);
        if style == ScalarStyle::Plain
            && [".nan", ".inf"].iter().any(|word| bare.eq_ignore_ascii_case(word))
        {
            let path = if self.stack.is_empty() { vec![] } else { self.path(&name) };
            self.trouble(
                here.clone(),
                &path,
                format!("'{text}' is not a number that can be used"),
                false,
            );
        }
    }

    fn awaits_key(&self) -> bool {
        self.stack.last().is_some_and(|frame| frame.mapping && frame.key.is_none())
    }

    fn key(&mut self, key: &str, here: &SourceSpan) {
        let Some(frame) = self.stack.last_mut() else { return };
        frame.key = Some((key.to_string(), here.clone()));
        let before =
            self.places.0[frame.node].below.get(key).map(|&node| &self.places.0[node].places);
        let Some(Some((SourceSpan::File { line: first, .. }, _))) = before else { return };
        let path = self.path(key);
        let trouble = if path.len() == 2 && path[0] == "stages" {
            format!(
                "two stages are called '{key}', the first in line {first}; give each its own name"
            )
        } else {
            format!("is given twice, first in line {first}; remove one")
        };
        self.trouble(here.clone(), &path, trouble, false);
    }

    fn open(&mut self, mapping: bool, anchor: usize, here: &SourceSpan) {
        self.count(1, here);
        if self.awaits_key() {
            return self.trouble(here.clone(), &[], "a key must be plain text".into(), true);
        }
        let (node, name) = self.node(here);
        self.places.0[node].is_mapping = mapping;
        if self.stack.len() >= MOST_DEPTH {
            return self.trouble(
                here.clone(),
                &[],
                format!("is nested deeper than {MOST_DEPTH}"),
                true,
            );
        }
        let nodes_before = self.nodes;
        self.stack.push(OpenNode {
            node,
            name,
            mapping,
            key: None,
            index: 0,
            anchor,
            nodes_before,
        });
    }

    fn close(&mut self) {
        let Some(frame) = self.stack.pop() else { return };
        self.sizes.insert(frame.anchor, self.nodes - frame.nodes_before + 1);
        let merge = self.places.0[frame.node].below.get(MERGE).filter(|_| frame.mapping);
        let place = merge.and_then(|&merge| self.places.0[merge].places.clone());
        if let Some((_, place)) = place
            && !self.places.merge(frame.node)
        {
            let path = if self.stack.is_empty() { vec![] } else { self.path(&frame.name) };
            self.trouble(place, &path, WAY_OUT.into(), false);
        }
        self.anchors.insert(frame.anchor, frame.node);
    }

    /// Counts nodes with aliases expanded.
    fn count(&mut self, nodes: usize, here: &SourceSpan) {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MOST_NODES {
            self.trouble(
                here.clone(),
                &[],
                format!("comes to more than {MOST_NODES} values"),
                true,
            );
        }
    }

    fn tag(&mut self, tagged: bool, here: &SourceSpan) {
        if tagged {
            self.trouble(
                here.clone(),
                &[],
                "tags ('!…') have no meaning here; remove it".into(),
                true,
            );
        }
    }

    fn trouble(&mut self, place: SourceSpan, path: &[String], trouble: String, fatal: bool) {
        self.is_over |= fatal;
        self.troubles.push(FormTrouble { place, path: path.to_vec(), trouble, fatal });
    }
}

fn place(marker: &Marker) -> SourceSpan {
    SourceSpan::File { line: marker.line(), column: marker.col() + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(dotted: &str) -> Path {
        dotted.split('.').map(str::to_string).collect()
    }

    #[test]
    fn a_variable_without_quotes_in_a_flow_mapping_is_told_with_its_quotes() {
        for (text, quoted) in [
            ("a: 1\nb: { path: ${D}, c: 2 }\n", "\"${D}\""),
            ("b: { path: data/${D:-x}/more }\n", "\"data/${D:-x}/more\""),
            ("b: [a, ${D}]\n", "\"${D}\""),
        ] {
            let (_, troubles) = read(text);
            let words = &troubles.first().expect("a trouble").trouble;
            assert!(words.contains(&format!("needs quotes: {quoted}")), "{text}: {words}");
        }
        assert_eq!(variable_hint("b: { path: \"${D}\", c: [1, 2 }", 1), "");
        assert_eq!(read("b: { path: \"${D}\" }\nc: ${D}\n").1, []);
    }

    #[test]
    fn every_key_and_value_has_its_line_and_column() {
        let (places, troubles) = read("name: x\nstages:\n  a:\n    with: { k: [1, 22] }\n");
        assert_eq!(troubles, []);
        assert_eq!(places.key(&path("stages.a.with")), SourceSpan::File { line: 4, column: 5 });
        assert_eq!(
            places.value(&path("stages.a.with.k.1")),
            SourceSpan::File { line: 4, column: 20 }
        );
        assert_eq!(
            places.key(&path("stages.a.with.absent")),
            SourceSpan::File { line: 4, column: 5 }
        );
    }

    #[test]
    fn duplicates_are_all_found_and_do_not_hide_the_rest() {
        let (_, troubles) = read("stages:\n  a: { x: 1, x: 2 }\n  a: { y: 1 }\n");
        let words: Vec<_> = troubles.iter().map(|trouble| trouble.trouble.as_str()).collect();
        assert_eq!(
            words,
            [
                "is given twice, first in line 2; remove one",
                "two stages are called 'a', the first in line 2; give each its own name"
            ]
        );
    }

    #[test]
    fn what_an_alias_or_merge_key_brings_has_the_place_where_it_was_written() {
        let text =
            "x-a: &a { k: 1, l: 2 }\nb: { <<: *a, k: 3 }\nc: *a\nd: { <<: [*a, { m: 4 }] }\n";
        let (mut places, troubles) = read(text);
        assert_eq!(troubles, []);
        let at = |line, column| SourceSpan::File { line, column };
        for (dotted, place) in [
            ("b.k", at(2, 17)),
            ("b.l", at(1, 20)),
            ("c.l", at(1, 20)),
            ("d.k", at(1, 14)),
            ("d.m", at(4, 20)),
        ] {
            assert_eq!(places.value(&path(dotted)), place, "{dotted}");
        }
        let set = SourceSpan::Set("--set b.l=5".into());
        places.replace(&path("b.l"), &set);
        assert_eq!((places.value(&path("b.l")), places.value(&path("c.l"))), (set, at(1, 20)));
    }

    #[test]
    fn a_merge_key_takes_mappings_only() {
        for text in ["a: { <<: 3 }\n", "b: &b [1]\na: { <<: *b }\n", "a: { <<: [] }\n"] {
            let (_, troubles) = read(text);
            assert_eq!(troubles.len(), 1, "{text}");
            assert_eq!(troubles[0].trouble, WAY_OUT);
        }
    }

    #[test]
    fn texts_that_mean_harm_are_refused_quickly() {
        let deep = "[".repeat(50_000);
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..9 {
            let before = level - 1;
            let list = vec![format!("*a{before}"); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{list}]\n"));
        }
        let large = "#".repeat(MOST_BYTES + 1);
        for text in [
            deep.as_str(),
            &bomb,
            &large,
            "a:\n\t- b",
            "{a: 1}: 2",
            "a: !!python/object x",
            "--- 1\n--- 2\n",
        ] {
            let (_, troubles) = read(text);
            assert!(
                troubles.iter().any(|trouble| trouble.fatal),
                "{}",
                &text[..text.len().min(60)]
            );
        }
    }

    #[test]
    fn numbers_that_are_none_are_refused_with_their_place() {
        let (_, troubles) = read("a: .nan\nb: -.inf\nc: '.nan'\n");
        assert_eq!(troubles.len(), 2);
        assert_eq!(troubles[1].place, SourceSpan::File { line: 2, column: 4 });
    }
}
