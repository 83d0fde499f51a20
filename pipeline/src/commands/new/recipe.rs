//! Recipes of `voxflow new`, the memory that a plan is made for, and the line of a workflow that
//! keeps both.

use clap::ValueEnum;
use voxflow_stages::planner::Preset;

/// The beginning of the line; flags of `voxflow new` follow.
const LINE: &str = "# Recipe: ";

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

/// The comment that keeps a plan's recipe and memory in its workflow, for `--update`.
pub fn recipe_line(preset: Preset, gpu_memory_gb: f64) -> String {
    format!("{LINE}--recipe {} --gpu-memory {gpu_memory_gb}G", preset.recipe())
}

/// The recipe and the memory that a workflow was written with: by its [`recipe_line`], or by the
/// sentence about its plan, where it has no such line.
pub fn kept_in(text: &str) -> Option<(Preset, f64)> {
    let mut comments = text.lines().map(str::trim).filter(|line| line.starts_with('#'));
    let sentences = comments.clone();
    comments.find_map(of_line).or_else(|| sentences.into_iter().find_map(of_sentence))
}

fn of_line(line: &str) -> Option<(Preset, f64)> {
    let words: Vec<&str> = line.strip_prefix(LINE)?.split_whitespace().collect();
    let preset: Preset = value_of("--recipe", &words)?.parse().ok()?;
    let memory = match value_of("--gpu-memory", &words) {
        Some(text) => gigabytes(text).ok()?,
        None => preset.gpu_memory_gb(),
    };
    Some((preset, memory))
}

fn value_of<'a>(flag: &str, words: &[&'a str]) -> Option<&'a str> {
    words.windows(2).find(|pair| pair[0] == flag).map(|pair| pair[1])
}

/// "(ExperimentPlanner, 8 GB)".
fn of_sentence(line: &str) -> Option<(Preset, f64)> {
    let (_, inside) = line.split_once("nnU-Net ")?.1.split_once('(')?;
    let (planner, memory) = inside.split_once(')')?.0.split_once(", ")?;
    let preset = Preset::ALL.into_iter().find(|preset| preset.planner() == planner)?;
    Some((preset, gigabytes(memory).ok()?))
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
    fn a_workflow_keeps_its_recipe_and_memory_in_a_line_or_in_an_older_sentence() {
        let line = recipe_line(Preset::ResencL, 11.5);
        assert_eq!(kept_in(&format!("# a\n{line}\nname: x\n")), Some((Preset::ResencL, 11.5)));
        let older = "# The plan is that of nnU-Net 2.8.1 (nnUNetPlannerResEncM, 24 GB) for the 5 \
                     training and validation cases.";
        assert_eq!(kept_in(older), Some((Preset::ResencM, 24.0)));
        assert_eq!(kept_in("# Recipe: --recipe nnunet"), Some((Preset::Default, 8.0)));
        for text in ["", "# Recipe: --recipe quick", "# as nnU-Net (roughly, 8 GB)", &line[2..]] {
            assert_eq!(kept_in(text), None, "{text}");
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
