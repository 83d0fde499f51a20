"""MONAI's own pipeline, which the program is held against: the spleen preparation, the sliding window,
the way back to the image's own grid, and argmax."""

import numpy as np
import torch
from monai import transforms as mt
from monai.data import MetaTensor
from monai.inferers import sliding_window_inference

WINDOW = {"window": [-57, 164]}
SPACING = [1.5, 1.5, 2.0]


def preparation(keys=("image", "label")):
    return mt.Compose([
        mt.LoadImaged(keys), mt.EnsureChannelFirstd(keys), mt.Orientationd(keys, axcodes="RAS", labels=None),
        mt.Spacingd(keys, pixdim=SPACING, mode=("bilinear", "nearest")[: len(keys)]),
        mt.ScaleIntensityRanged("image", -57, 164, 0.0, 1.0, clip=True),
        mt.CropForegroundd(keys, source_key="image"),
    ])


def segmented(network, path, roi, flips=False):
    """The label map of an image file on its own grid, probabilities averaged over flips if asked."""
    prepare = preparation(["image"])
    item = prepare({"image": path})
    axes = [[], *([[2], [3], [4], [2, 3], [2, 4], [3, 4], [2, 3, 4]] if flips else [])]
    image, total = item["image"].as_tensor()[None], 0
    with torch.no_grad():
        for flip in axes:
            turned = torch.flip(image, flip) if flip else image
            found = sliding_window_inference(turned, roi, 4, network, overlap=0.5).softmax(1)
            total = total + (torch.flip(found, flip) if flip else found)
    item["pred"] = MetaTensor(total[0] / len(axes), affine=item["image"].affine, meta=item["image"].meta,
                              applied_operations=item["image"].applied_operations)
    post = mt.Compose([mt.Invertd("pred", transform=prepare, orig_keys="image", nearest_interp=False),
                       mt.AsDiscreted("pred", argmax=True)])
    return post(item)["pred"][0].numpy().astype(np.uint8)


def dice(one, other, value):
    one, other = one == value, other == value
    return 2 * (one & other).sum() / max(one.sum() + other.sum(), 1)
