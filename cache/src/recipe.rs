//! A recipe: all inputs deciding the bytes made by a stage or item.
//!
//! The same struct is hashed, stored and explained.

use crate::hash::{Digest, Fingerprint};
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};
use std::collections::BTreeMap;

/// Kind and version, parameters with defaults filled in, and input digests by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Stage kind, or `kind/item` for items.
    pub kind: String,
    /// Raised when equal recipes would yield other bytes.
    pub version: u32,
    /// Parameters as parsed, without locators.
    pub params: Value,
    /// Content digests by input name.
    pub inputs: BTreeMap<String, Digest>,
}

impl Recipe {
    /// Blake3 hash over the canonical form.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::from_bytes(*blake3::hash(&self.canonical()).as_bytes())
    }

    /// Canonical bytes: tagged, length-prefixed values; sorted object keys; numbers as
    /// little-endian f64 bits (`1` equals `1.0`, `-0.0` equals `0.0`). Integers without an exact
    /// f64 (seeds above 2^53) are written as i128. NaN and infinity cannot occur: JSON lacks them,
    /// and callers must reject them before conversion, because serde would write null.
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
