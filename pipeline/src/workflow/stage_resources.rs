//! A stage's `resources`: machine resources requested; they affect how a stage is made, not its
//! recipe.

use crate::parse_size;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use std::sync::OnceLock;
use std::time::Duration;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WrittenResources {
    /// Processor cores; also the stage's threads. Training is bit-reproducible only with the same
    /// number.
    #[schemars(range(min = 1, max = 1024))]
    cpus: Option<u16>,
    /// Memory: `32G`. The stage starts only while this much is available.
    memory: Option<String>,
    /// Graphics cards. Training splits each batch among several, with one process per card.
    #[schemars(range(min = 1, max = 64))]
    gpus: Option<u16>,
    /// Time limit on a cluster: `4h`, `3d`. Training continues in another job after the limit.
    time: Option<String>,
}

/// Requested resources; `None` leaves the choice to the program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageResources {
    pub cpus: Option<u16>,
    /// Memory in bytes.
    pub memory: Option<u64>,
    pub gpus: Option<u16>,
    /// Time limit on a cluster.
    pub time: Option<Duration>,
    /// As written, with variables expanded; null if absent.
    pub written: Value,
}

pub fn schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| schemars::schema_for!(WrittenResources).to_value())
}

impl StageResources {
    /// Parses a schema-valid value; mistakes are (key, message).
    pub(super) fn read(value: &Value) -> Result<StageResources, Vec<(String, String)>> {
        let written: WrittenResources = serde_json::from_value(value.clone())
            .map_err(|error| vec![(String::new(), error.to_string())])?;
        let mut mistakes = vec![];
        let memory = parsed("memory", written.memory, parse_size::size, &mut mistakes);
        let time = parsed("time", written.time, parse_size::age, &mut mistakes);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let (cpus, gpus) = (written.cpus, written.gpus);
        Ok(StageResources { cpus, memory, gpus, time, written: value.clone() })
    }
}

fn parsed<T>(
    key: &str,
    text: Option<String>,
    parse: fn(&str) -> Result<T, String>,
    mistakes: &mut Vec<(String, String)>,
) -> Option<T> {
    match parse(&text?) {
        Ok(amount) => Some(amount),
        Err(trouble) => {
            mistakes.push((key.to_string(), trouble));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn amounts_are_read_with_the_units_of_batch_systems() {
        let read = |value| StageResources::read(&value).unwrap();
        let all = read(json!({"cpus": 8, "memory": "32G", "gpus": 2, "time": "3d"}));
        assert_eq!((all.cpus, all.memory, all.gpus), (Some(8), Some(32 << 30), Some(2)));
        assert_eq!(all.time, Some(Duration::from_secs(3 * 86_400)));
        assert_eq!(read(json!({})), StageResources { written: json!({}), ..Default::default() });
        let mistakes = StageResources::read(&json!({"memory": "much", "time": "3"})).unwrap_err();
        let keys: Vec<&str> = mistakes.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["memory", "time"]);
    }
}
