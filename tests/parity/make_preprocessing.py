"""Makes the fixtures of preprocessing: six generated tasks, and what nnU-Net 2.8.1 makes of them.

    python tests/parity/make_preprocessing.py [OUT]

OUT defaults to fixtures/nnunet_tasks beside this file. Each task is a small dataset in nnU-Net's
layout. nnU-Net extracts its fingerprint, plans it, preprocesses its first case, and brings scores
back to that case's own grid. `tasks.json` tells the facts, `<task>.safetensors` holds arrays: axes
x, y, z turned to RAS, as the program has them (x varies fastest in memory).
The inputs are drawn from fixed seeds.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from safetensors.numpy import save_file

ROOM = tempfile.mkdtemp() if __name__ == "__main__" else os.environ["nnUNet_raw"].rsplit("/", 1)[0]
for name in ["nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"]:
    os.environ[name] = f"{ROOM}/{name}"


def turned(degrees):
    a, b, c = np.deg2rad(degrees)
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return rz @ ry @ rx


# The shapes and voxel sizes of each task's cases (x, y, z), channels, and what else is special.
TASKS = {
    "anisotropic": dict(cases=[((26, 24, 7), (0.8, 0.8, 5.0)), ((22, 25, 8), (0.9, 0.9, 4.0)),
                               ((28, 23, 6), (0.7, 0.7, 6.0))], channels=["CT"], flips=(-1, 1, 1)),
    "four_channels": dict(cases=[((18, 22, 16), (1.0, 1.0, 1.0)), ((17, 20, 18), (1.1, 1.0, 0.9)),
                                 ((19, 21, 17), (0.9, 1.1, 1.2))], channels=["FLAIR", "T1w", "CT", "noNorm"]),
    "black_border": dict(cases=[((26, 28, 20), (1.2, 1.0, 1.4)), ((27, 26, 22), (1.0, 1.1, 1.3)),
                                ((25, 27, 21), (1.1, 1.2, 1.5))], channels=["MRI"], border=5),
    "tiny": dict(cases=[((9, 8, 7), (1.0, 1.0, 1.0)), ((8, 9, 6), (1.0, 1.2, 1.1)),
                        ((7, 8, 8), (0.8, 1.0, 1.0))], channels=["MRI"]),
    "nonzero_box": dict(cases=[((24, 22, 18), (1.5, 1.2, 2.0)), ((22, 23, 16), (1.4, 1.3, 2.2)),
                               ((23, 24, 17), (1.3, 1.4, 1.8))], channels=["MRI", "rescale_to_0_1"], border=1,
                        flips=(-1, -1, 1)),
    "oblique": dict(cases=[((20, 22, 14), (1.0, 1.1, 2.0)), ((21, 20, 15), (1.2, 1.0, 1.8)),
                           ((19, 21, 16), (1.1, 1.2, 2.1))], channels=["CT"], degrees=(7, -4, 11)),
}
LABELS = {"background": 0, "inner": 1, "outer": 2}


def volume(rng, shape, size, channels, border):
    """Two nested organs with blurred noise; air for CT, and black beyond the border."""
    place = np.meshgrid(*[(np.arange(n) - n / 2 + 0.5) / n for n in shape], indexing="ij")
    radius = np.sqrt(sum((axis * (2.2 + 0.4 * rng.random())) ** 2 for axis in place)) + rng.normal(0, 0.03, shape)
    label = np.where(radius < 0.4, 1, np.where(radius < 0.7, 2, 0)).astype(np.uint8)
    images = []
    for channel in channels:
        noise = rng.normal(0, 20, shape)
        values = 100 + 60 * (label == 1) - 30 * (label == 2) + noise
        if channel == "CT":
            values = np.where(radius < 0.95, values, -1000 + noise)
            values = np.round(values)
            values[values == 0] = 1
        else:
            values = np.abs(values) + 0.125
            values = np.round(values * 8) / 8
        if border:
            inside = np.zeros(shape, bool)
            inside[tuple(slice(border + i % 2, -border) for i in range(3))] = True
            if border > 2:
                inside &= radius < 0.9
            values = np.where(inside, values, 0)
            values[tuple(n // 2 for n in shape)] = 0  # a hole
        images.append(values.astype(np.float32))
    return images, label


def write_task(folder, number, name, task):
    rng = np.random.default_rng(1000 + number)
    home = folder / f"Dataset{number:03d}_{name}"
    for part in ["imagesTr", "labelsTr"]:
        (home / part).mkdir(parents=True)
    for index, (shape, size) in enumerate(task["cases"]):
        images, label = volume(rng, shape, size, task["channels"], task.get("border", 0))
        affine = np.eye(4)
        signs = np.array(task.get("flips", (1, 1, 1)))
        affine[:3, :3] = turned(task.get("degrees", (0, 0, 0))) @ np.diag(np.array(size) * signs)
        affine[:3, 3] = rng.normal(0, 30, 3)
        is_whole = all(channel == "CT" for channel in task["channels"])
        for channel, values in enumerate(images):
            kind = np.int16 if is_whole else np.float32
            nib.save(nib.Nifti1Image(values.astype(kind), affine),
                     home / "imagesTr" / f"case{index}_{channel:04d}.nii.gz")
        nib.save(nib.Nifti1Image(label, affine), home / "labelsTr" / f"case{index}.nii.gz")
    (home / "dataset.json").write_text(json.dumps({
        "channel_names": {str(i): channel for i, channel in enumerate(task["channels"])},
        "labels": LABELS, "numTraining": len(task["cases"]), "file_ending": ".nii.gz"}))
    return home


def scores(shape):
    """Random scores of three classes, whole numbers of 1/65536; axes x, y, z."""
    c, x, y, z = np.meshgrid(np.arange(3), *[np.arange(n) for n in shape], indexing="ij")
    seed = (x * 31 + y * 1009 + z * 65537 + c * 16777259 + 12345).astype(np.uint64)
    mixed = (seed * np.uint64(2654435761)) % np.uint64(2**32)
    mixed = (mixed ^ (mixed >> np.uint64(15))) * np.uint64(2246822519) % np.uint64(2**32)
    return ((mixed >> np.uint64(16)).astype(np.float32) / np.float32(65536)).astype(np.float32)


def to_ras(array, transpose_backward, flips):
    """(c, plan's axes) to (c, x, y, z), running to the right, front and up."""
    zyx = array.transpose([0] + [axis + 1 for axis in transpose_backward])
    xyz = zyx.transpose(0, 3, 2, 1)
    return xyz[(slice(None), *[slice(None, None, -1 if flip < 0 else 1) for flip in flips])]


def from_ras(array, transpose_forward, flips):
    xyz = array[(slice(None), *[slice(None, None, -1 if flip < 0 else 1) for flip in flips])]
    return xyz.transpose(0, 3, 2, 1).transpose([0] + [axis + 1 for axis in transpose_forward])


def stored(array):
    """As the program's volumes lie: x fastest, channels slowest."""
    return np.ascontiguousarray(array.transpose(0, 3, 2, 1))


def preprocess(number, home, task):
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments
    from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    extract_fingerprints([number], num_processes=2)
    plan_experiments([number])
    made = Path(os.environ["nnUNet_preprocessed"]) / home.name
    fingerprint = json.loads((made / "dataset_fingerprint.json").read_text())
    plans = json.loads((made / "nnUNetPlans.json").read_text())
    dataset = json.loads((home / "dataset.json").read_text())
    manager = PlansManager(plans)
    full = manager.get_configuration("3d_fullres")
    images = [str(home / "imagesTr" / f"case0_{c:04d}.nii.gz") for c in range(len(task["channels"]))]
    data, seg, properties = full.preprocessor_class(verbose=False).run_case(
        images, str(home / "labelsTr" / "case0.nii.gz"), manager, full, dataset)
    flips = task.get("flips", (1, 1, 1))
    image = to_ras(data, manager.transpose_backward, flips)
    marked = to_ras(seg, manager.transpose_backward, flips)
    label = np.maximum(marked, 0)
    drawn = scores(image.shape[1:])
    back = convert_predicted_logits_to_segmentation_with_correct_shape(
        from_ras(drawn, manager.transpose_forward, flips), manager, full,
        manager.get_label_manager(dataset), properties)
    # Scores as logits of regions that overlap, written one after the other.
    regions = dict(dataset, labels={"background": 0, "both": [1, 2], "inner": 1, "outer": 2},
                   regions_class_order=[2, 1, 2])
    united = convert_predicted_logits_to_segmentation_with_correct_shape(
        from_ras(drawn - np.float32(0.5), manager.transpose_forward, flips), manager, full,
        manager.get_label_manager(regions), properties)
    arrays = {
        "image": stored(image).astype(np.float32),
        "label": stored(label).astype(np.uint8),
        **({"marked": stored(marked).astype(np.uint8)} if task.get("border", 0) > 1 else {}),  # -1 becomes 255
        # On the file's own grid: nnU-Net's arrays are z, y, x of the file.
        "back": np.ascontiguousarray(back).astype(np.uint8),
        "regions": np.ascontiguousarray(united).astype(np.uint8),
    }
    plan = plans["configurations"]["3d_fullres"]
    facts = {
        "name": home.name.split("_", 1)[1],
        "folder": home.name,
        "channel_names": task["channels"],
        "cases": len(task["cases"]),
        "fingerprint": fingerprint,
        "transpose_forward": plans["transpose_forward"],
        "plan": {key: plan[key] for key in ["spacing", "patch_size", "batch_size", "median_image_size_in_voxels",
                                            "normalization_schemes", "use_mask_for_norm", "batch_dice"]},
        "strides": plan["architecture"]["arch_kwargs"]["strides"],
        "kernel_sizes": plan["architecture"]["arch_kwargs"]["kernel_sizes"],
    }
    return facts, arrays


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "fixtures" / "nnunet_tasks"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    raw = Path(os.environ["nnUNet_raw"])
    facts = []
    for number, (name, task) in enumerate(TASKS.items(), 1):
        home = write_task(raw, number, name, task)
        found, arrays = preprocess(number, home, task)
        facts.append(found)
        shutil.copytree(home, out / home.name)
        save_file(arrays, out / f"{name}.safetensors")
    (out / "tasks.json").write_text(json.dumps(facts, indent=1) + "\n")
    shutil.rmtree(ROOM)


if __name__ == "__main__":
    main()
