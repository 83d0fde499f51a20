//! Toy kinds: engine tests independent from real kinds' parameters.
#![allow(missing_docs)]

use super::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use voxflow_stages::stage::{ArtifactType, Count, Pool, Read, Seed, Yields};
use voxflow_stages::{Context, Run, Stage};

macro_rules! toy {
    (
        $type:ident, $name:literal, $makes:ident, [$($read:expr),*], $locators:expr,
        { $($(#[$meta:meta])* $field:ident : $of:ty),* }
    ) => {
        #[derive(Clone, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        struct $type { $($(#[$meta])* $field: $of),* }
        impl Stage for $type {
            const NAME: &'static str = $name;
            const VERSION: u32 = 1;
            const READS: &'static [Read] = &[$($read),*];
            const MAKES: ArtifactType = ArtifactType::$makes;
            const LOCATORS: &'static [&'static str] = $locators;
            const POOL: Pool = Pool::Cpu;
            const YIELDS: Yields = match Self::MAKES {
                ArtifactType::Model => Yields::Curves,
                _ => Yields::Nothing,
            };
            const SEED: Seed = match Self::MAKES {
                ArtifactType::Split => Seed::Own,
                _ => Seed::Workflow,
            };
        }
        impl Run for $type {
            fn run(&self, _cx: &Context) -> voxflow_stages::Result<()> {
                Ok(())
            }
        }
    };
}

const fn read(role: &'static str, artifact: ArtifactType, count: Count) -> Read {
    Read { role, artifact, parts: &[""], count, doc: "for a test" }
}

toy!(Source, "source", Dataset, [], &["url"], {
    #[serde(default)] url: String,
    #[serde(default)] seed: u64
});
toy!(Divide, "split", Split, [read("dataset", ArtifactType::Dataset, Count::One)], &[], {
    #[serde(default)] seed: u64
});
toy!(
    Train, "train", Model,
    [
        read("dataset", ArtifactType::Dataset, Count::One),
        read("start", ArtifactType::Model, Count::Optional)
    ],
    &[],
    {
        epochs: u32,
        #[serde(default)] seed: u64,
        #[serde(default)] rate: Option<f64>,
        #[serde(default)] note: String
    }
);
toy!(Mix, "mix", Scores, [read("models", ArtifactType::Model, Count::Many)], &[], {});
toy!(
    Pair,
    "pair",
    Scores,
    [
        read("teacher", ArtifactType::Model, Count::One),
        read("pupil", ArtifactType::Model, Count::One)
    ],
    &[],
    {}
);

pub static TOYS: &[Kind] = &[
    Kind::here::<Source>(),
    Kind::here::<Divide>(),
    Kind::here::<Train>(),
    Kind::here::<Mix>(),
    Kind::here::<Pair>(),
];

fn environment(name: &str) -> Option<String> {
    (name == "ROOT").then(|| "/data".to_string())
}

pub fn parse(text: &str, set: &[&str]) -> Result<Workflow, Vec<String>> {
    let overrides: Vec<Override> =
        set.iter().map(|words| Override::parse(words).unwrap()).collect();
    Workflow::parse("w.yaml", text.as_bytes(), &overrides, TOYS, &environment)
        .map_err(|mistakes| mistakes.iter().map(Diagnostic::to_string).collect())
}

pub const GOOD: &str = "
name: toy
seed: 7
stages:
  model: { uses: train, needs: [data], with: { epochs: 3 } }
  data: { uses: source, with: { url: '${ROOT}/a$$b' } }
  split: { uses: split, needs: [data] }
";

pub fn workflow() -> Workflow {
    parse(GOOD, &[]).unwrap()
}
