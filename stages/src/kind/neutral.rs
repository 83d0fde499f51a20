//! How recipes grow. A parameter that is younger than its kind names its neutral value: the one
//! that gives what the program gave before the parameter existed. At that value it is left out of
//! the recipe, so that nothing made before is made again.
//!
//! The value stands in the schema, beside the parameter's doc:
//! `#[schemars(extend("x-neutral" = false))]`. It need not be the default.

use serde_json::{Map, Value};

/// The key for the neutral value in a subschema.
const NEUTRAL: &str = "x-neutral";

/// Removes parameters at their neutral value, at any depth. With alternative subschemas, a
/// parameter goes if any alternative calls its value neutral.
pub fn drop_neutral(schema: &Value, params: &mut Value) {
    match params {
        Value::Object(fields) => drop_fields(schema, fields),
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                of_item(schema, index).into_iter().for_each(|schema| drop_neutral(schema, item));
            }
        }
        _ => {}
    }
}

fn drop_fields(schema: &Value, fields: &mut Map<String, Value>) {
    fields.retain(|name, value| {
        let schemas = of_field(schema, name);
        let is_neutral =
            |schema: &&Value| schema.get(NEUTRAL).is_some_and(|neutral| is_equal(neutral, value));
        if schemas.iter().any(is_neutral) {
            return false;
        }
        schemas.into_iter().for_each(|schema| drop_neutral(schema, value));
        true
    });
}

/// A named parameter's subschemas, from each alternative with the name.
fn of_field<'a>(schema: &'a Value, name: &str) -> Vec<&'a Value> {
    let own = schema.get("properties").and_then(|known| known.get(name));
    let others = alternatives(schema).flat_map(|one| of_field(one, name));
    own.into_iter().chain(others).collect()
}

/// The subschemas of a list's item.
fn of_item(schema: &Value, index: usize) -> Vec<&Value> {
    let each = schema.get("prefixItems").and_then(|each| each.get(index));
    let own = each.or_else(|| schema.get("items"));
    own.into_iter().chain(alternatives(schema).flat_map(|one| of_item(one, index))).collect()
}

fn alternatives(schema: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|key| schema.get(key));
    lists.filter_map(Value::as_array).flatten()
}

/// Equal as recipes see it: `1` and `1.0` are the same number.
fn is_equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|(one, other)| is_equal(one, other))
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::drop_neutral;
    use schemars::{JsonSchema, schema_for};
    use serde::Serialize;
    use serde_json::{Value, json};

    #[derive(Serialize, JsonSchema)]
    struct Grown {
        old: u32,
        /// Younger than the rest; its default is not its neutral value.
        #[schemars(extend("x-neutral" = 1))]
        young: f64,
        inner: Inner,
        several: Vec<Inner>,
        either: Either,
    }

    #[derive(Serialize, JsonSchema)]
    struct Inner {
        #[schemars(extend("x-neutral" = [0, 0]))]
        pair: [f64; 2],
        kept: bool,
    }

    #[derive(Serialize, JsonSchema)]
    #[serde(tag = "name", rename_all = "snake_case")]
    #[schemars(inline)]
    enum Either {
        One {
            #[schemars(extend("x-neutral" = null))]
            more: Option<u32>,
        },
    }

    fn inner(first: f64) -> Inner {
        Inner { pair: [first, 0.0], kept: false }
    }

    /// The schema as kinds derive it: subschemas inlined.
    fn hashed(grown: &Grown) -> Value {
        let settings = schemars::generate::SchemaSettings::draft2020_12();
        let generator = settings.with(|settings| settings.inline_subschemas = true);
        let schema = generator.into_generator().into_root_schema_for::<Grown>();
        assert!(schema_for!(Grown).as_value().is_object());
        let mut value = serde_json::to_value(grown).unwrap();
        drop_neutral(schema.as_value(), &mut value);
        value
    }

    #[test]
    fn a_parameter_is_left_out_at_its_neutral_value_at_any_depth() {
        let either = Either::One { more: None };
        let all =
            Grown { old: 1, young: 1.0, inner: inner(0.0), several: vec![inner(0.0)], either };
        let kept = json!({ "old": 1, "inner": { "kept": false }, "several": [{ "kept": false }],
                           "either": { "name": "one" } });
        assert_eq!(hashed(&all), kept);
    }

    #[test]
    fn a_parameter_with_another_value_is_hashed() {
        let either = Either::One { more: Some(0) };
        let all =
            Grown { old: 1, young: 2.0, inner: inner(1.0), several: vec![inner(2.0)], either };
        assert_eq!(hashed(&all), serde_json::to_value(&all).unwrap());
    }
}
