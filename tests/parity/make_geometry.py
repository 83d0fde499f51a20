"""Makes the fixtures of geometry: small NIfTI files, and what MONAI 1.6.1 makes of them.

    python tests/parity/make_geometry.py [OUT]

OUT defaults to fixtures/geometry beside this file. For each case of CASES it writes the input
files, and `<case>.safetensors` with the prepared image and label, their affine, the foreground
box, and, for cases with `invert`, class probabilities on the prepared grid and the label map that
`Invertd` and argmax make of them on the file's own grid. `cases.json` tells the parameters.
The inputs are drawn from fixed seeds; equal versions give equal bytes.
"""

import gzip
import json
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai import transforms as mt
from monai.data import MetaTensor
from monai.transforms.utils import generate_spatial_bounding_box
from safetensors.torch import save_file

WINDOW = {"window": [-57, 164]}


def diagonal(x, y, z, at=(0, 0, 0)):
    affine = np.diag([x, y, z, 1.0])
    affine[:3, 3] = at
    return affine


def turned(size, angles, at=(0, 0, 0), shear=0.0):
    """Rotations about x, y and z (degrees) of axes with these voxel sizes, optionally sheared."""
    a, b, c = np.deg2rad(angles)
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    upper = np.eye(3)
    upper[0, 1] = shear
    affine = np.eye(4)
    affine[:3, :3] = rz @ ry @ rx @ upper @ np.diag(size)
    affine[:3, 3] = at
    return affine


SAGITTAL = np.array([[0, 0, -1.2, 40.0], [-0.9, 0, 0, 30.0], [0, 1.1, 0, -20.0], [0, 0, 0, 1.0]])

# shape, header (affine and how it is stored), preparation, and what else is special
CASES = {
    "las_ct": dict(shape=(20, 18, 9), affine=diagonal(-0.785, 0.785, 5.0, (190.2, -150.4, -300)),
                   spacing=[1.5, 1.5, 2.0], intensity=WINDOW, crop=True, invert=True),
    "lps_margin": dict(shape=(16, 18, 12), affine=diagonal(-0.9, -0.8, 2.5, (90, 81.5, -77)),
                       spacing=[1.5, 1.5, 2.0], intensity=WINDOW, crop=True, margin=2, invert=True),
    "sagittal": dict(shape=(18, 14, 12), affine=SAGITTAL, spacing=[1.0, 1.0, 1.0], intensity={"zscore": "nonzero"},
                     crop=True, margin=1, kind="mri", invert=True),
    "ties_half": dict(shape=(9, 10, 8), affine=diagonal(2, 3, 1), spacing=[1.0, 1.5, 0.5], intensity=WINDOW),
    "ties_up": dict(shape=(15, 16, 14), affine=diagonal(1, 0.7, 0.4, (3.1, -7.7, 12.9)), spacing=[1.5, 1.05, 1.0],
                    intensity=WINDOW),
    "ties_odd": dict(shape=(11, 13, 12), affine=diagonal(-1.1, 0.9, 2.4, (31.7, -11.3, 5.9)), spacing=[0.55, 0.45, 1.2],
                     intensity=WINDOW),
    "ties_flipped": dict(shape=(11, 12, 9), affine=diagonal(-3, -1.5, -2, (11, 12, 13)), spacing=[2.0, 1.0, 3.0],
                         intensity=WINDOW),
    "half_shape": dict(shape=(12, 13, 10), affine=diagonal(0.5, 1, 1.5), spacing=[1.0, 8.0, 1.0], intensity=WINDOW),
    "oblique": dict(shape=(15, 16, 12), affine=turned((0.9, 0.9, 2.2), (7, -4, 11), (-40.3, 20.1, 77)),
                    spacing=[1.5, 1.5, 2.0], intensity=WINDOW, crop=True, invert=True, oblique=True),
    "oblique_ties": dict(shape=(12, 12, 10), affine=turned((2, 2, 2), (12, 8, -20), (5, 6, 7)),
                         spacing=[1.0, 1.0, 1.0], intensity=WINDOW, oblique=True),
    "oblique_slight": dict(shape=(14, 15, 10), affine=turned((1.3, 1.3, 2), (0.01, -0.02, 0.015), (-10, 4, 7)),
                           spacing=[1.5, 1.5, 2.0], intensity=WINDOW, oblique=True),
    "oblique_qform": dict(shape=(13, 15, 12), affine=turned((1.1, 0.8, -1.7), (-25, 14, 33), (12, -20, 7)),
                          store="qform", spacing=[1.0, 1.0, 1.5], intensity={"zscore": "all"}, kind="mri", oblique=True),
    "shear": dict(shape=(13, 14, 12), affine=turned((1.1, 0.9, 2), (5, 3, -8), (1, 2, 3), shear=0.12),
                  spacing=[1.2, 1.2, 1.2], intensity=WINDOW, oblique=True),
    "near_identity": dict(shape=(12, 13, 10), affine=diagonal(1.0004, 0.9997, 1.0), spacing=[1.0, 1.0, 1.0],
                          intensity=WINDOW),
    "near_oblique": dict(shape=(12, 13, 10), affine=turned((1.0, 1.0, 1.0), (0.02, 0.01, -0.02)),
                         spacing=[1.0, 1.0, 1.0], intensity=WINDOW, oblique=True),
    "not_quite_identity": dict(shape=(12, 13, 10), affine=diagonal(1.002, 1, 1), spacing=[1.0, 1.0, 1.0],
                               intensity=WINDOW),
    "own_spacing": dict(shape=(12, 13, 10), affine=diagonal(-1.3, 1.1, 2), spacing=None,
                        intensity={"percentile": [1, 99]}, crop=True, kind="mri"),
    # MONAI takes these for what their qform says; the program places them by their sform, as nibabel does.
    "sform_lies": dict(shape=(12, 10, 9), affine=diagonal(2, 2, 2, (9, 9, 9)), store="both",
                       pixdim=(1.0, 1.2, 1.5), spacing=[1.0, 1.0, 1.0], intensity=WINDOW, departs=True),
    "sform_lies_qform_uncoded": dict(shape=(12, 10, 9), affine=diagonal(2, 2, 2, (9, 9, 9)), pixdim=(1.0, 1.2, 1.5),
                                     spacing=[1.0, 1.0, 1.0], intensity=WINDOW, departs=True),
    "no_codes": dict(shape=(12, 10, 9), affine=diagonal(1.1, 1.2, 1.3), store="none", spacing=[1.0, 1.0, 1.0],
                     intensity=WINDOW),
    "four_d": dict(shape=(12, 13, 8), channels=3, affine=diagonal(-1, -1, 1.4, (40, 60, -20)), spacing=[1.0, 1.0, 1.0],
                   intensity={"zscore": "nonzero"}, crop=True, kind="mri"),
    "four_d_with_step": dict(shape=(11, 9, 8), channels=2, affine=diagonal(-1, 1.2, 1.4, (40, 60, -20)), fourth=1.0,
                             spacing=[1.0, 1.0, 1.0], intensity={"zscore": "nonzero"}, kind="mri", departs=True),
    "channel_files": dict(shape=(11, 12, 8), channels=2, files=True, affine=diagonal(-1, -1, 1.4, (40, 60, -20)),
                          spacing=[1.0, 1.0, 1.0], intensity=[WINDOW, {"zscore": "nonzero"}], crop=True, kind="mri"),
    "scaled": dict(shape=(10, 11, 9), affine=diagonal(1, 1, 2), slope=(0.25, -20.0), spacing=[1.5, 1.5, 1.5],
                   intensity=WINDOW),
    "slope_nan": dict(shape=(10, 11, 9), affine=diagonal(1, 1, 2), slope=(float("nan"), 0.0), spacing=[1.5, 1.5, 1.5],
                      intensity=WINDOW),
    "big_endian": dict(shape=(10, 11, 9), affine=diagonal(-1, 1, 2), big_endian=True, spacing=[1.5, 1.5, 1.5],
                       intensity=WINDOW, crop=True),
}


def smooth(rng, shape, rounds=2):
    """Noise whose neighbours resemble each other."""
    field = rng.normal(size=shape)
    for _ in range(rounds):
        for axis in range(3):
            field = (np.roll(field, 1, axis) + field + np.roll(field, -1, axis)) / 3
    return field / field.std()


def draw(case, rng):
    """Image voxels as int16 (x, y, z[, c]) with an empty rim, and a label map of 0, 1, 2."""
    shape, channels = case["shape"], case.get("channels", 1)
    rim = np.zeros(shape, bool)
    rim[2:-2, 2:-1, 1:-1] = True
    fields = [smooth(rng, shape) for _ in range(channels)]
    if case.get("kind") == "mri":
        image = np.stack([np.where(rim & (f > -1.5), 300 + 90 * f + 10 * i, 0) for i, f in enumerate(fields)], -1)
    else:
        image = np.stack([np.where(rim, 60 + 120 * f, -1000) for f in fields], -1)
    label = np.digitize(smooth(rng, shape, 1), [0.4, 1.1]).astype(np.uint8)
    return np.round(image).astype(np.int16), label


def store(path, data, case):
    """Writes a NIfTI file whose header says just what the case wants."""
    header = nib.Nifti1Header(endianness=">" if case.get("big_endian") else "<")
    header.set_data_dtype(data.dtype)
    header.set_data_shape(data.shape)
    affine, how = case["affine"], case.get("store", "sform")
    size = np.sqrt((affine[:3, :3] ** 2).sum(0))
    header["pixdim"][1:4] = size
    if data.ndim == 4:
        header["pixdim"][4] = case.get("fourth", 0.0)
    if how in ("qform", "both"):
        header.set_qform(affine, 1)
    if how in ("sform", "both"):
        header.set_sform(affine, 2)
    if "pixdim" in case:
        header["pixdim"][1:4] = case["pixdim"]
    if "slope" in case and data.dtype == np.int16:
        header["scl_slope"], header["scl_inter"] = case["slope"]
    else:
        header["scl_slope"], header["scl_inter"] = 1.0, 0.0
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    raw = header.binaryblock + b"\0\0\0\0" + data.astype(data.dtype.newbyteorder(header.endianness)).tobytes(order="F")
    path.write_bytes(gzip.compress(raw, 9, mtime=0))


def truthful(case):
    """The same case with a header that MONAI does not correct."""
    return {**case, "store": "sform", "pixdim": np.sqrt((case["affine"][:3, :3] ** 2).sum(0)), "fourth": 0.0}


def scaled(image, intensity):
    """The intensity step by MONAI's own transforms, channel by channel."""
    each = intensity if isinstance(intensity, list) else [intensity] * image.shape[0]
    for channel, one in enumerate(each):
        if "window" in one:
            low, high = one["window"]
            step = mt.ScaleIntensityRange(low, high, 0.0, 1.0, clip=True)
        elif "zscore" in one:
            step = mt.NormalizeIntensity(nonzero=one["zscore"] == "nonzero", channel_wise=True)
        else:
            low, high = one["percentile"]
            step = mt.ScaleIntensityRangePercentiles(low, high, 0.0, 1.0, clip=True, channel_wise=True)
        image[channel : channel + 1] = step(image[channel : channel + 1].clone())
    return image


def thresholds(intensity, channels):
    each = intensity if isinstance(intensity, list) else [intensity] * channels
    return torch.tensor([one["window"][0] if "window" in one else 0.0 for one in each])[:, None, None, None]


def prepare(case, images, label):
    """load → RAS → spacing → foreground mask → intensity → crop."""
    keys = ["image", "label"]
    steps = [mt.LoadImaged(keys, ensure_channel_first=True), mt.Orientationd(keys, axcodes="RAS")]
    if case["spacing"]:
        steps.append(mt.Spacingd(keys, pixdim=case["spacing"], mode=("bilinear", "nearest")))
    spatial = mt.Compose(steps)
    loaded = spatial({"image": images if len(images) > 1 else images[0], "label": label})
    above = thresholds(case["intensity"], loaded["image"].shape[0])
    loaded["mask"] = loaded["image"].as_tensor() > above
    loaded["image"] = scaled(loaded["image"], case["intensity"])
    resampled = (loaded["image"].affine.numpy(), loaded["image"].shape[1:])
    start, end = [0, 0, 0], list(resampled[1])
    transform = spatial
    if case.get("crop"):
        box = dict(select_fn=lambda x: x > 0, margin=case.get("margin", 0), allow_smaller=True)
        start, end = generate_spatial_bounding_box(loaded["mask"], **box)
        crop = mt.CropForegroundd(keys, source_key="mask", start_coord_key=None, end_coord_key=None, **box)
        loaded = crop(loaded)
        transform = mt.Compose([*steps, crop])
    return loaded, resampled, (start, end), transform


def inverted(loaded, transform, rng):
    """Three classes' probabilities on the prepared grid, and their label map on the file's own."""
    shape = tuple(loaded["image"].shape[1:])
    logits = torch.tensor(np.stack([1.5 * smooth(rng, shape) for _ in range(3)]))
    probabilities = torch.softmax(logits, 0).float()
    invert = mt.Invertd("pred", transform, orig_keys="image", nearest_interp=False, to_tensor=True)
    back = invert({**loaded, "pred": MetaTensor(probabilities.clone())})["pred"].as_tensor()
    labels = mt.AsDiscrete(argmax=True)(back)[0].to(torch.uint8)
    again = mt.Invertd("label", transform, orig_keys="label", nearest_interp=True)
    roundtrip = again(dict(loaded))["label"].as_tensor()[0].to(torch.uint8)
    return {"probabilities": probabilities, "inverted": labels, "inverted_second": back[1].float(), "roundtrip": roundtrip}


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "fixtures" / "geometry"
    out.mkdir(parents=True, exist_ok=True)
    listing = []
    for seed, (name, case) in enumerate(CASES.items()):
        rng = np.random.default_rng(1000 + seed)
        image, label = draw(case, rng)
        channels = image.shape[-1]
        if case.get("files"):
            images = [f"{name}_{c}.nii.gz" for c in range(channels)]
            for channel, file in enumerate(images):
                store(out / file, image[..., channel], case)
        else:
            images = [f"{name}.nii.gz"]
            store(out / images[0], image[..., 0] if channels == 1 else image, case)
        store(out / f"{name}_label.nii.gz", label, case)
        placed = nib.load(out / images[0]).affine
        with tempfile.TemporaryDirectory() as desk:
            folder = out
            if case.get("departs"):
                folder = Path(desk)
                store(folder / images[0], image[..., 0] if channels == 1 else image, truthful(case))
                store(folder / f"{name}_label.nii.gz", label, truthful(case))
            assert np.array_equal(mt.LoadImage(ensure_channel_first=True)(folder / images[0]).affine.numpy(), placed)
            paths = [str(folder / file) for file in images]
            loaded, (affine, shape), (start, end), transform = prepare(
                case, paths, str(folder / f"{name}_label.nii.gz"))
        tensors = {
            "image": loaded["image"].as_tensor().float().contiguous(),
            "label": loaded["label"].as_tensor()[0].to(torch.uint8).contiguous(),
            "original_affine": torch.tensor(placed),
            "resampled_affine": torch.as_tensor(affine),
            "resampled_shape": torch.tensor(list(shape)),
            "box": torch.tensor([list(map(int, start)), list(map(int, end))]),
        }
        if case.get("invert"):
            tensors.update(inverted(loaded, transform, rng))
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, out / f"{name}.safetensors")
        listing.append({
            "name": name, "images": images, "label": f"{name}_label.nii.gz", "channels": channels,
            "oblique": case.get("oblique", False), "invert": case.get("invert", False),
            "preparation": {"spacing": case["spacing"], "intensity": case["intensity"],
                            "crop_foreground": case.get("crop", False), "crop_margin": case.get("margin", 0)},
        })
    (out / "cases.json").write_text(json.dumps(listing, indent=1) + "\n")


if __name__ == "__main__":
    main()
