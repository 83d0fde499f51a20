//! An ensemble as a single model artifact: folders with models, each complete in itself, and a card
//! of its own with what holds for all of them.

use super::description::{EnsembleMember, TrainingSummary};
use super::{ModelCard, Provenance};
use crate::dataset::{Label, Region, name};
use crate::error::{Error, Result};
use crate::image::Volume;
use crate::task::Input;

/// The card's file in a model artifact, and in each member's folder.
pub const CARD: &str = "model.json";

/// A single model, as a stage's input of its own.
#[derive(Clone, Debug)]
pub struct SingleModel {
    /// Its files.
    pub input: Input,
    /// Its card.
    pub card: ModelCard,
    /// The number of its configuration.
    pub configuration: usize,
}

impl ModelCard {
    /// Checks that members lie inside the artifact.
    pub fn check_members(&self) -> Result<()> {
        self.members.iter().try_for_each(|member| name::relative(&member.folder).map(drop))
    }

    /// The number of configurations; 1 for a single model.
    pub fn configurations(&self) -> usize {
        self.members.iter().map(|member| member.configuration + 1).max().unwrap_or(1)
    }

    /// An error if the model is an ensemble: `purpose` needs a single one, as "a training starts
    /// from".
    pub fn check_single(&self, stage: &str, purpose: &str) -> Result<()> {
        match self.members.len() {
            0 => Ok(()),
            count => Err(Error::failed(format!(
                "model '{stage}' is an ensemble of {count} models, and {purpose} a single one; \
                 name the stage or folder of one of them, such as '{}'",
                self.members[0].folder
            ))),
        }
    }

    /// The card of an ensemble. The first model's holds but for post-processing and training.
    /// `training` are the cases that all have seen, and how good they are.
    pub fn of_ensemble(
        cards: &[(ModelCard, EnsembleMember)],
        best_dice: Option<f64>,
    ) -> Option<ModelCard> {
        let first = cards.first()?.0.clone();
        let provenance = Provenance::of_all(cards.iter().map(|(card, _)| card.provenance.as_ref()));
        let known = provenance.as_ref();
        let training = TrainingSummary {
            epochs: cards.iter().map(|(card, _)| card.training.epochs).max().unwrap_or(0),
            steps: cards.iter().map(|(card, _)| card.training.steps).sum(),
            training_cases: known.map_or(0, |known| known.training.len()),
            validation_cases: known.map_or(0, |known| known.validation.len()),
            best_dice,
            ..TrainingSummary::default()
        };
        let members = cards.iter().map(|(_, member)| member.clone()).collect();
        Some(ModelCard { keep_largest: vec![], training, provenance, members, ..first })
    }
}

/// The models of an artifact: its members, or itself.
pub fn models_of(input: &Input) -> Result<Vec<SingleModel>> {
    let card: ModelCard = input.json(CARD)?;
    if card.members.is_empty() {
        return Ok(vec![SingleModel { input: input.clone(), card, configuration: 0 }]);
    }
    card.check_members()?;
    card.members.iter().map(|member| single_model(input, member)).collect()
}

fn single_model(input: &Input, member: &EnsembleMember) -> Result<SingleModel> {
    let below = format!("{}/", member.folder);
    let files = input.files.iter();
    let files = files.filter_map(|(name, file)| Some((name.strip_prefix(&below)?, file)));
    let input = Input {
        stage: format!("{}/{}", input.stage, member.folder),
        files: files.map(|(name, file)| (name.to_string(), file.clone())).collect(),
    };
    let card: ModelCard = input.json(CARD)?;
    card.check_single(&input.stage, "a member of an ensemble is")?;
    Ok(SingleModel { input, card, configuration: member.configuration })
}

/// Sums of a voxel's probabilities are this far from 1 by rounding.
const ROUNDING: f32 = 1e-3;

/// The mean of several volumes of probabilities on one grid. Classes with a sum below 1, as outside
/// a foreground box, count as background for the rest: that configuration has not looked there.
/// Regions have no background; 0 says the same.
///
/// # Errors
/// Volumes of different shapes, or an empty list.
pub fn mean_of(
    volumes: impl Iterator<Item = Result<Volume<f32>>>,
    has_regions: bool,
) -> Result<Volume<f32>> {
    let mut volumes = volumes.map(|volume| match has_regions {
        true => volume,
        false => volume.map(with_background),
    });
    let mut sum = volumes.next().ok_or_else(|| Error::failed("no probabilities to average"))??;
    let mut count = 1.0f32;
    for volume in volumes {
        let volume = volume?;
        if (volume.shape, volume.channels) != (sum.shape, sum.channels) {
            return Err(Error::failed("probabilities of one case lie on different grids"));
        }
        sum.data.iter_mut().zip(&volume.data).for_each(|(sum, value)| *sum += value);
        count += 1.0;
    }
    sum.data.iter_mut().for_each(|value| *value /= count);
    Ok(sum)
}

/// Probabilities whose background has what is missing from 1.
fn with_background(mut all: Volume<f32>) -> Volume<f32> {
    let voxels = all.voxels();
    let (background, others) = all.data.split_at_mut(voxels);
    let mut missing: Vec<f32> = background.iter().map(|value| 1.0 - value).collect();
    for channel in others.chunks_exact(voxels) {
        missing.iter_mut().zip(channel).for_each(|(missing, value)| *missing -= value);
    }
    for (value, missing) in background.iter_mut().zip(missing) {
        *value += if missing > ROUNDING { missing } else { 0.0 };
    }
    all
}

/// The label map of probabilities: the most likely class, the first of equals, background first; or
/// regions painted in order, each with a probability above 0.5.
pub fn label_map(all: &Volume<f32>, labels: &[Label], regions: &[Region]) -> Volume<u8> {
    let mut data = vec![0u8; all.voxels()];
    if regions.is_empty() {
        let values: Vec<u8> = [0].into_iter().chain(labels.iter().map(|one| one.value)).collect();
        let mut best = vec![f32::NEG_INFINITY; all.voxels()];
        for (channel, value) in all.each_channel().zip(values) {
            for ((voxel, best), score) in data.iter_mut().zip(&mut best).zip(channel) {
                if *score > *best {
                    (*voxel, *best) = (value, *score);
                }
            }
        }
    }
    for (channel, region) in all.each_channel().zip(regions) {
        let within = data.iter_mut().zip(channel).filter(|(_, score)| **score > 0.5);
        within.for_each(|(voxel, _)| *voxel = region.value);
    }
    Volume { channels: 1, shape: all.shape, data, affine: all.affine }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(data: &[f32]) -> Volume<f32> {
        let mut affine = [[0.0; 4]; 4];
        (0..4).for_each(|axis| affine[axis][axis] = 1.0);
        Volume { channels: 2, shape: [data.len() / 2, 1, 1], data: data.to_vec(), affine }
    }

    #[test]
    fn the_mean_of_probabilities_decides_and_background_wins_where_nothing_is_said() {
        let one = volume(&[0.9, 0.4, 0.0, 0.1, 0.6, 0.0]);
        let two = volume(&[0.3, 0.2, 0.0, 0.7, 0.8, 0.0]);
        let both = || [Ok(one.clone()), Ok(two.clone())].into_iter();
        let mean = mean_of(both(), true).unwrap();
        assert!((mean.data[0] - 0.6).abs() < 1e-6 && (mean.data[1] - 0.3).abs() < 1e-6);
        let labels = [Label { value: 4, name: "liver".into() }];
        assert_eq!(label_map(&mean, &labels, &[]).data, [0, 4, 0]);
        let regions = [
            Region { name: "whole".into(), labels: vec![1, 2], value: 1 },
            Region { name: "core".into(), labels: vec![2], value: 2 },
        ];
        assert_eq!(label_map(&mean, &labels, &regions).data, [1, 2, 0]);
        let other = Volume { shape: [1, 3, 1], ..one.clone() };
        assert!(mean_of([Ok(one.clone()), Ok(other)].into_iter(), false).is_err());
    }

    #[test]
    fn where_a_configuration_has_not_looked_it_says_background() {
        // Three voxels: both looked, one alone, nobody.
        let one = volume(&[0.4, 0.0, 0.0, 0.6, 0.0, 0.0]);
        let two = volume(&[0.2, 0.3, 0.0, 0.8, 0.7, 0.0]);
        let mean = |has_regions: bool| {
            mean_of([Ok(one.clone()), Ok(two.clone())].into_iter(), has_regions).unwrap()
        };
        let labels = [Label { value: 1, name: "liver".into() }];
        let found = mean(false);
        let wanted = [0.3, 0.65, 1.0, 0.7, 0.35, 0.0];
        assert!(found.data.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 1e-6));
        assert_eq!(label_map(&found, &labels, &[]).data, [1, 0, 0]);
        assert_eq!(mean(true).data[4], 0.35, "a region is not likely there either");
    }
}
