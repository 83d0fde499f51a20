//! The stage `postprocess`: predicts the validation cases on their original grids, and chooses the
//! components to keep.

use crate::device::choose_device;
use crate::ensemble::Ensemble;
use crate::image_preparation::{ImageSource, of_cached_case};
use crate::segmentation::Segmentation;
use crate::subset::{PreparedCase, Subset};
use crate::test::{prediction_file, read_label};
use crate::torch_flags::set_deterministic;
use std::sync::Mutex;
use voxflow_stages::dataset::Listing;
use voxflow_stages::image::nifti::{read_label as read_map, write_label_in};
use voxflow_stages::kinds::postprocess::Postprocess;
use voxflow_stages::metric::post_processing::{self, Choice, mean, overlap};
use voxflow_stages::model::ensemble::CARD;
use voxflow_stages::model::{ModelCard, Weights};
use voxflow_stages::{Context, Error, Input, Metric, Result};

/// Makes the model artifact.
pub fn run(cx: &Context) -> Result<()> {
    let params: Postprocess = cx.params()?;
    set_deterministic(params.options.deterministic)?;
    let info = choose_device(cx)?;
    let subset = Subset::open(cx.input("cache")?, "validation")?;
    if subset.cases.is_empty() {
        return Err(Error::failed(
            "validation: there are no cases; give 'split' a number of validation cases",
        ));
    }
    let mut models = Ensemble::open(cx, &params.options, info)?;
    models.check(cx, &subset, false, params.allow_leakage)?;
    // The choice is made anew.
    models.keep_largest.clear();
    let mut card = models.card.clone();
    let dataset = cx.input("dataset")?;
    let cases = ValidationCases { cx, dataset, listing: dataset.json("dataset.json")?, subset };
    cases.predict(models)?;
    let choice = cases.choose(&card)?;
    tell(cx, &card, &choice);
    cx.create_json("postprocessing.json", &choice)?;
    card.keep_largest = choice.steps;
    if let Some(provenance) = &mut card.provenance {
        provenance.chosen_by(&cases.subset.list);
    }
    cx.create_json("model.json", &card)?;
    adopt_models(cx, cx.input("model")?)
}

/// Keeps the weights of a model; of an ensemble, its members.
fn adopt_models(cx: &Context, model: &Input) -> Result<()> {
    let card: ModelCard = model.json(CARD)?;
    let weights = [Weights::Best.file(), Weights::Last.file()];
    let members = card.members.iter().flat_map(|member| {
        let files = [CARD, weights[0], weights[1]];
        files.map(|file| format!("{}/{file}", member.folder))
    });
    let mut files: Vec<String> = members.collect();
    if card.members.is_empty() {
        files.extend(weights.map(str::to_string));
    }
    files.iter().try_for_each(|name| {
        cx.adopt(name, &model.file(name)?.blob);
        Ok(())
    })
}

/// The validation cases with their label files.
struct ValidationCases<'a> {
    cx: &'a Context<'a>,
    dataset: &'a Input,
    listing: Listing,
    subset: Subset,
}

impl ValidationCases<'_> {
    /// Writes the label map of each case, without post-processing.
    fn predict(&self, models: Ensemble) -> Result<()> {
        let preparations = &models.preparations()[..];
        let (dataset, listing) = (self.dataset, &self.listing);
        let prepares_images = models.prepares_images;
        let images = ImageSource { dataset, listing, preparations, prepares_images };
        let models = &Mutex::new(models);
        let cases = &self.subset.cases;
        let written = self.cx.each_case(
            cases,
            |case| &case.name,
            |case: &PreparedCase| {
                let prepared = of_cached_case(self.cx, &self.subset, case, images)?;
                let map = Segmentation::label_map(models, &prepared)?;
                let path = self.cx.create(&prediction_file(&case.name))?;
                write_label_in(&path, &map, case.geometry.space.as_ref(), true)
            },
        );
        written.map(drop)
    }

    fn choose(&self, card: &ModelCard) -> Result<Choice> {
        let foreground: Vec<u8> = card.labels.iter().map(|label| label.value).collect();
        let targets: Vec<Vec<u8>> = match card.regions.is_empty() {
            true => foreground.iter().map(|value| vec![*value]).collect(),
            false => card.regions.iter().map(|region| region.labels.clone()).collect(),
        };
        post_processing::choose(&foreground, &targets, |steps| {
            let cases = self.cx.each_case(
                &self.subset.cases,
                |case| &case.name,
                |case| self.score(case, &foreground, &targets, steps),
            )?;
            Ok((0..targets.len())
                .map(|target| {
                    let scores: Vec<Option<f64>> = cases.iter().map(|case| case[target]).collect();
                    mean(&scores)
                })
                .collect())
        })
    }

    /// Dice of each target after some steps.
    fn score(
        &self,
        case: &PreparedCase,
        foreground: &[u8],
        targets: &[Vec<u8>],
        steps: &[Vec<u8>],
    ) -> Result<Vec<Option<f64>>> {
        let file = prediction_file(&case.name);
        let mut map = read_map(&self.cx.create(&file)?, &file, foreground)?;
        post_processing::apply(&mut map.data, map.shape, steps);
        let reference = read_label(self.dataset, &self.listing, case)?;
        let dice =
            |labels: &Vec<u8>| overlap(&map.data, &reference.data, labels, self.listing.ignore);
        Ok(targets.iter().map(dice).collect())
    }
}

/// Reports the tries and their scores.
fn tell(cx: &Context, card: &ModelCard, choice: &Choice) {
    choice.words(&card.labels).into_iter().for_each(|words| cx.info(words));
    let steps = choice.steps.len() as f64;
    cx.metric(Metric::new("postprocessing_steps", steps).split("validation").grid("original"));
}
