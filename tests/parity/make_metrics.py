"""Writes fixtures/metrics/*.safetensors: MONAI's scores of generated label maps.

Maps are stored as z, y, x arrays, so that their bytes are in NIfTI order (x fastest).
Needs torch, monai, scipy and safetensors. Run from anywhere.
"""

import warnings
from pathlib import Path

import numpy as np
import torch
from monai.metrics import DiceMetric, HausdorffDistanceMetric, SurfaceDiceMetric
from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice
from monai.metrics.utils import get_code_to_measure_table
from safetensors.numpy import save_file
from scipy import ndimage

warnings.filterwarnings("ignore")
OUT = Path(__file__).parent / "fixtures" / "metrics"
SHAPE = (23, 19, 14)
SPACINGS = [(1.0, 1.0, 1.0), (0.7, 1.3, 2.9), (1.5, 1.5, 2.0), (3.0, 0.5, 1.0)]


def smooth(random, sigma):
    field = ndimage.gaussian_filter(random.normal(size=SHAPE), sigma)
    return field / field.std()


def pairs():
    """Name, prediction, reference: blobs, noise, and every kind of emptiness."""
    random = np.random.default_rng(7)
    base = smooth(random, 2.0)
    other = base + 0.5 * smooth(random, 1.5)

    def labels(field):
        return (np.digitize(field, [0.6, 1.4])).astype(np.uint8)

    def noise():
        return random.integers(0, 3, SHAPE).astype(np.uint8)

    empty = np.zeros(SHAPE, np.uint8)
    only_one = np.where(labels(base) == 1, 1, 0).astype(np.uint8)
    dot = empty.copy()
    dot[22, 0, 13] = 2
    return {
        "blobs": (labels(other), labels(base)),
        "noise": (noise(), noise()),
        "equal": (labels(base), labels(base)),
        "prediction_empty": (empty, labels(base)),
        "reference_empty": (labels(base), empty),
        "both_empty": (empty, empty),
        "label_2_missed": (only_one, labels(base)),
        "label_2_invented": (labels(other), only_one),
        "one_voxel": (dot, labels(base)),
        "full": (np.ones(SHAPE, np.uint8), labels(base)),
    }


def one_hot(map_):
    return torch.stack([torch.from_numpy(map_ == value) for value in range(3)]).float()[None]


def scores(prediction, reference, spacing, tolerance):
    p, r = one_hot(prediction), one_hot(reference)
    surface = {"class_thresholds": [tolerance] * 2, "spacing": list(spacing)}
    return np.stack(
        [
            compute_dice(p, r, include_background=False)[0].numpy(),
            compute_hausdorff_distance(p, r, percentile=95, spacing=list(spacing))[0].numpy(),
            compute_surface_dice(p, r, **surface)[0].numpy(),
            compute_surface_dice(p, r, use_subvoxels=True, **surface)[0].numpy(),
        ]
    ).astype(np.float64)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    tensors = {"spacings": np.array(SPACINGS), "tolerances": np.array([1.0, 1.4, 2.0, 1.0])}
    cases = pairs()
    for name, (prediction, reference) in cases.items():
        tensors[f"{name}.maps"] = np.ascontiguousarray(np.stack([prediction, reference]).transpose(0, 3, 2, 1))
        tensors[f"{name}.scores"] = np.stack(
            [scores(prediction, reference, s, t) for s, t in zip(SPACINGS, tensors["tolerances"])]
        )

    # The area of each neighbour code, by MONAI's bits: 128 is the first corner, the last axis fastest.
    tensors["areas"] = np.stack([get_code_to_measure_table(s)[0].numpy().astype(np.float64) for s in SPACINGS])

    # aggregate() over all cases at the second spacing, for both reductions.
    metrics = [
        DiceMetric(include_background=False),
        HausdorffDistanceMetric(percentile=95),
        SurfaceDiceMetric([1.4] * 2),
        SurfaceDiceMetric([1.4] * 2, use_subvoxels=True),
    ]
    for prediction, reference in cases.values():
        for metric in metrics:
            extra = {} if isinstance(metric, DiceMetric) else {"spacing": list(SPACINGS[1])}
            metric(one_hot(prediction), one_hot(reference), **extra)
    tensors["aggregate.mean"] = np.array([float(m.aggregate("mean")) for m in metrics])
    tensors["aggregate.mean_batch"] = np.stack([m.aggregate("mean_batch").numpy() for m in metrics]).astype(np.float64)

    # Components by scipy, which has no dependency that MONAI's own transform would need.
    ones = cases["noise"][0] == 1
    for rank, name in [(1, "six"), (3, "twenty_six")]:
        numbers, count = ndimage.label(ones, ndimage.generate_binary_structure(3, rank))
        sizes = np.bincount(numbers.ravel())[1:]
        tensors[f"components.{name}.sizes"] = np.sort(sizes).astype(np.int64)
    save_file(tensors, OUT / "scores.safetensors")


if __name__ == "__main__":
    main()
