//! `plans.json`: what nnU-Net planned, along the axes of prepared volumes.

use crate::error::{Error, Result, Trouble};
use crate::image::intensity::{CtNormalization, Intensity, Zscore};
use crate::image::preparation::{AxisOrder, Intensities};
use crate::image::resize::{ANISOTROPY_THRESHOLD, Resampling};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Depth of configurations that inherit from each other.
const DEEPEST: usize = 16;
/// nnU-Net's only way of resampling for years.
const RESAMPLING: &str = "resample_data_or_seg_to_shape";

/// The file.
#[derive(Debug, Deserialize)]
pub struct Plans {
    #[serde(default = "unknown")]
    pub dataset_name: String,
    transpose_forward: [usize; 3],
    image_reader_writer: String,
    configurations: BTreeMap<String, Map<String, Value>>,
    /// Read where a channel is normalised by them; others may have none.
    #[serde(default)]
    foreground_intensity_properties_per_channel: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
struct ForegroundIntensities {
    mean: f64,
    std: f64,
    percentile_00_5: f64,
    percentile_99_5: f64,
}

/// A configuration, as `3d_fullres`, with all that it inherits.
#[derive(Debug, Deserialize)]
pub struct PlansConfiguration {
    patch_size: Vec<usize>,
    spacing: Vec<f64>,
    normalization_schemes: Vec<String>,
    use_mask_for_norm: Vec<bool>,
    resampling_fn_data: String,
    resampling_fn_data_kwargs: ResamplingKwargs,
    resampling_fn_probabilities: String,
    resampling_fn_probabilities_kwargs: ResamplingKwargs,
    #[serde(default)]
    previous_stage: Option<String>,
    /// All of its fields.
    #[serde(skip)]
    pub fields: Map<String, Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
struct ResamplingKwargs {
    order: u8,
    #[serde(default)]
    order_z: u8,
    #[serde(default)]
    force_separate_z: Option<bool>,
}

fn unknown() -> String {
    "unknown".into()
}

impl Plans {
    /// Reads the file's bytes.
    pub fn read(text: &[u8]) -> Result<Plans> {
        let plans: Plans = serde_json::from_slice(text)
            .map_err(|error| Error::failed(format!("is no plan of nnU-Net v2: {error}")))?;
        let mut axes = plans.transpose_forward;
        axes.sort_unstable();
        match axes {
            [0, 1, 2] => Ok(plans),
            _ => Err(Error::failed("'transpose_forward' is no order of three axes")),
        }
    }

    /// For each of x, y and z the plan's axis.
    pub fn axes(&self) -> [usize; 3] {
        [2, 1, 0].map(|array| {
            let place = self.transpose_forward.iter().position(|axis| *axis == array);
            place.unwrap_or(array)
        })
    }

    /// The axes that its reader hands over.
    pub fn orientation(&self) -> Result<AxisOrder> {
        match self.image_reader_writer.as_str() {
            "SimpleITKIO" | "NibabelIO" => Ok(AxisOrder::Stored),
            "NibabelIOWithReorient" | "SimpleITKIOWithReorient" => Ok(AxisOrder::Ras),
            other => Err(Error::failed(format!(
                "'image_reader_writer' is '{other}', which reads no NIfTI; convert the images and \
                 train again"
            ))),
        }
    }

    /// A configuration with what it inherits. Errors unless it is 3D and works without another's
    /// predictions.
    pub fn configuration(&self, name: &str) -> Result<PlansConfiguration> {
        let mut fields = Map::new();
        let mut next = Some(name.to_string());
        for _ in 0..DEEPEST {
            let Some(name) = next else { break };
            let own = self.configurations.get(&name).ok_or_else(|| {
                let all: Vec<&str> = self.configurations.keys().map(String::as_str).collect();
                Error::failed(format!("there is no '{name}'; there is {}", all.join(", ")))
            })?;
            next = own.get("inherits_from").and_then(Value::as_str).map(str::to_string);
            for (key, value) in own {
                fields.entry(key).or_insert_with(|| value.clone());
            }
        }
        let read = PlansConfiguration::deserialize(Value::Object(fields.clone()));
        let read = PlansConfiguration { fields, ..read.trouble("is not understood")? };
        if read.patch_size.len() != 3 || read.spacing.len() != 3 {
            return Err(Error::failed("is 2D, which is not offered; take '3d_fullres'"));
        }
        if let Some(stage) = &read.previous_stage {
            return Err(Error::failed(format!(
                "refines the predictions of '{stage}', which is not offered; take '3d_fullres' or \
                 '3d_lowres'"
            )));
        }
        Ok(read)
    }

    /// The scaling of each channel.
    pub fn intensities(&self, plan: &PlansConfiguration) -> Result<Intensities> {
        let masks = plan.use_mask_for_norm.iter().copied().chain(std::iter::repeat(false));
        let schemes = plan.normalization_schemes.iter().zip(masks).enumerate();
        let each = schemes.map(|(channel, (scheme, is_masked))| {
            Ok(match scheme.as_str() {
                "CTNormalization" => Intensity::Ct(self.ct(channel)?),
                "ZScoreNormalization" if is_masked => Intensity::Zscore(Zscore::NonzeroMask),
                "ZScoreNormalization" => Intensity::Zscore(Zscore::All),
                "NoNormalization" => Intensity::None,
                "RescaleTo01Normalization" => Intensity::Percentile([0.0, 100.0]),
                "RGBTo01Normalization" => Intensity::Window([0.0, 255.0]),
                other => {
                    return Err(Error::failed(format!("normalisation '{other}' is not offered")));
                }
            })
        });
        Ok(Intensities::Each(each.collect::<Result<_>>()?))
    }

    fn ct(&self, channel: usize) -> Result<CtNormalization> {
        let found = self.foreground_intensity_properties_per_channel.get(&channel.to_string());
        let found = found.ok_or_else(|| {
            Error::failed(format!("the intensities of channel {channel} are missing"))
        })?;
        let found = ForegroundIntensities::deserialize(found)
            .trouble(format!("the intensities of channel {channel}"))?;
        let ForegroundIntensities { mean, std, percentile_00_5, percentile_99_5 } = found;
        Ok(CtNormalization { clip: [percentile_00_5, percentile_99_5], mean, std })
    }
}

impl PlansConfiguration {
    /// Voxel size in mm along x, y and z. `axes` has the plan's axis for each.
    pub fn spacing(&self, axes: [usize; 3]) -> [f64; 3] {
        axes.map(|axis| self.spacing[axis])
    }

    /// Sides of the patch along x, y and z.
    pub fn patch(&self, axes: [usize; 3]) -> [usize; 3] {
        axes.map(|axis| self.patch_size[axis])
    }

    /// The resampling of images, and of logits on their way back.
    pub fn resampling(&self) -> Result<Resampling> {
        for name in [&self.resampling_fn_data, &self.resampling_fn_probabilities] {
            if name != RESAMPLING {
                return Err(Error::failed(format!("resampling by '{name}' is not offered")));
            }
        }
        let (image, back) =
            (self.resampling_fn_data_kwargs, self.resampling_fn_probabilities_kwargs);
        if [image.order_z, back.order_z] != [0, 0] {
            return Err(Error::failed("resampling with an 'order_z' above 0 is not offered"));
        }
        let anisotropy_threshold = match (image.force_separate_z, back.force_separate_z) {
            (None, None) => Some(ANISOTROPY_THRESHOLD),
            (Some(false), Some(false)) => None,
            _ => return Err(Error::failed("resampling with 'force_separate_z' is not offered")),
        };
        Ok(Resampling {
            image_order: image.order,
            probability_order: back.order,
            anisotropy_threshold,
            ..Resampling::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    pub(super) fn plans() -> Value {
        let kwargs = |order: u8| {
            json!({ "is_seg": false, "order": order, "order_z": 0,
                                         "force_separate_z": null })
        };
        json!({
            "dataset_name": "Dataset009_Spleen",
            "transpose_forward": [1, 0, 2],
            "image_reader_writer": "SimpleITKIO",
            "foreground_intensity_properties_per_channel": {
                "0": { "mean": 93.0, "std": 40.0, "percentile_00_5": -42.0, "percentile_99_5": 176.0,
                       "max": 300.0, "min": -90.0, "median": 95.0 },
            },
            "configurations": {
                "2d": { "patch_size": [8, 8] },
                "3d_fullres": {
                    "patch_size": [64, 192, 160], "spacing": [1.6, 0.8, 0.7],
                    "normalization_schemes": ["CTNormalization", "ZScoreNormalization"],
                    "use_mask_for_norm": [false, true],
                    "resampling_fn_data": RESAMPLING, "resampling_fn_data_kwargs": kwargs(3),
                    "resampling_fn_probabilities": RESAMPLING,
                    "resampling_fn_probabilities_kwargs": kwargs(1),
                },
                "3d_larger": { "inherits_from": "3d_fullres", "patch_size": [80, 192, 160] },
                "3d_cascade_fullres":
                    { "inherits_from": "3d_fullres", "previous_stage": "3d_lowres" },
            },
        })
    }

    type Change = fn(&mut Value);

    fn read(value: &Value) -> Result<Plans> {
        Plans::read(value.to_string().as_bytes())
    }

    #[test]
    fn a_plan_is_turned_to_x_y_z_and_inherits() {
        let plans = read(&plans()).unwrap();
        // The plan's axes are y, z, x of the files.
        assert_eq!(plans.axes(), [2, 0, 1]);
        let plan = plans.configuration("3d_larger").unwrap();
        assert_eq!(plan.patch(plans.axes()), [160, 80, 192]);
        assert_eq!(plan.spacing(plans.axes()), [0.7, 1.6, 0.8]);
        assert_eq!(plan.resampling().unwrap(), Resampling::default());
        let ct = CtNormalization { clip: [-42.0, 176.0], mean: 93.0, std: 40.0 };
        let each = vec![Intensity::Ct(ct), Intensity::Zscore(Zscore::NonzeroMask)];
        assert_eq!(plans.intensities(&plan).unwrap(), Intensities::Each(each));
        assert_eq!(plans.orientation().unwrap(), AxisOrder::Stored);
    }

    #[test]
    fn what_is_not_offered_is_refused_by_name() {
        let of = |change: Change, configuration: &str| {
            let mut changed = plans();
            change(&mut changed);
            let plans = read(&changed)?;
            plans.orientation()?;
            let plan = plans.configuration(configuration)?;
            plans.intensities(&plan)?;
            plan.resampling().map(drop)
        };
        let refused: [(Change, &str, &str); 7] = [
            (|_| {}, "2d", "is not understood: missing field"),
            (|_| {}, "3d_cascade_fullres", "refines the predictions of '3d_lowres'"),
            (|_| {}, "3d", "there is no '3d'; there is 2d, 3d_cascade_fullres, 3d_fullres"),
            (|plans| plans["image_reader_writer"] = "Tiff3DIO".into(), "3d_fullres", "'Tiff3DIO'"),
            (|plans| plans["transpose_forward"] = json!([0, 0, 2]), "3d_fullres", "no order"),
            (
                |plans| {
                    plans["configurations"]["3d_fullres"]["normalization_schemes"] = json!(["Own"]);
                },
                "3d_fullres",
                "normalisation 'Own' is not offered",
            ),
            (
                |plans| {
                    let full = &mut plans["configurations"]["3d_fullres"];
                    full["resampling_fn_data_kwargs"]["force_separate_z"] = json!(true);
                },
                "3d_fullres",
                "'force_separate_z'",
            ),
        ];
        for (change, configuration, words) in refused {
            let error = of(change, configuration).unwrap_err().to_string();
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
