//! Recipes of `voxflow new`, and the memory that a plan is made for.

use clap::ValueEnum;
use voxflow_stages::planner::Preset;

/// A way to choose settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TrainingRecipe {
    /// Rules of thumb from headers and a few images: minutes to a first model
    #[default]
    Quick,
    /// The plan of nnU-Net's ExperimentPlanner, from all training and validation cases
    Nnunet,
    /// That of nnUNetPlannerResEncM: a residual encoder, 8 GB
    NnunetResencM,
    /// That of nnUNetPlannerResEncL: 24 GB
    NnunetResencL,
    /// That of nnUNetPlannerResEncXL: 40 GB
    NnunetResencXl,
}

impl TrainingRecipe {
    /// The planner; `None` for rules of thumb.
    pub fn preset(self) -> Option<Preset> {
        match self {
            TrainingRecipe::Quick => None,
            TrainingRecipe::Nnunet => Some(Preset::Default),
            TrainingRecipe::NnunetResencM => Some(Preset::ResencM),
            TrainingRecipe::NnunetResencL => Some(Preset::ResencL),
            TrainingRecipe::NnunetResencXl => Some(Preset::ResencXl),
        }
    }
}

/// Gigabytes from `24`, `24G`, `24GB` or `24GiB`, all the same: memory of graphics cards is named
/// so.
pub fn gigabytes(text: &str) -> Result<f64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let number = ["gib", "gb", "g"].iter().find_map(|unit| lower.strip_suffix(unit));
    match number.unwrap_or(&lower).trim().parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("write gigabytes, as 24G".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gigabytes_have_many_units_and_one_meaning() {
        assert_eq!(["24", "24G", "24gb", "24 GiB"].map(gigabytes), [24.0; 4].map(Ok));
        for text in ["", "G", "24M", "-1G", "infG", "0"] {
            assert!(gigabytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_preset_has_a_recipe_of_its_name() {
        for preset in Preset::ALL {
            let recipe = TrainingRecipe::from_str(preset.recipe(), false).unwrap();
            assert_eq!(recipe.preset(), Some(preset));
        }
    }
}
