"""Compares voxflow with MONAI, number for number, and prints one table.

    python tests/parity/compare.py VOXFLOW [--data FOLDER] [--markdown FILE]

First the committed fixtures: the scripts make_*.py beside this file are run again, and what they make
must be what is committed (`make test` holds the program against them). Then live, through the program
VOXFLOW, on larger inputs: preprocessing, segmentation (`voxflow predict`), scores, models as imported
(check_import.py) and as exported (check_export.py). Exit code 1 if any row is beyond what is allowed. `make parity` provides
what it needs.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")

import nibabel as nib
import numpy as np
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice
from monai.networks.nets import UNet
from safetensors import safe_open
from safetensors.torch import save_file

import check_export
import check_import
from reference import SPACING, WINDOW, dice, preparation, segmented

HERE = Path(__file__).parent
ROI = (64, 64, 32)


class Table:
    """The rows: block, what was compared, largest difference, allowed difference."""

    def __init__(self):
        self.rows = []

    def add(self, block, what, off, allowed):
        self.rows.append((block, what, float(off), float(allowed)))

    def failed(self):
        return [row for row in self.rows if not row[2] <= row[3]]

    def text(self):
        head = ("block", "compared", "largest difference", "allowed")
        rows = [(block, what, f"{off:.3g}", f"{allowed:.3g}" + ("" if off <= allowed else "  FAILED"))
                for block, what, off, allowed in self.rows]
        lines = [head, ("---",) * 4, *rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def fixtures(table, desk):
    """The scripts make what is committed."""
    scripts = sorted(HERE.glob("make_*.py"))
    for script in (*scripts, HERE / "drawn.py"):
        shutil.copy(script, desk)
    for script in scripts:
        subprocess.run([sys.executable, desk / script.name], check=True, stdout=subprocess.DEVNULL)
    for folder in sorted(path for path in (desk / "fixtures").iterdir() if path.is_dir()):
        kept = HERE / "fixtures" / folder.name
        names = sorted({path.relative_to(root) for root in (folder, kept) for path in root.rglob("*") if path.is_file()})
        off = max(file_difference(kept / name, folder / name) for name in names)
        # Logits in fp32 are of the processor: oneDNN sums in another order where vectors are wider.
        allowed = 1e-5 if folder.name in ("network", "nnunet") else 1e-6
        table.add("fixtures", f"{folder.name}: {len(names)} files made again", off, allowed)


def file_difference(kept, made):
    """0 for equal bytes; else the largest difference of values, relative to the largest value."""
    if not (kept.exists() and made.exists()):
        return float("inf")
    if kept.read_bytes() == made.read_bytes():
        return 0.0
    if kept.suffix in (".pt", ".pth", ".ts"):
        return torch_difference(kept, made)
    if kept.suffix == ".json":
        return json_difference(*(json.loads(path.read_text()) for path in (kept, made)))
    if kept.name.endswith(".nii.gz"):
        return image_difference(nib.load(kept), nib.load(made))
    if kept.suffix != ".safetensors":
        return float("inf")
    with safe_open(kept, "pt") as one, safe_open(made, "pt") as other:
        if sorted(one.keys()) != sorted(other.keys()) or one.metadata() != other.metadata():
            return float("inf")
        pairs = [(one.get_tensor(key), other.get_tensor(key)) for key in one.keys()]
    return tensor_difference(pairs)


def tensor_difference(pairs):
    if any(a.shape != b.shape or a.dtype != b.dtype for a, b in pairs):
        return float("inf")
    return max((float((a.double() - b.double()).abs().nan_to_num().max() / b.double().abs().nan_to_num().max().clamp_min(1e-30))
                for a, b in pairs if a.numel()), default=0.0)


def json_difference(kept, made):
    """Of numbers below 1 absolute, else relative: a rotation's rounding hangs on the processor."""
    if isinstance(kept, float) and isinstance(made, float):
        return 0.0 if kept == made or kept != kept and made != made else abs(kept - made) / max(abs(kept), 1.0)
    if type(kept) is not type(made):
        return float("inf")
    if isinstance(kept, dict):
        return max((json_difference(kept[key], made[key]) for key in kept), default=0.0) if kept.keys() == made.keys() else float("inf")
    if isinstance(kept, list):
        return max(map(json_difference, kept, made), default=0.0) if len(kept) == len(made) else float("inf")
    return 0.0 if kept == made else float("inf")


def image_difference(kept, made):
    """Of header fields; the stored voxels are the same."""
    if type(kept) is not type(made) or not np.array_equal(kept.dataobj.get_unscaled(), made.dataobj.get_unscaled()):
        return float("inf")
    fields = [[header[name].tolist() for name in header.structarr.dtype.names] for header in (kept.header, made.header)]
    return json_difference(*fields)


def torch_difference(kept, made):
    """Of torch's files, whose bytes hold addresses and line numbers: those that are meant to be refused
    have equal sizes, the others equal tensors."""
    if kept.name.startswith("bad_"):
        return 0.0 if kept.stat().st_size == made.stat().st_size else float("inf")
    one, other = tensors(kept), tensors(made)
    return tensor_difference([(one[key], other[key]) for key in one]) if one.keys() == other.keys() else float("inf")


def tensors(path):
    """Every tensor of a file of torch's, by its path inside."""
    if path.suffix == ".ts":
        return dict(torch.jit.load(path).state_dict())
    found, rest = {}, [("", torch.load(path, weights_only=True))]
    while rest:
        at, value = rest.pop()
        if isinstance(value, torch.Tensor):
            found[at] = value
        elif isinstance(value, dict):
            rest += [(f"{at}/{key}", below) for key, below in value.items()]
    return found


class Program:
    """The program under test, in a folder of its own."""

    def __init__(self, path, desk):
        self.path, self.desk = Path(path).resolve(), desk

    def run(self, *arguments):
        done = subprocess.run([self.path, *map(str, arguments)], cwd=self.desk, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"voxflow {' '.join(map(str, arguments))}\n{done.stderr}")
        return done.stdout

    def workflow(self, name, stages):
        """Runs stages; gives the folder of the run's outputs."""
        (self.desk / f"{name}.yaml").write_text(json.dumps({"name": name, "stages": stages}))
        self.run("run", f"{name}.yaml", "--quiet")
        return Path(self.run("path", "latest").strip()) / "outputs"


def turned(angles, size, at):
    """An affine of rotated axes."""
    a, b, c = np.deg2rad(angles)
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = rz @ ry @ rx @ np.diag(size), at
    return affine


def images(program, data):
    """Phantom CTs as the program draws them (several orientations and spacings), the same voxels under
    oblique headers, and real ones where there are any: a folder with images/ and labels/."""
    folder = program.desk / "ct"
    outputs = program.workflow("phantom", {
        "dataset": {"uses": "synthesize", "with": {"cases": 4, "shape": [128, 120, 56], "seed": 3}}}) / "dataset"
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
        for index, path in enumerate(sorted((outputs / f"{part}Tr").glob("*.nii.gz"))):
            shutil.copy(path, folder / part / f"phantom_{index}.nii.gz")
            if index < 2:
                source = nib.load(path)
                affine = turned([(6, -4, 9), (14, 8, -21)][index], source.header.get_zooms()[:3], (-31.5, 12.25, 77))
                moved = nib.Nifti1Image(np.asanyarray(source.dataobj), affine)
                moved.header.set_data_dtype(source.get_data_dtype())
                nib.save(moved, folder / part / f"oblique_{index}.nii.gz")
        real = data / "ct" / f"spleen_8_{part[:-1]}.nii.gz"
        if real.exists():
            shutil.copy(real, folder / part / "real_8.nii.gz")
    return folder


def preprocessing(table, program, folder):
    outputs = program.workflow("prepare", {
        "dataset": {"uses": "folder", "with": {
            "path": str(folder), "images": "images/{case}.nii.gz", "labels": "labels/{case}.nii.gz",
            "label_names": ["spleen"], "modality": ["CT"]}},
        "volumes": {"uses": "preprocess", "needs": ["dataset"],
                    "with": {"spacing": SPACING, "intensity": WINDOW, "crop_foreground": True}},
    }) / "volumes"
    for kind in ("phantom", "oblique", "real"):
        cases = sorted(path.name.removesuffix(".nii.gz") for path in (folder / "images").glob(f"{kind}_*.nii.gz"))
        if not cases:
            continue
        shapes, affines, voxels, labels, dices = 0, 0.0, 0.0, 0.0, 0.0
        for case in cases:
            wanted = preparation()({key: folder / f"{key}s" / f"{case}.nii.gz" for key in ("image", "label")})
            image, label = (nib.load(outputs / case / f"{key}.nii") for key in ("image", "label"))
            shapes += image.shape != tuple(wanted["image"].shape[1:])
            affines = max(affines, np.abs(image.affine - wanted["image"].affine.numpy()).max())
            if image.shape == tuple(wanted["image"].shape[1:]):
                voxels = max(voxels, np.abs(image.get_fdata() - wanted["image"][0].numpy()).max())
                mine, theirs = np.asanyarray(label.dataobj), wanted["label"][0].numpy()
                labels = max(labels, (mine != theirs).mean())
                dices = max(dices, 1 - dice(mine, theirs, 1))
        what = f"{len(cases)} {kind} CT{'s' * (len(cases) > 1)}"
        table.add("preprocessing", f"{what}: shapes after the foreground crop", shapes, 0)
        table.add("preprocessing", f"{what}: affine, mm", affines, 1e-3)
        table.add("preprocessing", f"{what}: image", voxels, 1e-5)
        table.add("preprocessing", f"{what}: label, share of voxels", labels, {"phantom": 0, "oblique": 0.01, "real": 1e-4}[kind])
        if kind == "real":
            table.add("preprocessing", f"{what}: label, 1 − Dice", dices, 5e-4)


NETWORK = dict(channels=[8, 16, 32, 32, 64], strides=[2, 2, 2, 2], residual_units=2, norm="batch")


def model_folder(program, image):
    """A MONAI U-Net of random weights as one of the program's models: drawn until each class has its share."""
    folder = program.desk / "model"
    folder.mkdir()
    for seed in range(1000):
        torch.manual_seed(seed)
        network = UNet(3, 1, 2, NETWORK["channels"], NETWORK["strides"], num_res_units=2, norm="batch").eval()
        with torch.no_grad():
            share = network(image).argmax(1).float().mean().item()
        if 0.05 <= share <= 0.95:
            break
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, folder / "best.safetensors")
    inference = dict(roi=list(ROI), overlap=0.5, batch=4, blend="constant", flips=False)
    per_axis = dict(kernel=3, up_kernel=3, dropout=0.0)
    card = dict(format=1, dataset="random", modality=["CT"], labels=[{"value": 1, "name": "spleen"}],
                preparation=dict(spacing=SPACING, intensity=WINDOW, crop_foreground=True, crop_margin=0),
                network={**NETWORK, **per_axis}, inference=inference,
                training=dict(epochs=0, steps=0, training_cases=0, validation_cases=0, best_epoch=None, best_dice=None))
    (folder / "model.json").write_text(json.dumps(card))
    return folder, network


def segmentation(table, program, folder):
    paths = sorted((folder / "images").glob("*.nii.gz"))
    chosen = [path for path in paths if path.name.startswith(("phantom_0", "phantom_1", "oblique_1", "real"))]
    sample = preparation()({"image": chosen[0], "label": folder / "labels" / chosen[0].name})["image"]
    size = [min(64, side // 16 * 16) for side in sample.shape[1:]]
    crop = sample.as_tensor()[None][:, :, : size[0], : size[1], : size[2]]
    model, network = model_folder(program, crop)
    for name, flags, flips, images in (("sliding window", [], False, chosen), ("flips", ["--flips"], True, chosen[:1])):
        out = program.desk / f"labels_{name.replace(' ', '_')}"
        program.run("predict", "--quiet", "--model", model, "--out", out, *flags, *images)
        voxels, dices, shares, affines = 0.0, 0.0, 1.0, 0.0
        for path in images:
            found = nib.load(out / path.name)
            wanted = segmented(network, path, ROI, flips)
            mine = np.asanyarray(found.dataobj)
            voxels = max(voxels, (mine != wanted).mean())
            dices = max(dices, *(1 - dice(mine, wanted, value) for value in (0, 1)))
            shares = min(shares, wanted.mean(), 1 - wanted.mean())
            affines = max(affines, np.abs(found.affine - nib.load(path).affine).max())
        what = f"{name}, inversion, argmax on {len(images)} image{'s' * (len(images) > 1)} (rarest class {100 * shares:.0f} %)"
        table.add("predict", f"{what}: share of voxels", voxels, 1e-4)
        table.add("predict", f"{what}: 1 − Dice", dices, 5e-4)
        table.add("predict", f"{what}: affine of the file, mm", affines, 1e-3)


def scores(table, program):
    """What `test` says of its predictions, against MONAI's metrics on the files it wrote."""
    outputs = program.workflow("scored", {
        "dataset": {"uses": "synthesize", "with": {"cases": 5, "shape": [48, 48, 40]}},
        "split": {"uses": "split", "needs": ["dataset"], "with": {"training": 2, "validation": 1, "testing": 2}},
        "volumes": {"uses": "preprocess", "needs": ["dataset"], "with": {"spacing": [6, 6, 6], "intensity": WINDOW}},
        "cache": {"uses": "cache", "needs": ["dataset", "volumes", "split"]},
        "model": {"uses": "train", "needs": ["cache"], "with": {
            "epochs": 80, "patch": [32, 32, 32], "volumes_per_step": 2, "patches_per_volume": 2, "learning_rate": 0.01,
            "network": {"channels": [4, 8, 16], "strides": [2, 2], "residual_units": 1}, "validate_every": 10}},
        "final": {"uses": "test", "needs": ["dataset", "cache", "model"], "with": {"tolerance_mm": 3.0}},
    })
    worst = {"dice": 0.0, "hd95_mm": 0.0, "surface_dice": 0.0}
    for case in json.loads((outputs / "final" / "scores.json").read_text()):
        predicted = nib.load(outputs / "final" / "predictions" / f"{case['case']}.nii.gz")
        reference = nib.load(outputs / "dataset" / "labelsTr" / f"{case['case']}.nii.gz")
        maps = [torch.from_numpy(np.asanyarray(image.dataobj).astype(np.uint8) == 1).float()[None, None]
                for image in (predicted, reference)]
        if not all(map_.any() for map_ in maps):
            sys.exit(f"scores: case {case['case']} has an empty label or prediction, so that nothing is compared")
        maps = [torch.cat([1 - map_, map_], 1) for map_ in maps]
        spacing = [float(side) for side in predicted.header.get_zooms()[:3]]
        wanted = {
            "dice": compute_dice(*maps, include_background=False),
            "hd95_mm": compute_hausdorff_distance(*maps, percentile=95, spacing=spacing),
            "surface_dice": compute_surface_dice(*maps, class_thresholds=[3.0], spacing=spacing),
        }
        for name, value in wanted.items():
            value, found = value.item(), case["labels"][0][name]
            both_nothing = found is None and not np.isfinite(value)
            off = 0.0 if both_nothing else float("inf") if found is None else abs(found - value)
            worst[name] = max(worst[name], off)
    for name, allowed in (("dice", 1e-6), ("hd95_mm", 1e-4), ("surface_dice", 1e-6)):
        table.add("scores", f"test's {name} on 2 phantoms", worst[name], allowed)


def nnunet(table, program, data):
    """Statistics, preprocessing and prediction against nnU-Net, by scripts of their own: nnU-Net starts processes."""
    scripts = [("check_nnunet_predict.py", [])]
    if (data / "Task04_Hippocampus.tar").exists():
        scripts.append(("check_nnunet_preprocessing.py", [data]))
    for script, more in scripts:
        command = [sys.executable, HERE / script, program.path, *more, "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr)
        for row in json.loads(done.stdout.splitlines()[-1]):
            table.add("nnU-Net", *row)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("voxflow", type=Path)
    parser.add_argument("--data", type=Path, default=HERE.parent.parent.parent / "shared" / "data")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    table = Table()
    with tempfile.TemporaryDirectory() as desk:
        desk = Path(desk)
        made = desk / "made"
        made.mkdir()
        fixtures(table, made)
        program = Program(options.voxflow, desk)
        folder = images(program, options.data)
        preprocessing(table, program, folder)
        segmentation(table, program, folder)
        scores(table, program)
        nnunet(table, program, options.data)
        lab = check_export.Lab(str(program.path), desk)
        for row in (*check_import.rows(lab, options.data), *check_export.torchscript(lab), *check_export.bundle(lab)):
            table.add(*row)
    print(table.text())
    if options.markdown:
        options.markdown.write_text(table.text())
    for row in table.failed():
        print(f"beyond what is allowed: {row[0]}, {row[1]}: {row[2]:.3g} > {row[3]:.3g}", file=sys.stderr)
    return 1 if table.failed() else 0


if __name__ == "__main__":
    sys.exit(main())
