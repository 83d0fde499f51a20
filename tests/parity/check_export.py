"""Checks what `voxflow export` writes with the programs that it is for.

    python tests/parity/check_export.py VOXFLOW

VOXFLOW is the program. Needs torch==2.11.0, monai==1.6.1, nibabel, pytorch-ignite and fire. Networks of
several shapes with random weights go in by `import` and out by `export`; TorchScript is held against
MONAI's UNet, and the segmentations of `test` against those of the bundle run by MONAI on the same
files. Prints a table: block | what was compared | largest difference | allowed difference. Exits with
1 if a row fails.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.networks.nets import UNet
from safetensors.torch import load_file

VARIANTS = {
    "batch norm": dict(channels=[4, 8, 16], strides=[2, 2], residual_units=2, norm="batch"),
    "instance norm": dict(channels=[4, 8, 8], strides=[2, 2], residual_units=1, norm="instance"),
    "plain convolutions": dict(channels=[4, 8, 8], strides=[2, 2], residual_units=0, norm="batch"),
    "strides and kernels per axis": dict(channels=[4, 8, 8], strides=[[2, 2, 1], 2], kernel=[3, 3, 1],
                                         up_kernel=[3, 3, 1], residual_units=2, norm="batch"),
    "dropout": dict(channels=[4, 8, 8], strides=[2, 2], residual_units=2, norm="batch", dropout=0.3),
}

PREPARED = {"spacing": [7.0, 7.0, 8.0], "intensity": {"window": [-57, 164]}, "crop_foreground": True}
ZSCORED = {"spacing": [7.0, 7.0, 8.0], "intensity": {"zscore": "nonzero"}, "crop_foreground": True, "crop_margin": 2}


def unet(network):
    return UNet(
        3, 1, 2, network["channels"], network["strides"], kernel_size=network.get("kernel", 3),
        up_kernel_size=network.get("up_kernel", 3), num_res_units=network["residual_units"],
        norm=network["norm"], dropout=network.get("dropout", 0.0),
    )


def random_weights(network, seed):
    """A network whose norms have statistics and whose slopes differ, as after a training."""
    torch.manual_seed(seed)
    model = unet(network).eval()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("running_var"):
                value.copy_(torch.rand_like(value) + 0.5)
            elif name.endswith("running_mean") or ".N." in name and value.is_floating_point():
                value.add_(torch.randn_like(value) * 0.3)
    return model


class Lab:
    def __init__(self, program, folder):
        self.program, self.folder = program, Path(folder)

    def run(self, stages, name):
        """Runs a workflow and gives the folder of its outputs."""
        path = self.folder / f"{name}.json"  # JSON is YAML
        path.write_text(json.dumps({"name": name, "seed": 0, "stages": stages}))
        home = self.folder / "home"
        before = set((home / "runs").glob("*")) if home.exists() else set()
        command = [self.program, "run", str(path), "--home", str(home), "--device", "cpu"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
        (run,) = set((home / "runs").glob("*")) - before
        return run / "outputs"

    def imported(self, network, model, preprocess, roi, **inference):
        path = self.folder / "weights.pt"
        torch.save(model.state_dict(), path)
        return {"uses": "import", "with": {
            "file": str(path), "network": network, "modality": ["CT"], "labels": ["spleen"],
            "preprocess": preprocess, "inference": {"roi": roi, "overlap": 0.5, **inference},
        }}


def export(form):
    return {"uses": "export", "needs": ["model"], "with": {"format": form}}


def torchscript(lab):
    for name, network in VARIANTS.items():
        model = random_weights(network, 1)
        stages = {"model": lab.imported(network, model, PREPARED, [16, 16, 16])}
        outputs = lab.run({**stages, "script": export("torchscript"), "plain": export("safetensors")}, "script")
        image = torch.randn(2, 1, 24, 16, 12)
        script = torch.jit.load(str(outputs / "script/model.ts"))
        same = unet(network).eval()
        same.load_state_dict(load_file(str(outputs / "plain/model.safetensors")))
        with torch.no_grad():
            wanted = model(image)
            scale = wanted.abs().max()
            yield "torchscript", f"{name}, logits", float((script(image) - wanted).abs().max() / scale), 1e-5
            yield "safetensors", f"{name}, logits", float((same(image) - wanted).abs().max() / scale), 1e-5
        names = list(script.state_dict()) == list(model.state_dict())
        yield "torchscript", f"{name}, names of state_dict", 0.0 if names else 1.0, 0.0


def bundle(lab):
    network = VARIANTS["batch norm"]
    for name, preprocess, blend in [("window, crop", PREPARED, "gaussian"), ("z-score, crop, margin", ZSCORED, "constant")]:
        for seed in range(20):
            model = random_weights(network, seed)
            outputs = lab.run({
                "dataset": {"uses": "synthesize", "with": {"cases": 6, "shape": [72, 72, 48]}},
                "split": {"uses": "split", "needs": ["dataset"], "with": {"training": 1, "validation": 1, "testing": 4}},
                "volumes": {"uses": "preprocess", "needs": ["dataset"], "with": preprocess},
                "cache": {"uses": "cache", "needs": ["dataset", "volumes", "split"]},
                "model": lab.imported(network, model, preprocess, [32, 32, 32], blend=blend),
                "final": {"uses": "test", "needs": ["dataset", "cache", "model"]},
                "bundle": export("bundle"),
            }, "bundle")
            found = sorted((outputs / "final/predictions").glob("*.nii.gz"))
            shares = [np.mean(nib.load(path).get_fdata()) for path in found]
            if all(0.05 < share < 0.95 for share in shares):
                break
        else:
            sys.exit("no random network has every class in at least 5 % of the voxels")
        yield from compared(lab, name, outputs, found)


def compared(lab, name, outputs, found):
    images, out = lab.folder / f"images {name}", lab.folder / f"segmentations {name}"
    images.mkdir()
    listing = json.loads((outputs / "dataset/dataset.json").read_text())
    files = {case["name"]: case["images"][0] for case in listing["cases"]}
    for path in found:
        case = path.name.removesuffix(".nii.gz")
        os.symlink((outputs / "dataset" / files[case]).resolve(), images / path.name)
    root = outputs / "bundle"
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(root / "configs/inference.json"),
               "--bundle_root", str(root), "--dataset_dir", str(images), "--output_dir", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    voxels, dice, place = [], [], []
    for path in found:
        ours, theirs = nib.load(path), nib.load(out / path.name.replace(".nii.gz", "_seg.nii.gz"))
        a, b = ours.get_fdata() > 0, theirs.get_fdata() > 0
        assert a.shape == b.shape, f"{path.name}: {a.shape} and {b.shape}"
        voxels.append(np.mean(a != b))
        dice.extend(1 - 2 * np.sum(x & y) / (np.sum(x) + np.sum(y)) for x, y in [(a, b), (~a, ~b)])
        place.append(np.abs(ours.affine - theirs.affine).max())
    yield "bundle", f"{name}: share of voxels that differ", max(voxels), 1e-4
    yield "bundle", f"{name}: 1 - Dice between the two, per class", max(dice), 1e-4
    yield "bundle", f"{name}: affine, mm", max(place), 1e-3


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    program, bad = str(Path(sys.argv[1]).resolve()), False
    print("block | what was compared | largest difference | allowed difference")
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(program, folder)
        for rows in (torchscript(lab), bundle(lab)):
            for block, what, difference, allowed in rows:
                print(f"{block} | {what} | {difference:.2e} | {allowed:.0e}", flush=True)
                bad |= not difference <= allowed
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
