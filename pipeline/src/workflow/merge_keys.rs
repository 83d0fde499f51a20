//! YAML merge keys: `<<: *defaults` brings the keys of a mapping, or of several, that a mapping
//! lacks (yaml.org/type/merge.html).

use serde_json::{Map, Value};

pub const MERGE: &str = "<<";

/// Message for a merge key that holds anything but mappings.
pub const WAY_OUT: &str = "'<<' takes a mapping or a list of mappings: mark one by an anchor, as \
                           'x-defaults: &defaults { … }', and write '<<: *defaults'";

/// Replaces the merge key by the keys it brings. Own keys win, then earlier mappings.
pub fn apply(fields: &mut Map<String, Value>) {
    let sources = match fields.remove(MERGE) {
        None => return,
        Some(Value::Array(sources)) => sources,
        Some(source) => vec![source],
    };
    for source in sources {
        // Anything but a mapping is reported by `source_map`, with its place.
        let Value::Object(source) = source else { continue };
        for (key, value) in source {
            fields.entry(key).or_insert(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn own_keys_win_and_then_the_earlier_mapping() {
        let Value::Object(mut fields) = json!({"<<": [{"a": 1, "b": 1}, {"b": 2, "c": 2}], "a": 0})
        else {
            panic!("a mapping")
        };
        apply(&mut fields);
        assert_eq!(Value::Object(fields), json!({"a": 0, "b": 1, "c": 2}));
    }
}
