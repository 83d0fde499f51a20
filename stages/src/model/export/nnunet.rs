//! A results folder of nnU-Net v2: `plans.json`, `dataset.json` and
//! `fold_all/checkpoint_final.pth`, or `fold_0/checkpoint_final.pth` and so on for an ensemble of
//! folds. By it `nnUNetv2_predict_from_modelfolder` predicts what this model does, and nnU-Net
//! fine-tunes from it. `foreign::nnunet` reads such folders.
//!
//! Arrays of nnU-Net are z, y, x: sides, spacings and kernels are written backwards.

use super::archive::{ArchiveWriter, storage};
use crate::error::{Error, Result};
use crate::image::Preparation;
use crate::image::intensity::{Intensity, Zscore};
use crate::image::preparation::AxisOrder;
use crate::image::resize::{ANISOTROPY_THRESHOLD, Resampling};
use crate::model::pickle::PickleWriter;
use crate::model::tensor_spec::TensorSpec;
use crate::model::weights::{StateDict, TensorNumbers};
use crate::model::{Average, Blend, ModelCard, NetworkName, PerAxis, Placement};
use serde_json::{Map, Value, json};

/// The share by which nnU-Net's windows overlap unless it is told otherwise.
const OVERLAP: f64 = 0.5;
const CONFIGURATION: &str = "3d_fullres";

/// A fold of a results folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoldName {
    /// The only one, `fold_all`.
    All,
    /// One of several, from 0.
    Number(usize),
}

impl FoldName {
    fn file(self) -> String {
        match self {
            FoldName::All => "fold_all/checkpoint_final.pth".into(),
            FoldName::Number(number) => format!("fold_{number}/checkpoint_final.pth"),
        }
    }
}

/// The descriptions in a results folder by name; `card` is that of its first fold.
pub fn descriptions(card: &ModelCard) -> Result<Vec<(&'static str, Vec<u8>)>> {
    Ok(vec![("plans.json", text(&plans(card)?)), ("dataset.json", text(&dataset(card)?))])
}

/// A fold's file by name.
pub fn fold(card: &ModelCard, tensors: &StateDict, fold: FoldName) -> Result<(String, Vec<u8>)> {
    Ok((fold.file(), checkpoint(card, tensors, fold)?))
}

/// Differences between nnU-Net's inference and the model's.
pub fn warnings(card: &ModelCard) -> Option<String> {
    let inference = &card.inference;
    let is_same = inference.blend == Blend::GaussianNnunet
        && inference.placement == Placement::Even
        && inference.average == Average::Logits
        && inference.overlap == OVERLAP;
    (!is_same).then(|| {
        "nnU-Net slides its own windows (blend: gaussian_nnunet, placement: even, average: logits, \
         overlap: 0.5), so that its predictions differ a little"
            .into()
    })
}

fn text(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

/// Values along x, y, z in the order of nnU-Net's arrays.
fn backwards<T: Copy>([x, y, z]: [T; 3]) -> [T; 3] {
    [z, y, x]
}

fn backwards_each(sides: &[PerAxis]) -> Vec<[u32; 3]> {
    sides.iter().map(|sides| backwards(sides.xyz())).collect()
}

fn inexpressible(what: &str, way: &str) -> Error {
    Error::failed(format!("nnU-Net has no {what}; {way}"))
}

fn plans(card: &ModelCard) -> Result<Value> {
    let scalings = card.preparation.intensity.for_channels(card.modality.len())?;
    let schemes = scalings.iter().map(Scheme::of).collect::<Result<Vec<Scheme>>>()?;
    let properties = schemes.iter().enumerate();
    let properties =
        properties.map(|(channel, scheme)| (channel.to_string(), scheme.properties.clone()));
    let configuration = configuration(card, &schemes)?;
    Ok(json!({
        "dataset_name": card.dataset,
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": configuration["spacing"],
        "original_median_shape_after_transp": configuration["patch_size"],
        "image_reader_writer": match card.preparation.orientation {
            AxisOrder::Ras => "NibabelIOWithReorient",
            AxisOrder::Stored => "SimpleITKIO",
        },
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": { CONFIGURATION: configuration },
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": Map::from_iter(properties),
    }))
}

fn configuration(card: &ModelCard, schemes: &[Scheme]) -> Result<Value> {
    let preparation = &card.preparation;
    let spacing = preparation.spacing.ok_or_else(|| {
        inexpressible("images of any voxel size", "train with a 'spacing' in 'preprocess'")
    })?;
    let roi = card.inference.roi;
    let roi = roi.ok_or_else(|| Error::failed("the model does not say 'inference.roi'"))?;
    let resampling = resampling(preparation)?;
    // Null lets nnU-Net decide by its own threshold, which is ours.
    let force_separate_z = match resampling.anisotropy_threshold {
        Some(_) => Value::Null,
        None => json!(false),
    };
    let kwargs = |order: u8, is_labels: bool| {
        json!({ "is_seg": is_labels, "order": order, "order_z": 0,
                "force_separate_z": force_separate_z })
    };
    let function = "resample_data_or_seg_to_shape";
    Ok(json!({
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": backwards(roi),
        "median_image_size_in_voxels": backwards(roi),
        "spacing": backwards(spacing),
        "normalization_schemes": schemes.iter().map(|scheme| scheme.name).collect::<Vec<_>>(),
        "use_mask_for_norm": schemes.iter().map(|scheme| scheme.is_masked).collect::<Vec<_>>(),
        "resampling_fn_data": function,
        "resampling_fn_seg": function,
        "resampling_fn_data_kwargs": kwargs(resampling.image_order, false),
        "resampling_fn_seg_kwargs": kwargs(resampling.label_order, true),
        "resampling_fn_probabilities": function,
        "resampling_fn_probabilities_kwargs": kwargs(resampling.probability_order, false),
        "architecture": architecture(card)?,
        "batch_dice": false,
    }))
}

/// nnU-Net's resampling, or an error about what it does otherwise.
fn resampling(preparation: &Preparation) -> Result<Resampling> {
    let way = "train with a workflow of 'voxflow new --recipe nnunet'";
    let resampling = preparation.resampling;
    let resampling = resampling.ok_or_else(|| inexpressible("resampling as MONAI's", way))?;
    if !preparation.crop_nonzero {
        return Err(inexpressible("images that are not cropped to their non-zero voxels", way));
    }
    if resampling.anisotropy_threshold.is_some_and(|factor| factor != ANISOTROPY_THRESHOLD) {
        return Err(inexpressible("'anisotropy_threshold' other than 3 and null", way));
    }
    Ok(resampling)
}

/// The normalisation of a channel.
struct Scheme {
    name: &'static str,
    is_masked: bool,
    properties: Value,
}

impl Scheme {
    fn plain(name: &'static str) -> Scheme {
        Scheme { name, is_masked: false, properties: json!({}) }
    }

    fn clipped([low, high]: [f64; 2], mean: f64, std: f64) -> Scheme {
        Scheme {
            properties: json!({ "mean": mean, "std": std, "percentile_00_5": low,
                                "percentile_99_5": high, "median": mean, "min": low, "max": high }),
            ..Scheme::plain("CTNormalization")
        }
    }

    fn of(scaling: &Intensity) -> Result<Scheme> {
        Ok(match scaling {
            Intensity::Ct(ct) => Scheme::clipped(ct.clip, ct.mean, ct.std),
            // Clipped, and from 0 to 1.
            Intensity::Window([low, high]) => Scheme::clipped([*low, *high], *low, high - low),
            Intensity::Zscore(Zscore::All) => Scheme::plain("ZScoreNormalization"),
            Intensity::Zscore(Zscore::NonzeroMask) => {
                Scheme { is_masked: true, ..Scheme::plain("ZScoreNormalization") }
            }
            Intensity::None => Scheme::plain("NoNormalization"),
            Intensity::Percentile([low, high]) if [*low, *high] == [0.0, 100.0] => {
                Scheme::plain("RescaleTo01Normalization")
            }
            Intensity::Zscore(Zscore::Nonzero) | Intensity::Percentile(_) => {
                let words = "intensity scaling by percentiles or by non-zero voxels";
                return Err(inexpressible(words, "use 'zscore: nonzero_mask', 'ct' or 'window'"));
            }
        })
    }
}

fn architecture(card: &ModelCard) -> Result<Value> {
    let network = &card.network;
    let (class, counts, convolutions) = match network.name {
        NetworkName::PlainConvUnet => {
            ("unet.PlainConvUNet", "n_conv_per_stage", &network.convolutions)
        }
        NetworkName::ResidualEncoderUnet => {
            ("unet.ResidualEncoderUNet", "n_blocks_per_stage", &network.blocks)
        }
        NetworkName::Unet => {
            return Err(inexpressible(
                "network like MONAI's UNet",
                "export it as 'bundle', or train 'plain_conv_unet'",
            ));
        }
    };
    Ok(json!({
        "network_class_name": format!("dynamic_network_architectures.architectures.{class}"),
        "arch_kwargs": {
            "n_stages": network.features.len(),
            "features_per_stage": network.features,
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": backwards_each(&network.kernel_sizes),
            "strides": backwards_each(&network.strides),
            counts: convolutions,
            "n_conv_per_stage_decoder": network.decoder_convolutions,
            "conv_bias": true,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": { "eps": 1e-5, "affine": true },
            "dropout_op": null,
            "dropout_op_kwargs": null,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": { "inplace": true },
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }))
}

fn dataset(card: &ModelCard) -> Result<Value> {
    if !card.labels.iter().map(|label| usize::from(label.value)).eq(1..=card.labels.len()) {
        let way = "number them 1, 2 and so on with 'map_labels'";
        return Err(inexpressible("labels with gaps between their values", way));
    }
    let channels = card.modality.iter().enumerate();
    let channels = channels.map(|(index, name)| (index.to_string(), json!(name)));
    let mut labels = Map::from_iter([("background".to_string(), json!(0))]);
    labels.extend(match card.regions[..] {
        [] => card.labels.iter().map(|label| (label.name.clone(), json!(label.value))).collect(),
        _ => card
            .regions
            .iter()
            .map(|region| (region.name.clone(), json!(region.labels)))
            .collect::<Vec<(String, Value)>>(),
    });
    let mut dataset = json!({
        "channel_names": Map::from_iter(channels),
        "labels": labels,
        "numTraining": card.training.training_cases,
        "file_ending": ".nii.gz",
    });
    if !card.regions.is_empty() {
        let values: Vec<u8> = card.regions.iter().map(|region| region.value).collect();
        dataset["regions_class_order"] = json!(values);
    }
    Ok(dataset)
}

/// `checkpoint_final.pth`: weights under all names of the network, and what prediction asks for.
fn checkpoint(card: &ModelCard, tensors: &StateDict, fold: FoldName) -> Result<Vec<u8>> {
    let turned: StateDict = tensors.iter().map(turned).collect();
    let mut pickle = PickleWriter::default();
    pickle.op(b'}').op(b'(');
    pickle.text("network_weights").global("collections", "OrderedDict").op(b')').op(b'R').op(b'(');
    for (index, (spec, _)) in turned.iter().enumerate() {
        for name in std::iter::once(&spec.name).chain(&spec.twins) {
            let index = index.to_string();
            pickle.text(name).tensor(storage(spec.is_counter()), &index, &spec.shape, false);
        }
    }
    pickle.op(b'u');
    pickle.text("trainer_name").text("nnUNetTrainer");
    pickle.text("current_epoch").int(card.training.epochs as usize);
    pickle.text("init_args").op(b'}').op(b'(');
    pickle.text("configuration").text(CONFIGURATION).text("fold");
    match fold {
        FoldName::All => pickle.text("all"),
        FoldName::Number(number) => pickle.int(number),
    };
    pickle.op(b'u');
    pickle.text("inference_allowed_mirroring_axes");
    let mut axes: Vec<usize> = card.inference.flips.axes().iter().map(|axis| 2 - axis).collect();
    axes.sort_unstable();
    match axes[..] {
        // nnU-Net takes an empty list for a mistake.
        [] => pickle.op(b'N'),
        _ => pickle.ints(&axes),
    };
    pickle.op(b'u');
    ArchiveWriter::new(&pickle.finish())?.finish(&turned)
}

/// A tensor with its kernel's axes z, y, x.
fn turned((spec, numbers): &(TensorSpec, TensorNumbers)) -> (TensorSpec, TensorNumbers) {
    let ([outer, inner, x, y, z], TensorNumbers::Floats(values)) = (&spec.shape[..], numbers)
    else {
        return (spec.clone(), numbers.clone());
    };
    let mut floats = Vec::with_capacity(values.len());
    for kernel in values.chunks_exact((x * y * z).max(1)).take(outer * inner) {
        for k in 0..*z {
            for j in 0..*y {
                floats.extend((0..*x).map(|i| kernel[(i * y + j) * z + k]));
            }
        }
    }
    let shape = vec![*outer, *inner, *z, *y, *x];
    (TensorSpec { shape, ..spec.clone() }, TensorNumbers::Floats(floats))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tensor_spec::{InitialValue, TensorRole};

    fn card(changes: &[(&str, Value)]) -> ModelCard {
        let mut card = json!({
            "format": 1, "dataset": "liver", "modality": ["CT"],
            "labels": [{ "value": 1, "name": "liver" }, { "value": 2, "name": "tumour" }],
            "network": { "name": "plain_conv_unet", "features": [4, 8], "strides": [1, [2, 2, 1]],
                         "kernel_sizes": [[3, 3, 1], 3], "convolutions": [2, 2],
                         "decoder_convolutions": [2] },
            "preparation": { "spacing": [0.7, 0.8, 2.5], "intensity": { "window": [-100, 300] },
                             "crop_nonzero": true, "resampling": {} },
            "inference": { "roi": [32, 24, 8], "flips": [0, 1] },
            "training": { "epochs": 5, "steps": 9, "training_cases": 3, "validation_cases": 1,
                          "best_epoch": null, "best_dice": null },
        });
        for (path, value) in changes {
            *card.pointer_mut(path).expect(path) = value.clone();
        }
        serde_json::from_value(card).expect("a card")
    }

    #[test]
    fn sides_and_spacings_are_written_backwards_and_a_window_is_a_clip() {
        let plans = plans(&card(&[])).unwrap();
        let full = &plans["configurations"][CONFIGURATION];
        assert_eq!(full["patch_size"], json!([8, 24, 32]));
        assert_eq!(full["spacing"], json!([2.5, 0.8, 0.7]));
        let kwargs = &full["architecture"]["arch_kwargs"];
        assert_eq!(kwargs["kernel_sizes"], json!([[1, 3, 3], [3, 3, 3]]));
        assert_eq!(kwargs["strides"], json!([[1, 1, 1], [1, 2, 2]]));
        let clip = &plans["foreground_intensity_properties_per_channel"]["0"];
        let of = ["percentile_00_5", "percentile_99_5", "mean", "std"].map(|key| clip[key].clone());
        assert_eq!(of, [-100.0, 300.0, -100.0, 400.0].map(|value| json!(value)));
        assert_eq!(plans["image_reader_writer"], "NibabelIOWithReorient");
        assert!(warnings(&card(&[])).is_some());
    }

    #[test]
    fn what_nnu_net_cannot_do_is_refused_with_the_way_out() {
        let refused = [
            ("/preparation/resampling", Value::Null, "no resampling as MONAI's"),
            ("/preparation/crop_nonzero", json!(false), "not cropped to their non-zero voxels"),
            ("/preparation/spacing", Value::Null, "no images of any voxel size"),
            (
                "/preparation/intensity",
                json!({ "zscore": "nonzero" }),
                "use 'zscore: nonzero_mask'",
            ),
            ("/network", json!({}), "no network like MONAI's UNet"),
            ("/labels/1/value", json!(4), "no labels with gaps"),
        ];
        for (path, value, words) in refused {
            let card = card(&[(path, value)]);
            let error = plans(&card).and_then(|_| dataset(&card)).unwrap_err().to_string();
            assert!(error.contains(words), "{words}: {error}");
        }
    }

    #[test]
    fn kernels_are_turned_to_z_y_x() {
        let spec = TensorSpec {
            name: "a".into(),
            shape: vec![1, 2, 1, 2, 3],
            role: TensorRole::Weight,
            initial: InitialValue::Constant(0.0),
            twins: vec![],
        };
        let floats = TensorNumbers::Floats((0..12u8).map(f32::from).collect());
        let (spec, numbers) = turned(&(spec, floats));
        assert_eq!(spec.shape, [1, 2, 3, 2, 1]);
        let wanted = [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11u8];
        assert_eq!(numbers, TensorNumbers::Floats(wanted.map(f32::from).to_vec()));
    }
}
