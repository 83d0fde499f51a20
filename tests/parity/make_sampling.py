"""Writes fixtures/sampling/*.safetensors: MONAI's patches and augmentations, parameters given.

Volumes are stored as (c,) z, y, x arrays, so that their bytes are in NIfTI order (x fastest);
patches as (c,) x, y, z, as the network reads them. Needs torch, monai, scipy and safetensors.
"""

import warnings
from pathlib import Path

import numpy as np
import torch
from monai.transforms import AdjustContrast, Affine, Flip, Rotate90, ScaleIntensity, ShiftIntensity, SpatialCrop
from monai.transforms import SpatialPad, map_binary_to_indices
from monai.transforms.utils import correct_crop_centers
from safetensors.numpy import save_file
from scipy import ndimage

warnings.filterwarnings("ignore")
OUT = Path(__file__).parent / "fixtures" / "sampling"
SHAPE = (15, 13, 11)
PATCHES = [(6, 6, 6), (5, 7, 11), (15, 13, 11), (22, 6, 11), (18, 17, 12)]
CENTRES = [(0, 0, 0), (14, 12, 10), (7, 6, 5), (3, 10, 4), (12, 3, 8), (3, 3, 3), (11, 9, 7)]
AFFINES = {
    "identity": dict(rotate_params=(0, 0, 0), translate_params=(0, 0, 0), scale_params=(1, 1, 1)),
    "rotation": dict(rotate_params=(0.3, -0.2, 0.5), translate_params=(0, 0, 0), scale_params=(1, 1, 1)),
    "scale": dict(rotate_params=(0, 0, 0), translate_params=(0, 0, 0), scale_params=(0.8, 1.15, 1.3)),
    "translation": dict(rotate_params=(0, 0, 0), translate_params=(1.25, -2.5, 0.4), scale_params=(1, 1, 1)),
    "all": dict(rotate_params=(-0.4, 0.25, 0.15), translate_params=(0.7, -1.3, 2.1), scale_params=(1.1, 0.9, 0.95)),
}


def case():
    random = np.random.default_rng(11)
    image = np.stack([ndimage.gaussian_filter(random.normal(size=SHAPE), 1.0) for _ in range(2)])
    image = (image / np.abs(image).max()).astype(np.float32)
    label = np.digitize(ndimage.gaussian_filter(random.normal(size=SHAPE), 2.0), [0.03, 0.06]).astype(np.uint8)
    return torch.from_numpy(image), torch.from_numpy(label)[None]


def nifti(array):
    return np.ascontiguousarray(np.asarray(array).swapaxes(-1, -3))


def crops(image, label, tensors):
    """Starts (in the unpadded volume) of patches around centres, and the patches of the first centre."""
    for index, patch in enumerate(PATCHES):
        pad = SpatialPad(patch)
        before = [width[0] for width in pad.compute_pad_width(SHAPE)[1:]]
        padded_image, padded_label = pad(image), pad(label)
        starts = []
        for centre in CENTRES:
            moved = [c + b for c, b in zip(centre, before)]
            fixed = correct_crop_centers(moved, patch, np.array(padded_image.shape[1:]))
            crop = SpatialCrop(roi_center=fixed, roi_size=patch)
            starts.append([s.start - b for s, b in zip(crop.slices[-3:], before)])
        tensors[f"crop.{index}.starts"] = np.array(starts, np.int64)
        tensors[f"crop.{index}.image"] = np.ascontiguousarray(crop(padded_image).numpy())
        tensors[f"crop.{index}.label"] = np.ascontiguousarray(crop(padded_label).numpy()[0].astype(np.uint8))
    tensors["crop.patches"] = np.array(PATCHES, np.int64)
    tensors["crop.centres"] = np.array(CENTRES, np.int64)


def augmentations(image, label, tensors):
    """Changes of the patch that starts at (2, 3, 1) with shape (8, 8, 10)."""
    image, label = image[:, 2:10, 3:11, 1:11], label[:, 2:10, 3:11, 1:11]

    def keep(name, change):
        tensors[f"{name}.image"] = np.ascontiguousarray(change(image).numpy().astype(np.float32))
        tensors[f"{name}.label"] = np.ascontiguousarray(change(label).numpy()[0].astype(np.uint8))

    keep("patch", lambda data: data)
    for axes in [(0,), (1,), (2,), (0, 2)]:
        keep("flip." + "".join(map(str, axes)), Flip(axes))
    for turns in (1, 2, 3):
        keep(f"turn.{turns}.01", Rotate90(turns, (0, 1)))
        keep(f"turn.{turns}.21", Rotate90(turns, (2, 1)))
    for name, parameters in AFFINES.items():
        numbers = [parameters[key] for key in ("rotate_params", "translate_params", "scale_params")]
        tensors[f"affine.{name}.parameters"] = np.array(numbers, np.float64)

        def affine(data):
            mode = "nearest" if data is label else "bilinear"
            return Affine(**parameters, mode=mode, padding_mode="border", image_only=True)(data.float())

        keep(f"affine.{name}", affine)
    intensities = {
        "shift": ShiftIntensity(-0.07),
        "scale": ScaleIntensity(minv=None, maxv=None, factor=0.13),
        "gamma": AdjustContrast(1.7),
    }
    for name, change in intensities.items():
        tensors[f"intensity.{name}"] = np.asarray(change(image)).astype(np.float32)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    image, label = case()
    tensors = {"image": nifti(image.numpy()), "label": nifti(label.numpy()[0])}
    crops(image, label, tensors)
    augmentations(image, label, tensors)
    # As float, as MONAI loads labels: of a uint8 tensor it would take every voxel for background.
    label = label.float()
    foreground, background = map_binary_to_indices(label, image, 0.1)
    _, all_background = map_binary_to_indices(label)
    # MONAI counts with the last axis fastest; x fastest is what is stored here.
    x, y, z = np.unravel_index(np.asarray(foreground), SHAPE)
    tensors["candidates.foreground"] = np.sort(x + SHAPE[0] * (y + SHAPE[1] * z)).astype(np.int64)
    x, y, z = np.unravel_index(np.asarray(background), SHAPE)
    tensors["candidates.background"] = np.sort(x + SHAPE[0] * (y + SHAPE[1] * z)).astype(np.int64)
    tensors["candidates.all_background"] = np.array([len(all_background)], np.int64)
    save_file(tensors, OUT / "patches.safetensors")


if __name__ == "__main__":
    main()
