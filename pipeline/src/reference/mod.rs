//! Reference for all kinds, generated from their table: as text, Markdown, JSON, and as a JSON
//! schema for editors.

mod markdown;
mod parameter;
mod schema;
mod text;

pub use markdown::markdown;
pub use parameter::{AllowedValue, Parameter, flow};
pub use schema::schema;
pub use text::{list, text};

use serde_json::{Value, json};
use voxflow_stages::kind::{Kind, Place};
use voxflow_stages::stage::{Count, Pool, Read};

pub fn json(kinds: &[&Kind]) -> Value {
    kinds.iter().map(|kind| one(kind)).collect()
}

fn one(kind: &Kind) -> Value {
    json!({
        "name": kind.name,
        "version": kind.version,
        "meaning": meaning(kind),
        "makes": makes(kind),
        "runs_in": runs_in(kind),
        "pool": pool(kind.pool),
        "reads": kind.reads.iter().map(read).collect::<Vec<_>>(),
        "parameters": Parameter::all(kind)
            .iter()
            .map(|of_kind| parameter(kind, of_kind))
            .collect::<Vec<_>>(),
        "schema": kind.schema(),
    })
}

fn read(read: &Read) -> Value {
    json!({
        "role": read.role, "type": read.artifact.name(), "count": count(read.count),
        "parts": read.parts, "meaning": read.doc,
    })
}

fn parameter(kind: &Kind, parameter: &Parameter) -> Value {
    json!({
        "key": parameter.path, "type": parameter.type_words, "required": parameter.required,
        "default": parameter.default, "meaning": parameter.doc,
        "locator": kind.locators.contains(&parameter.path.as_str()),
        "choices": parameter.choices.iter().map(choice).collect::<Vec<_>>(),
    })
}

fn choice(choice: &AllowedValue) -> Value {
    json!({"value": choice.value, "meaning": choice.doc})
}

/// A kind's purpose: the doc comment on its parameter type.
fn meaning(kind: &Kind) -> String {
    let schema = kind.schema();
    schema.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ")
}

fn count(count: Count) -> &'static str {
    match count {
        Count::One => "one",
        Count::Optional => "optional",
        Count::Many => "one or more",
    }
}

/// The type of artifact in a word; that of a program is a parameter.
fn makes(kind: &Kind) -> &'static str {
    if kind.runs_program { "as 'makes' says" } else { kind.makes.name() }
}

/// The roles, for a list of kinds.
fn roles(kind: &Kind) -> String {
    if kind.runs_program {
        return "any".into();
    }
    kind.reads.iter().map(|read| read.role).collect::<Vec<_>>().join(", ")
}

fn runs_in(kind: &Kind) -> &'static str {
    match kind.place {
        Place::Here(_) => "voxflow",
        Place::Worker => "voxflow-worker",
    }
}

fn pool(pool: Pool) -> &'static str {
    match pool {
        Pool::Io => "io",
        Pool::Cpu => "cpu",
        Pool::Gpu => "gpu",
    }
}
