//! A recipe: everything that decides what a stage (or one item inside it) makes.
//!
//! The recipe is hashed, stored and explained from this one struct.

use crate::hash::{Digest, Fingerprint};
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};
use std::collections::BTreeMap;

/// What is made (`kind`, `version`), how (`params`, defaults filled in) and out of what
/// (`inputs`: a name for each input and the digest of its content).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The kind of stage, or `kind/item` for an item made inside one.
    pub kind: String,
    /// Rises when equal recipes would give other bytes.
    pub version: u32,
    /// The parameters as understood, without locators.
    pub params: Value,
    /// The content digest of every input, by name.
    pub inputs: BTreeMap<String, Digest>,
}

impl Recipe {
    /// The blake3 hash of the canonical form.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::from_bytes(*blake3::hash(&self.canonical()).as_bytes())
    }

    /// The canonical bytes: every value tagged and length-prefixed, object keys sorted, every
    /// number as the little-endian bits of an f64 (`1` and `1.0` are equal, `-0.0` is `0.0`). Only
    /// a whole number that no f64 holds (a seed above 2^53, say) is written as itself.
    /// NaN and infinity have no form: JSON values cannot hold them (whoever turns text or structs
    /// into values refuses them, since they would become null).
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = b"voxflow recipe 1\n".to_vec();
        encode_text(&self.kind, &mut out);
        encode_number(f64::from(self.version), &mut out);
        encode(&self.params, &mut out);
        out.extend((self.inputs.len() as u64).to_le_bytes());
        for (name, digest) in &self.inputs {
            encode_text(name, &mut out);
            out.extend(digest.as_bytes());
        }
        out
    }
}

fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(b'0'),
        Value::Bool(flag) => out.extend([b'b', u8::from(*flag)]),
        Value::Number(number) => encode_value_number(number, out),
        Value::String(text) => encode_text(text, out),
        Value::Array(items) => {
            out.push(b'[');
            out.extend((items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| encode(item, out));
        }
        Value::Object(fields) => {
            let sorted: BTreeMap<&String, &Value> = fields.iter().collect();
            out.push(b'{');
            out.extend((sorted.len() as u64).to_le_bytes());
            for (key, field) in sorted {
                encode_text(key, out);
                encode(field, out);
            }
        }
    }
}

fn encode_text(text: &str, out: &mut Vec<u8>) {
    out.push(b's');
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn encode_value_number(number: &Number, out: &mut Vec<u8>) {
    let float = number.as_f64().unwrap_or(f64::NAN);
    match number.as_i128() {
        Some(whole) if float as i128 != whole => {
            out.push(b'i');
            out.extend(whole.to_le_bytes());
        }
        _ => encode_number(float, out),
    }
}

fn encode_number(number: f64, out: &mut Vec<u8>) {
    out.push(b'n');
    out.extend((number + 0.0).to_le_bytes());
}
