"""Makes the fixture of the planner: what nnU-Net planned for ten tasks, with three planners each.

    python tests/parity/reduce_plans.py FOLDER [OUT]

FOLDER holds `fingerprints.json.gz` and `plans.json` of automl/AutoNNUNet (BSD): the fingerprints
of ten tasks of the Decathlon, and the plans of nnU-Net 2's ExperimentPlanner, nnUNetPlannerResEncM
and nnUNetPlannerResEncL. The fixture keeps what a planner takes and what it gives: spacings and
shapes of every case, counted where several are equal, and the 3D configurations.
"""

import gzip
import json
import sys
from pathlib import Path


def cases(task):
    """Distinct pairs of spacing and shape as flat lists, each with its count."""
    counts = {}
    for spacing, shape in zip(task["spacings_mm"], task["shapes_after_crop"]):
        key = (*spacing, *shape)
        counts[key] = counts.get(key, 0) + 1
    return [[*key, count] for key, count in sorted(counts.items())]


def configuration(found):
    if found is None:
        return None
    kwargs = found["architecture"]["arch_kwargs"]
    return {
        "spacing": found["spacing"],
        "median_image_size_in_voxels": found["median_image_size_in_voxels"],
        "patch_size": found["patch_size"],
        "batch_size": found["batch_size"],
        "batch_dice": found["batch_dice"],
        "network": found["architecture"]["network_class_name"].rsplit(".", 1)[-1],
        "features_per_stage": kwargs["features_per_stage"],
        "kernel_sizes": kwargs["kernel_sizes"],
        "strides": kwargs["strides"],
        "encoder": kwargs.get("n_conv_per_stage") or kwargs["n_blocks_per_stage"],
        "decoder": kwargs["n_conv_per_stage_decoder"],
    }


def plan(found):
    full = found["configurations"]["3d_fullres"]
    return {
        "transpose_forward": found["transpose_forward"],
        "original_median_spacing_after_transp": found["original_median_spacing_after_transp"],
        "original_median_shape_after_transp": found["original_median_shape_after_transp"],
        "normalization_schemes": full["normalization_schemes"],
        "use_mask_for_norm": full["use_mask_for_norm"],
        "fullres": configuration(full),
        "lowres": configuration(found["configurations"].get("3d_lowres")),
    }


def main():
    folder = Path(sys.argv[1])
    out = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent / "fixtures" / "nnunet_plans"
    fingerprints = json.load(gzip.open(folder / "fingerprints.json.gz"))
    plans = json.loads((folder / "plans.json").read_text())
    tasks = {
        name: {
            "channel_names": list(task["channel_names"].values()),
            "classes": len(task["labels"]),
            "median_relative_size_after_cropping": task["median_relative_size_after_cropping"],
            "cases": cases(task),
            "plans": {preset: plan(found) for preset, found in plans[name].items()},
        }
        for name, task in fingerprints.items()
    }
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(tasks, separators=(",", ":")).replace('"plans":', '\n"plans":').replace("]]}}},", "]]}}},\n")
    (out / "plans.json").write_text(text + "\n")
    print(f"{len(tasks)} tasks, {len(text)} bytes")


main()
