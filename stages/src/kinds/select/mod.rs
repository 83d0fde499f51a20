//! `select`: chooses among cross-validated configurations and makes one model of their folds.

mod candidate;
mod configuration;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::kind::Run;
use crate::metric::nnunet_summary::{self, CaseCounts, SUMMARY, VoxelCounts};
use crate::metric::post_processing::{self, Choice};
use crate::metric::{CaseScore, summary};
use crate::model::description::EnsembleMember;
use crate::model::ensemble::CARD;
use crate::model::out_of_fold::{prediction_file, reference_file};
use crate::model::{Mistake, ModelCard, Weights, is_amount, mistake};
use crate::record::Metric;
use crate::stage::{ArtifactType, Count, Pool, Read, Stage, Yields};
use candidate::{Candidate, CandidateScore, CandidateSet};
use configuration::TrainedConfiguration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Pools the out-of-fold predictions of a cross-validation and makes one model of all folds: of the
/// configuration with the best mean foreground Dice, or of the pair whose averaged probabilities
/// have a better one (nnU-Net's find_best_configuration; of equals the first, and singles before
/// pairs). With it goes the post-processing that the same cases choose, by nnU-Net's rule. Testing
/// cases are not read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Select {
    /// Also try each pair of configurations, if they keep probabilities.
    #[serde(default = "yes")]
    pub pairs: bool,
    /// Choose post-processing: the largest component of the whole foreground where the mean Dice
    /// rises and no label's falls, then of each label whose Dice rises.
    #[serde(default = "yes")]
    pub postprocess: bool,
    /// Surfaces closer than this, in mm, count as agreeing in surface Dice.
    #[serde(default = "one_mm")]
    pub tolerance_mm: f64,
}

fn yes() -> bool {
    true
}

fn one_mm() -> f64 {
    1.0
}

/// `selection.json`.
#[derive(Debug, Serialize)]
struct SelectionReport {
    /// All that were tried, in order.
    tried: Vec<CandidateScore>,
    /// The index of the best among them.
    best: usize,
    /// Mean foreground Dice after post-processing.
    dice: Option<f64>,
    /// The post-processing.
    postprocessing: Choice,
}

impl Stage for Select {
    const NAME: &'static str = "select";
    const VERSION: u32 = 2;
    const READS: &'static [Read] = &[
        Read {
            role: "out_of_fold",
            artifact: ArtifactType::OutOfFold,
            parts: &[""],
            count: Count::Many,
            doc: "the predictions of all folds, one configuration after the other",
        },
        Read {
            role: "model",
            artifact: ArtifactType::Model,
            parts: &[""],
            count: Count::Many,
            doc: "the models that made them",
        },
    ];
    const MAKES: ArtifactType = ArtifactType::Model;
    const HOLDS: &'static [&'static str] =
        &[CARD, "selection.json", "scores.json", SUMMARY, "predictions/"];
    const POOL: Pool = Pool::Cpu;
    const YIELDS: Yields = Yields::ValidationScores;

    fn check(&self) -> Vec<Mistake> {
        let tolerance =
            mistake(!is_amount(self.tolerance_mm), "tolerance_mm", "must not be negative");
        tolerance.into_iter().collect()
    }
}

impl Run for Select {
    fn run(&self, cx: &Context) -> Result<()> {
        let configurations = configuration::gather(cx)?;
        let candidates = CandidateSet::of(cx, &configurations, self.pairs);
        let tried = candidates.score(cx)?;
        let best = candidate::best(&tried)
            .ok_or_else(|| Error::failed("no candidate has a Dice: all references are empty"))?;
        tell(cx, &configurations, &tried, best);
        let chosen = candidates.choose(best);
        let postprocessing = self.post_processing(cx, &chosen)?;
        self.write_cases(cx, &chosen, &postprocessing.steps)?;
        let dice = chosen.foreground_dice(cx, &postprocessing.steps)?;
        let card = keep_models(cx, &chosen, dice)?;
        let keep_largest = postprocessing.steps.clone();
        cx.create_json(CARD, &ModelCard { keep_largest, ..card })?;
        cx.create_json("selection.json", &SelectionReport { tried, best, dice, postprocessing })
    }
}

impl Select {
    fn post_processing(&self, cx: &Context, chosen: &Candidate) -> Result<Choice> {
        if !self.postprocess {
            return Ok(Choice::default());
        }
        let facts = chosen.facts();
        let foreground: Vec<u8> = facts.labels.iter().map(|label| label.value).collect();
        let choice =
            post_processing::choose(&foreground, &facts.targets().label_sets(), |steps| {
                chosen.dice_of_targets(cx, steps)
            })?;
        choice.words(&facts.labels).into_iter().for_each(|words| cx.info(words));
        let steps = choice.steps.len() as f64;
        cx.metric(Metric::new("postprocessing_steps", steps).split("validation").grid("original"));
        Ok(choice)
    }

    /// Writes label maps and scores of the pooled cases, after post-processing.
    fn write_cases(&self, cx: &Context, chosen: &Candidate, steps: &[Vec<u8>]) -> Result<()> {
        let targets = chosen.facts().targets();
        let score = |case: &String| {
            let (map, reference) = chosen.maps(case, steps)?;
            chosen.keep(cx, case, &map, steps)?;
            let (grid, tolerance_mm) = (reference.grid(), self.tolerance_mm);
            let labels = targets.score(&map.data, &reference.data, &grid, tolerance_mm);
            let counts = CaseCounts {
                prediction_file: prediction_file(case),
                reference_file: reference_file(case),
                counts: VoxelCounts::of(&targets, &map.data, &reference.data),
            };
            Ok((CaseScore { case: case.clone(), labels }, counts))
        };
        let cases = cx.each_case(chosen.cases(), String::as_str, score)?;
        let (scores, counts): (Vec<CaseScore>, Vec<CaseCounts>) = cases.into_iter().unzip();
        summary::rows(&scores, "validation", "original").into_iter().for_each(|row| cx.metric(row));
        cx.create_json("scores.json", &scores)?;
        cx.create_text(SUMMARY, &nnunet_summary::text(&targets, counts))
    }
}

/// Says what was tried, and what is best.
fn tell(
    cx: &Context,
    configurations: &[TrainedConfiguration],
    tried: &[CandidateScore],
    best: usize,
) {
    for (index, one) in tried.iter().enumerate() {
        let names: Vec<&str> =
            one.configurations.iter().map(|at| configurations[*at].name()).collect();
        let dice = one.dice.map_or("–".to_string(), |dice| format!("{dice:.4}"));
        let chosen = if index == best { ", chosen" } else { "" };
        cx.info(format!("{}: mean foreground Dice {dice}{chosen}", names.join(" with ")));
    }
}

/// Puts the models of the chosen into the artifact, each in its folder; their common card.
fn keep_models(cx: &Context, chosen: &Candidate, dice: Option<f64>) -> Result<ModelCard> {
    let mut cards = vec![];
    let several = chosen.configurations().count() > 1;
    for (number, configuration) in chosen.configurations().enumerate() {
        for (name, model) in configuration.models() {
            let folder = if several { format!("configuration_{number}/{name}") } else { name };
            for file in [CARD, Weights::Best.file(), Weights::Last.file()] {
                cx.adopt(&format!("{folder}/{file}"), &model.file(file)?.blob);
            }
            cards.push((model.json(CARD)?, EnsembleMember { folder, configuration: number }));
        }
    }
    ModelCard::of_ensemble(&cards, dice).ok_or_else(|| Error::failed("no model was given"))
}
