"""An nnU-Net model as one of the program's: plans as parameters, weights with their axes turned.

nnU-Net's arrays are z, y, x of the files, transposed by its plans; the program's are x, y, z turned to RAS. For
files that are stored in RAS the two differ by a permutation of axes alone, kernels included.
"""

import json

import torch


def order(plans):
    """The plan's axis for each of x, y, z."""
    forward = list(plans["transpose_forward"])
    return [forward.index(2 - axis) for axis in range(3)]


def turned(plans, values):
    """Values of the plan's axes along x, y, z; one number stands for all axes."""
    return [values[axis] for axis in order(plans)] if isinstance(values, (list, tuple)) else values


def network(plans, configuration):
    """The parameters of a network."""
    settings = configuration["architecture"]
    kwargs = settings["arch_kwargs"]
    is_residual = "ResidualEncoder" in settings["network_class_name"]
    each = lambda lists: [turned(plans, one) for one in lists]
    return {
        "name": "residual_encoder_unet" if is_residual else "plain_conv_unet",
        "features": list(kwargs["features_per_stage"]),
        "kernel_sizes": each(kwargs["kernel_sizes"]),
        "strides": each(kwargs["strides"]),
        "blocks" if is_residual else "convolutions":
            list(kwargs["n_blocks_per_stage" if is_residual else "n_conv_per_stage"]),
        "decoder_convolutions": list(kwargs["n_conv_per_stage_decoder"]),
        "deep_supervision": True,
    }


def intensity(plans, configuration):
    """The scaling of each channel."""
    schemes = zip(configuration["normalization_schemes"], configuration["use_mask_for_norm"])
    for channel, (scheme, is_masked) in enumerate(schemes):
        of = plans["foreground_intensity_properties_per_channel"].get(str(channel))
        if scheme == "CTNormalization":
            clip = [of["percentile_00_5"], of["percentile_99_5"]]
            yield {"ct": {"clip": clip, "mean": of["mean"], "std": of["std"]}}
        else:
            assert scheme == "ZScoreNormalization", scheme
            yield {"zscore": "nonzero_mask" if is_masked else "all"}


def regions(dataset):
    """The regions of a dataset.json in the order of the network's outputs; none for plain labels."""
    named = {name: values for name, values in dataset["labels"].items() if name not in ("background", "ignore")}
    if not any(isinstance(values, list) and len(values) > 1 for values in named.values()):
        return []
    lists = [values if isinstance(values, list) else [values] for values in named.values()]
    return [{"name": name, "labels": labels, "value": value}
            for name, labels, value in zip(named, lists, dataset["regions_class_order"])]


def labels(dataset):
    """The names of the labels 1, 2 and so on."""
    united = regions(dataset)
    if united:
        return [f"label_{value}" for value in sorted({value for region in united for value in region["labels"]})]
    return [name for name, value in sorted(dataset["labels"].items(), key=lambda one: one[1])
            if name not in ("background", "ignore")]


def parameters(plans, dataset, flips):
    """The parameters of `voxflow import` for the plans' `3d_fullres`."""
    full = plans["configurations"]["3d_fullres"]
    return {
        "network": network(plans, full),
        "modality": list(dataset["channel_names"].values()),
        "labels": labels(dataset),
        "regions": regions(dataset),
        "preprocess": {"spacing": turned(plans, full["spacing"]), "intensity": list(intensity(plans, full)),
                       "crop_nonzero": True, "resampling": {}},
        "inference": {"roi": turned(plans, full["patch_size"]), "overlap": 0.5, "blend": "gaussian_nnunet",
                      "placement": "even", "flips": flips, "average": "logits"},
    }


def flags(plans, dataset, flips=True):
    """The same on a command line."""
    each = parameters(plans, dataset, flips).items()
    return [word for key, value in each for word in ("--set", f"{key}={json.dumps(value)}")]


def weights(plans, state):
    """A state_dict with the axes of all kernels turned to x, y, z."""
    axes = [0, 1] + [axis + 2 for axis in order(plans)]
    turn = lambda value: value.permute(axes) if value.ndim == 5 else value
    return {name: turn(value.detach()).contiguous().clone() for name, value in state.items()}


def save(path, plans, state):
    torch.save(weights(plans, state), path)
