"""Measures voxflow and nnU-Net 2.8.1 side by side and prints one table: work, seconds of each, ratio, target.

    python tests/bench/nnunet.py VOXFLOW --data FOLDER [--repeats N] [--tiny] [--markdown FILE]

FOLDER holds `Task04_Hippocampus.tar`. Both sides work on the same files in one run, one after the other, with two
threads (nnU-Net: two processes where it starts processes, and the faster of loading in the process or in one
more). Measured are: statistics, plan and preprocessing of the task's 200 cases and of 12 generated CTs of
512×512×100, each from nothing; a training step of the hippocampus plan, loading included; one CT from NIfTI to NIfTI
with all flips, the same weights on both sides. The start of the program and of `nnUNetv2_predict` counts, imports of
Python elsewhere do not. `--tiny` rehearses all of it in minutes, on a few small cases: its figures mean nothing.
`make bench-nnunet` provides what it needs.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

ROOM = tempfile.mkdtemp() if __name__ == "__main__" else os.environ["nnUNet_raw"].rsplit("/", 1)[0]
for name in ["nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"]:
    os.environ[name] = f"{ROOM}/{name}"
    Path(os.environ[name]).mkdir(exist_ok=True)
os.environ.update(OMP_NUM_THREADS="2", MKL_NUM_THREADS="2")

import nibabel as nib
import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "parity"))
import nnunet_model
from clock import seconds

CORES = 2
TESTED = Path(ROOM) / "tested"
HIPPOCAMPUS, CT = (4, "Dataset004_Hippocampus"), (12, "Dataset012_CT")
TARGETS = {"preprocess": 5.0, "step": 1.3, "predict": 1.5}
# The network of the prediction: nnU-Net's plan of the CTs at 2.5 mm, so that a pass takes minutes and not hours.
PREDICT_SPACING, PREDICT_PATCH = [2.5, 2.5, 2.5], [96, 96, 96]
PREDICT = "from nnunetv2.inference.predict_from_raw_data import predict_entry_point as go; go()"


class Bench:
    """The program, a folder to work in, and the rows."""

    def __init__(self, options, desk):
        self.program, self.repeats, self.tiny = options.voxflow.resolve(), options.repeats, options.tiny
        self.desk, self.rows = desk, []

    def voxflow(self, *words):
        done = subprocess.run([self.program, *map(str, words)], cwd=self.desk, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"voxflow {' '.join(map(str, words))}\n{done.stderr}")
        return done.stdout

    def run(self, name, stages, until=None):
        """Runs stages in a home of their own; gives the run's folder."""
        home = self.desk / f"home_{name}"
        (self.desk / f"{name}.yaml").write_text(json.dumps({"name": name, "stages": stages}))
        more = ["--until", until] if until else []
        self.voxflow("run", f"{name}.yaml", "--quiet", "--home", home, "--threads", CORES, *more)
        return Path(self.voxflow("path", "latest", "--home", home).strip())

    def add(self, work, key, ours, theirs):
        """A row of both sides' medians."""
        ours, theirs = statistics.median(ours), statistics.median(theirs)
        self.rows.append((work, ours, theirs, theirs / ours, TARGETS[key]))
        print(f"{work}: {ours:.4g} s, nnU-Net {theirs:.4g} s, ratio {theirs / ours:.3g}", file=sys.stderr, flush=True)

    def table(self):
        head = ("work", "voxflow, s", "nnU-Net, s", "ratio", "target", "")
        rows = [(work, f"{ours:.3g}", f"{theirs:.3g}", f"{ratio:.2f}", f"{target:g}", "met" if ratio >= target else "missed")
                for work, ours, theirs, ratio, target in self.rows]
        note = "A rehearsal on tiny data: these figures mean nothing.\n\n" if self.tiny else ""
        return note + "\n".join("| " + " | ".join(row) + " |" for row in [head, ("---",) * 6, *rows]) + "\n"


def folder(task):
    return Path(os.environ["nnUNet_raw"]) / task[1]


def described(task, channel, labels, count):
    described = {"channel_names": {"0": channel}, "labels": labels, "numTraining": count, "file_ending": ".nii.gz"}
    (folder(task) / "dataset.json").write_text(json.dumps(described))


def write_hippocampus(archive, count):
    """The task's first cases in nnU-Net's layout."""
    home = folder(HIPPOCAMPUS)
    for part in ("imagesTr", "labelsTr"):
        (home / part).mkdir(parents=True)
    with tarfile.open(archive) as tar:
        members = [member for member in tar if member.isfile() and "._" not in member.name]
        listed = next(member for member in members if member.name.endswith("dataset.json"))
        listed = json.load(tar.extractfile(listed))["training"]
        names = sorted(Path(case["label"]).name for case in listed)[:count]
        for member in members:
            for part, ending in (("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")):
                name = Path(member.name).name
                if f"/{part}/" in f"/{member.name}" and name in names:
                    (home / part / (name[:-7] + ending)).write_bytes(tar.extractfile(member).read())
    described(HIPPOCAMPUS, "MRI", {"background": 0, "Anterior": 1, "Posterior": 2}, len(names))
    return len(names)


def write_cts(bench, cases, shape):
    """Phantom CTs with voxels of several sizes, stored in RAS."""
    home = folder(CT)
    for part in ("imagesTr", "labelsTr"):
        (home / part).mkdir(parents=True)
    dataset = {"uses": "synthesize", "with": {"cases": cases, "shape": shape}}
    outputs = bench.run("phantom", {"dataset": dataset}) / "outputs" / "dataset"
    for index, path in enumerate(sorted((outputs / "imagesTr").glob("*.nii.gz"))):
        affine = np.diag([0.7 + 0.02 * (index % 5)] * 2 + [2.0 + 0.25 * (index % 4), 1.0])
        for part, ending in (("images", "_0000"), ("labels", "")):
            voxels = np.asanyarray(nib.load(outputs / f"{part}Tr" / path.name).dataobj)
            voxels = voxels.astype(np.int16 if part == "images" else np.uint8)
            nib.save(nib.Nifti1Image(voxels, affine), home / f"{part}Tr" / f"ct_{index}{ending}.nii.gz")
    # Kept apart from the dataset, where it would be a case twice.
    TESTED.mkdir(exist_ok=True)
    shutil.copy(home / "imagesTr" / "ct_0_0000.nii.gz", TESTED)
    described(CT, "CT", {"background": 0, "spleen": 1}, cases)
    shutil.rmtree(bench.desk / "home_phantom")


def nnunet_prepared(task):
    """nnU-Net's fingerprint, plan and preprocessing from nothing."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess

    shutil.rmtree(Path(os.environ["nnUNet_preprocessed"]) / task[1], ignore_errors=True)
    extract_fingerprints([task[0]], num_processes=CORES)
    plan_experiments([task[0]])
    preprocess([task[0]], configurations=["3d_fullres"], num_processes=[CORES])


def plans_of(task):
    return json.loads((Path(os.environ["nnUNet_preprocessed"]) / task[1] / "nnUNetPlans.json").read_text())


def dataset_of(task):
    return json.loads((folder(task) / "dataset.json").read_text())


def stages_of(task):
    """All cases are looked at, as nnU-Net does, and prepared."""
    plans, dataset = plans_of(task), dataset_of(task)
    prepared = nnunet_model.parameters(plans, dataset, True)["preprocess"]
    return {
        "dataset": {"uses": "folder", "with": {"path": str(folder(task))}},
        "split": {"uses": "split", "needs": ["dataset"], "with": {"training": "rest", "validation": 1}},
        "statistics": {"uses": "statistics", "needs": ["dataset", "split"]},
        "volumes": {"uses": "preprocess", "needs": ["dataset"], "with": prepared},
    }


def preprocessing(bench, task, work):
    """Planning itself takes milliseconds; its parameters are nnU-Net's."""
    ours, theirs = [], []
    for _ in range(bench.repeats):
        theirs.append(seconds(lambda: nnunet_prepared(task)))
        shutil.rmtree(bench.desk / f"home_{task[1]}", ignore_errors=True)
        ours.append(seconds(lambda: bench.run(task[1], stages_of(task))))
    bench.add(work, "preprocess", ours, theirs)


def trainer(task, plans):
    """nnU-Net's trainer, initialised."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    torch.manual_seed(0)
    made = nnUNetTrainer(dict(plans, continue_training=False), "3d_fullres", "all", dataset_of(task), torch.device("cpu"))
    made.initialize()
    made.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    return made


def nnunet_step(processes, warm, steps):
    """Seconds of a step with so many processes that load."""
    os.environ["nnUNet_n_proc_DA"] = str(processes)
    made = trainer(HIPPOCAMPUS, plans_of(HIPPOCAMPUS))
    made.network.train()
    train, val = made.get_dataloaders()
    for _ in range(warm):
        made.train_step(next(train))
    began = time.perf_counter()
    for _ in range(steps):
        made.train_step(next(train))
    spent = (time.perf_counter() - began) / steps
    for loader in (train, val):
        if hasattr(loader, "_finish"):
            loader._finish()
    return spent


def spatial(plans):
    """The plan's patch, what is cut for it, and nnU-Net's transforms, as 'voxflow new' writes them."""
    from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size

    patch = plans["configurations"]["3d_fullres"]["patch_size"]
    angle = (-np.pi / 6, np.pi / 6)
    cut = [int(side) for side in get_patch_size(patch, angle, angle, angle, (0.85, 1.25))]
    transforms = [
        {"name": "spatial", "rotation_probability": 0.2, "rotation_degrees": 30, "scale_probability": 0.2, "scale": [0.7, 1.4]},
        {"name": "noise", "probability": 0.1, "std": 0.1},
        {"name": "blur", "probability": 0.2, "channel_probability": 0.5, "sigma_voxels": [0.5, 1.0]},
        {"name": "brightness", "probability": 0.15, "range": [0.75, 1.25]},
        {"name": "contrast", "probability": 0.15, "range": [0.75, 1.25]},
        {"name": "low_resolution", "probability": 0.25, "channel_probability": 0.5, "scale": [0.5, 1.0]},
        {"name": "gamma_retain_stats", "probability": 0.1, "range": [0.7, 1.5], "inverted": True},
        {"name": "gamma_retain_stats", "probability": 0.3, "range": [0.7, 1.5]},
        {"name": "flip", "probability": 0.5},
    ]
    return nnunet_model.turned(plans, patch), nnunet_model.turned(plans, cut), transforms


def training_stage(plans, dataset, steps):
    full = plans["configurations"]["3d_fullres"]
    patch, cut, transforms = spatial(plans)
    parameters = nnunet_model.parameters(plans, dataset, False)
    return {"uses": "train", "needs": ["cache"], "with": {
        "epochs": 2, "steps_per_epoch": steps, "patch": patch, "volumes_per_step": full["batch_size"],
        "patches_per_volume": 1, "sampling": {"forced_foreground": 0.33, "initial_patch": cut},
        "augmentation": transforms, "network": parameters["network"],
        "loss": {"name": "dice_ce", "include_background": False, "squared_pred": False, "batch": full["batch_dice"],
                 "weights": [1.0, 1.0], "clamp_dr": 1e-8, "negative_dice": True, "output_weights": "nnunet"},
        "learning_rate": 0.01, "optimizer": {"name": "sgd", "momentum": 0.99, "nesterov": True, "weight_decay": 3e-5},
        "schedule": {"name": "polynomial", "power": 0.9}, "clip_gradients": 12.0, "best_by": "last", "validate_every": 2,
        "inference": parameters["inference"]}}


def own_step(bench, steps):
    """Seconds of a step of the second epoch, its validation left out."""
    stages = stages_of(HIPPOCAMPUS)
    stages["cache"] = {"uses": "cache", "needs": ["dataset", "volumes", "split"]}
    stages["model"] = training_stage(plans_of(HIPPOCAMPUS), dataset_of(HIPPOCAMPUS), steps)
    run = bench.run("training", stages, "model")
    events = map(json.loads, (run / "events.jsonl").read_text().splitlines())
    said = [event["message"] for event in events if event.get("message", {}).get("say") == "metric"]
    spent = [row["value"] for row in said if row["metric"] == "epoch_seconds"]
    return spent[-1] / steps


def training(bench):
    warm, steps = (1, 2) if bench.tiny else (5, 40)
    ours, theirs = [], []
    for repeat in range(bench.repeats):
        theirs.append(min(nnunet_step(processes, warm, steps) for processes in (0, 1)))
        shutil.rmtree(bench.desk / "home_training", ignore_errors=True)
        ours.append(own_step(bench, steps))
    full = plans_of(HIPPOCAMPUS)["configurations"]["3d_fullres"]
    sides = "×".join(map(str, full["patch_size"]))
    bench.add(f"training step of the hippocampus plan, {full['batch_size']} × {sides}, loading included", "step", ours, theirs)


def prediction(bench):
    """One CT with all flips by a network as it is initialised."""
    plans = plans_of(CT)
    full = plans["configurations"]["3d_fullres"]
    kwargs = full["architecture"]["arch_kwargs"]
    stages = 3 if bench.tiny else 5
    for key in ("features_per_stage", "n_conv_per_stage"):
        kwargs[key] = kwargs[key][:stages]
    kwargs.update(n_stages=stages, strides=[[1] * 3] + [[2] * 3] * (stages - 1), kernel_sizes=[[3] * 3] * stages,
                  n_conv_per_stage_decoder=[2] * (stages - 1))
    full.update(spacing=[12.0] * 3 if bench.tiny else PREDICT_SPACING, patch_size=[16] * 3 if bench.tiny else PREDICT_PATCH)
    if bench.tiny:
        kwargs["features_per_stage"] = [4, 8, 8]
    made = trainer(CT, plans)
    base = Path(made.output_folder_base)
    Path(made.output_folder).mkdir(parents=True, exist_ok=True)
    (base / "plans.json").write_text(json.dumps(plans))
    (base / "dataset.json").write_text(json.dumps(dataset_of(CT)))
    made.save_checkpoint(str(Path(made.output_folder) / "checkpoint_final.pth"))
    nnunet_model.save(bench.desk / "weights.pt", plans, made.network.state_dict())
    bench.voxflow("import", "weights.pt", "--out", "model", *nnunet_model.flags(plans, dataset_of(CT)))
    images, ours, theirs = TESTED, [], []
    command = [sys.executable, "-c", PREDICT, "-i", images, "-o", bench.desk / "theirs", "-d", CT[0], "-c", "3d_fullres",
               "-f", "all", "-device", "cpu", "-npp", 1, "-nps", 1, "--disable_progress_bar"]
    for _ in range(bench.repeats):
        shutil.rmtree(bench.desk / "theirs", ignore_errors=True)
        theirs.append(seconds(lambda: subprocess.run(list(map(str, command)), check=True, capture_output=True)))
        shutil.rmtree(bench.desk / "own", ignore_errors=True)
        ours.append(seconds(lambda: bench.voxflow("predict", "--quiet", "--threads", CORES, "--model", "model", "--out", "own", images)))
    (own,), (other,) = (sorted((bench.desk / side).glob("*.nii.gz")) for side in ("own", "theirs"))
    apart = np.mean(np.asanyarray(nib.load(own).dataobj) != np.asanyarray(nib.load(other).dataobj))
    print(f"of the two label maps {100 * apart:.4f} % of the voxels differ", file=sys.stderr)
    shape = "×".join(map(str, nib.load(own).shape))
    bench.add(f"a CT of {shape} with all flips, NIfTI to NIfTI, at {full['spacing'][0]:g} mm", "predict", ours, theirs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("voxflow", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="the folder with Task04_Hippocampus.tar")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--tiny", action="store_true", help="a rehearsal on a few small cases")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    archive = options.data / "Task04_Hippocampus.tar"
    if not archive.exists():
        sys.exit(f"'{archive}' is not there: name the folder that holds it, as DATA_ROOT=… of 'make bench-nnunet'")
    torch.set_num_threads(CORES)
    try:
        desk = Path(ROOM) / "desk"
        desk.mkdir()
        bench = Bench(options, desk)
        count = write_hippocampus(archive, 6 if options.tiny else None)
        cases, shape = (4, [48, 48, 24]) if options.tiny else (12, [512, 512, 100])
        write_cts(bench, cases, shape)
        preprocessing(bench, HIPPOCAMPUS, f"plan and preprocess {count} hippocampus cases")
        sides = "×".join(map(str, shape))
        preprocessing(bench, CT, f"plan and preprocess {cases} CTs of {sides}")
        training(bench)
        prediction(bench)
    finally:
        shutil.rmtree(ROOM, ignore_errors=True)
    print(bench.table())
    if options.markdown:
        options.markdown.write_text(bench.table())


if __name__ == "__main__":
    main()
