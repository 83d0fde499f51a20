"""Checks a MONAI model that comes in by `import` and segments a CT of full size by `predict`.

    python tests/parity/check_import.py VOXFLOW [DATA]

VOXFLOW is the program; DATA a folder with ct/spleen_8_image.nii.gz, without which a phantom of
512×512×100 stands in. The CT is in LAS orientation, the preparation that of the spleen recipes; the
label map is held against MONAI's own pipeline. Prints the rows of `compare.py`; exits with 1 if one
fails.
"""

import shutil
import sys
import tempfile
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")

import nibabel as nib
import numpy as np
import torch

import check_export
from reference import SPACING, WINDOW, dice, preparation, segmented

NETWORK = dict(channels=[8, 16, 32, 32, 64], strides=[2, 2, 2, 2], residual_units=2, norm="batch")
ROI = [96, 96, 96]
CLASSES = (0, 1)


def full_size_ct(lab, data):
    """A folder with one CT in LAS orientation, and what to call it."""
    folder = lab.folder / "full_size"
    folder.mkdir()
    path, real = folder / "ct.nii.gz", Path(data) / "ct" / "spleen_8_image.nii.gz"
    if real.exists():
        shutil.copy(real, path)
    else:
        outputs = lab.run({"dataset": {"uses": "synthesize", "with": {"cases": 1, "shape": [512, 512, 100]}}}, "phantom")
        (drawn,) = (outputs / "dataset").glob("imagesTr/*.nii.gz")
        image = nib.Nifti1Image(np.asanyarray(nib.load(drawn).dataobj), np.diag([-0.79, 0.79, 2.5, 1]))
        nib.save(image, path)
    image = nib.load(path)
    assert "".join(nib.aff2axcodes(image.affine)) == "LAS" and image.shape[:2] == (512, 512)
    return path, f"{'real' if real.exists() else 'phantom'} CT of {'×'.join(map(str, image.shape))}, LAS"


def drawn_network(path):
    """A network of random weights that gives each class its share of the result; and that result."""
    prepared = preparation(["image"])({"image": path})["image"].as_tensor()[None]
    sample = prepared[:, :, *(slice((side - 64) // 2, (side + 64) // 2) for side in prepared.shape[2:])]
    for seed in range(1000):
        network = check_export.random_weights(NETWORK, seed)
        with torch.no_grad():
            share = network(sample).argmax(1).float().mean().item()
        if 0.2 <= share <= 0.8:
            wanted = segmented(network, path, ROI)
            if min((wanted == value).mean() for value in CLASSES) >= 0.05:
                return network, wanted
    sys.exit("no random network has every class in at least 5 % of the voxels")


def rows(lab, data):
    path, what = full_size_ct(lab, data)
    network, wanted = drawn_network(path)
    outputs = lab.run({
        "images": {"uses": "folder", "with": {"path": str(path.parent), "images": "{case}.nii.gz", "modality": ["CT"]}},
        "model": lab.imported(NETWORK, network, {"spacing": SPACING, "intensity": WINDOW, "crop_foreground": True}, ROI),
        "answer": {"uses": "predict", "needs": {"dataset": "images", "model": "model"}},
    }, "imported")
    found = np.asanyarray(nib.load(outputs / "answer" / "predictions" / path.name).dataobj)
    rarest = min((wanted == value).mean() for value in CLASSES)
    what = f"MONAI's weights by import and predict, {what} (rarest class {100 * rarest:.0f} %)"
    yield "import", f"{what}: share of voxels", (found != wanted).mean(), 1e-4
    yield "import", f"{what}: 1 − Dice", max(1 - dice(found, wanted, value) for value in CLASSES), 1e-4


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    program, data = Path(sys.argv[1]).resolve(), (sys.argv[2:] or ["."])[0]
    bad = False
    with tempfile.TemporaryDirectory() as folder:
        for block, what, off, allowed in rows(check_export.Lab(str(program), folder), data):
            print(f"{block} | {what} | {off:.2e} | {allowed:.0e}", flush=True)
            bad |= not off <= allowed
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
