"""Compares `voxflow predict` with `nnUNetv2_predict`, NIfTI to NIfTI, flips on, and `evaluate` with its summary.json.

    python tests/parity/check_nnunet_predict.py VOXFLOW [--json]

Three small tasks are generated: a CT with thick slices, an MRI with a black border whose labels are regions, and an
MRI of four channels for a network with residual blocks.
nnU-Net 2.8.1 plans them; of each a network as it is initialised and one after a short training by nnU-Net's own
trainer predict two images, by nnU-Net's command and by the program, which imports nnU-Net's results folder. The CT's
files are stored in LPS, the MRI's in RAS: nnU-Net takes axes as they are stored. nnU-Net sums its windows in float16, by which scores that are nearly equal, as those of a network without
training are, change places: such a network is judged by nnU-Net with sums in float32, and the row's name says how many
voxels differ from the command as it is. The predictions that nnU-Net made are scored by `nnUNetv2_evaluate_folder` and
by the kind `evaluate`; a region is a label of its own on neither side there. Exit code 1 if a row is beyond what is allowed; with --json the last line has the rows for `compare.py`,
which judges them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

ROOM = tempfile.mkdtemp() if __name__ == "__main__" else os.environ["nnUNet_raw"].rsplit("/", 1)[0]
for name in ["nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"]:
    os.environ[name] = f"{ROOM}/{name}"
    Path(os.environ[name]).mkdir(exist_ok=True)

import torch

# Shapes and voxels (x, y, z) of the cases, of which the last two are predicted alone, and the signs of the files' axes.
TASKS = {
    "ct": dict(
        cases=[((34, 30, 14), (1.0, 1.0, 3.5)), ((32, 33, 13), (1.1, 1.0, 3.4)), ((30, 31, 15), (1.0, 1.1, 3.6)),
               ((33, 36, 14), (0.9, 1.0, 3.3)), ((44, 40, 12), (0.8, 0.9, 4.0))],
        channel="CT", signs=(-1, -1, 1), labels={"background": 0, "inner": 1, "outer": 2}),
    "regions": dict(
        cases=[((26, 28, 24), (1.0, 1.0, 1.0)), ((27, 26, 25), (1.0, 1.1, 1.0)), ((28, 27, 24), (1.1, 1.0, 1.0)),
               ((28, 26, 27), (1.0, 1.0, 0.9)), ((38, 36, 34), (0.8, 0.9, 0.8))],
        channel="MRI", signs=(1, 1, 1), border=4, labels={"background": 0, "both": [1, 2], "inner": 1}, regions_class_order=[2, 1]),
    "residual": dict(
        cases=[((26, 25, 24), (1.0, 1.0, 1.2)), ((27, 26, 22), (1.0, 1.1, 1.2)), ((28, 27, 23), (1.1, 1.0, 1.2)),
               ((26, 30, 27), (1.0, 1.0, 1.1)), ((30, 29, 36), (0.8, 0.9, 0.8))],
        channel="MRI", channels=4, border=0, planner="nnUNetPlannerResEncM", signs=(-1, 1, 1),
        labels={"background": 0, "inner": 1, "outer": 2}),
}
TESTED = 2
# Names of plans by planners.
PLANS = {"ExperimentPlanner": "nnUNetPlans", "nnUNetPlannerResEncM": "nnUNetResEncUNetMPlans"}
STEPS = 40


def volume(rng, shape, task):
    """Two nested organs in noise."""
    place = np.meshgrid(*[(np.arange(n) - n / 2 + 0.5) / n for n in shape], indexing="ij")
    radius = np.sqrt(sum((axis * (2.2 + 0.4 * rng.random())) ** 2 for axis in place))
    label = np.where(radius < 0.4, 1, np.where(radius < 0.7, 2, 0)).astype(np.uint8)
    values = 100 + 120 * (label == 1) - 60 * (label == 2) + rng.normal(0, 20, shape)
    if task["channel"] == "CT":
        return np.round(np.where(radius < 0.95, values, -1000)).astype(np.int16), label
    border = task["border"]
    inside = np.zeros(shape, bool)
    inside[tuple(slice(border, side - border) for side in shape)] = True
    return np.where(inside, np.abs(values) + 1, 0).astype(np.float32), label * inside


def write(number, name, task):
    """The task in nnU-Net's layout; its folder."""
    rng = np.random.default_rng(2000 + number)
    home = Path(os.environ["nnUNet_raw"]) / f"Dataset{number:03d}_{name}"
    trained = len(task["cases"]) - TESTED
    for index, (shape, size) in enumerate(task["cases"]):
        part = "Tr" if index < trained else "Ts"
        image, label = volume(rng, shape, task)
        affine = np.diag([*(sign * side for sign, side in zip(task["signs"], size)), 1.0])
        affine[:3, 3] = rng.normal(0, 30, 3)
        weights = [1.0] + [0.5 + rng.random() for _ in range(1, task.get("channels", 1))]
        images = [("images", (image * weight).astype(image.dtype), f"_{channel:04}") for channel, weight in enumerate(weights)]
        for kind, values, ending in (*images, ("labels", label, "")):
            (home / f"{kind}{part}").mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(values, affine), home / f"{kind}{part}" / f"case{index}{ending}.nii.gz")
    channels = {str(channel): task["channel"] for channel in range(task.get("channels", 1))}
    dataset = {"channel_names": channels, "labels": task["labels"], "numTraining": trained,
               "file_ending": ".nii.gz"}
    if "regions_class_order" in task:
        dataset["regions_class_order"] = task["regions_class_order"]
    (home / "dataset.json").write_text(json.dumps(dataset))
    return home, dataset


def planned(number, home, planner="ExperimentPlanner"):
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess

    os.environ["nnUNet_n_proc_DA"] = "1"
    extract_fingerprints([number], num_processes=1)
    plan_experiments([number], experiment_planner_class_name=planner)
    name = PLANS[planner]
    preprocess([number], plans_identifier=name, configurations=["3d_fullres"], num_processes=[1])
    return json.loads((Path(os.environ["nnUNet_preprocessed"]) / home.name / f"{name}.json").read_text())


def trainer_of(plans, dataset, steps):
    """nnU-Net's trainer with a network as it is initialised, trained for so many steps; its files are written."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    os.environ["nnUNet_n_proc_DA"] = "0"  # for the trainer alone: planning takes it for threads
    torch.manual_seed(7)
    np.random.seed(7)
    made = nnUNetTrainer(dict(plans, continue_training=False), "3d_fullres", "all", dataset, torch.device("cpu"))
    made.num_epochs, made.num_iterations_per_epoch, made.num_val_iterations_per_epoch = 1, max(steps, 1), 1
    made.initialize()
    made.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    if steps:
        made.run_training()
    base = Path(made.output_folder_base)
    Path(made.output_folder).mkdir(parents=True, exist_ok=True)
    (base / "plans.json").write_text(json.dumps(plans))
    (base / "dataset.json").write_text(json.dumps(dataset))
    if not steps:
        # So drawn, all outputs are nearly equal: larger last layers make all classes likely somewhere.
        with torch.no_grad():
            for layer in made.network.decoder.seg_layers:
                layer.weight.mul_(4)
    made.save_checkpoint(str(Path(made.output_folder) / "checkpoint_final.pth"))
    return made


PREDICT = "from nnunetv2.inference.predict_from_raw_data import predict_entry_point as go; go()"
# torch, but that what is asked to be float16 is float32.
SINGLE = """
import torch
from nnunetv2.inference import predict_from_raw_data
class Single:
    half = torch.float32
    def __getattr__(self, name):
        return getattr(torch, name)
predict_from_raw_data.torch = Single()
"""


def say(*command, cwd=None):
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(str(word) for word in command[:4])} …: {done.stdout[-2000:]}\n{done.stderr[-4000:]}")


def nnunet_predict(number, images, out, is_single=False, plans="nnUNetPlans"):
    """nnU-Net's own command, flips on; its sums in float32 if asked for."""
    say(sys.executable, "-c", SINGLE + PREDICT if is_single else PREDICT, "-i", images, "-o", out, "-d", number, "-p", plans, "-c", "3d_fullres", "-f", "all",
        "-device", "cpu", "-npp", 1, "-nps", 1, "--disable_progress_bar")


def own_predict(program, desk, results, images, out):
    """The program with the model that nnU-Net left behind."""
    say(program, "import", results, "--out", "model", cwd=desk)
    say(program, "predict", "--quiet", "--model", "model", "--out", out, images, cwd=desk)


MODELFOLDER = "from nnunetv2.inference.predict_from_raw_data import predict_entry_point_modelfolder as go; go()"


def sent_back(program, desk, images):
    """The imported model as a results folder again, by which nnU-Net predicts."""
    say(program, "export", "model", "--out", "back", "--format", "nnunet", cwd=desk)
    say(sys.executable, "-c", MODELFOLDER, "-i", images, "-o", desk / "sent", "-m", desk / "back", "-f", "all",
        "-device", "cpu", "-npp", 1, "-nps", 1, "--disable_progress_bar")


def compared(what, found, wanted, values):
    """Rows of voxels that differ, and of Dice of each label."""
    different = total = 0
    dices, shares = [], []
    for path in sorted(wanted.glob("*.nii.gz")):
        own = next(iter(sorted(found.glob(path.name.replace(".nii.gz", "*")))))
        mine, theirs = (np.asanyarray(nib.load(file).dataobj) for file in (own, path))
        different, total = different + int((mine != theirs).sum()), total + theirs.size
        for value in values:
            one, other = mine == value, theirs == value
            shares.append(other.mean())
            if one.any() or other.any():
                dices.append(2 * (one & other).sum() / (one.sum() + other.sum()))
    known = 100 * max(shares)
    return [(f"{what}: share of voxels that differ", different / total, 1e-4),
            (f"{what}: 1 − Dice, the worst label (labels are up to {known:.0f} % of an image)", 1 - min(dices, default=0), 5e-4)]


EVALUATE = "from nnunetv2.evaluation.evaluate_predictions import evaluate_folder_entry_point as go; go()"
SCORED = """name: scored
stages:
  dataset:
    uses: folder
    with:
      path: {home}
      images: imagesTs/{{case}}_0000.nii.gz
      labels: labelsTs/{{case}}.nii.gz
      label_names: {{ 1: inner, 2: outer }}
      modality: [MRI]
  theirs: {{ uses: evaluate, needs: [dataset], with: {{ path: {predictions}, cases: all, summary_json: true }} }}
"""


def evaluated(program, desk, home, predictions, what):
    """The rows of Dice by `evaluate`, and of all figures of its summary.json, beside nnU-Net's, of single labels."""
    (desk / "dataset.json").write_text(json.dumps(dict(channel_names={"0": "CT"}, labels={"background": 0, "inner": 1, "outer": 2},
                                                       file_ending=".nii.gz")))
    plans = next((Path(os.environ["nnUNet_preprocessed"]) / home.name).glob("nnUNet*Plans.json"))
    say(sys.executable, "-c", EVALUATE, home / "labelsTs", predictions, "-djfile", desk / "dataset.json", "-pfile", plans,
        "-o", desk / "summary.json", "-np", 1)
    (desk / "scored.yaml").write_text(SCORED.format(home=home, predictions=predictions))
    say(program, "run", "--quiet", "scored.yaml", cwd=desk)
    scores = next(desk.glob(".voxflow/runs/*/outputs/theirs/scores.json"))
    own = {case["case"]: [label["dice"] for label in case["labels"]] for case in json.loads(scores.read_text())}
    theirs, ours = (json.loads(path.read_text()) for path in (desk / "summary.json", scores.with_name("summary.json")))
    off = []
    for case in theirs["metric_per_case"]:
        name = Path(case["reference_file"]).name.removesuffix(".nii.gz")
        off += [abs(own[name][label - 1] - case["metrics"][str(label)]["Dice"]) for label in (1, 2)]
    if len(off) != 2 * TESTED:
        sys.exit(f"{what}: {len(off)} scores were compared")
    apart = [abs(one - other) for one, other in zip(figures(ours), figures(theirs), strict=True)]
    return [(f"{what}: Dice of `evaluate` beside summary.json", max(off), 1e-6),
            (f"{what}: {len(apart)} figures of both summary.json", max(apart), 1e-6)]


def figures(summary):
    """All numbers of a summary.json, keys sorted; an undefined one is -1."""
    if isinstance(summary, dict):
        return [number for key in sorted(summary) for number in figures(summary[key])]
    if isinstance(summary, list):
        return [number for one in summary for number in figures(one)]
    if isinstance(summary, str):
        return []
    return [-1 if np.isnan(summary) else summary]


def rows(program):
    found = []
    for number, (name, task) in enumerate(TASKS.items(), 11):
        home, dataset = write(number, name, task)
        plans = planned(number, home, task.get("planner", "ExperimentPlanner"))
        for kind, steps in (("random", 0), ("trained", STEPS)):
            desk = Path(tempfile.mkdtemp(dir=ROOM))
            results = trainer_of(plans, dataset, steps).output_folder_base
            nnunet_predict(number, home / "imagesTs", desk / "theirs", plans=plans["plans_name"])
            own_predict(program, desk, results, home / "imagesTs", desk / "own")
            what = f"nnUNetv2_predict, {name}, {kind} network, {TESTED} images, 8 flips"
            judged = compared(what, desk / "own", desk / "theirs", (1, 2))
            scored = evaluated(program, desk, home, desk / "theirs", what)
            if kind == "random":
                nnunet_predict(number, home / "imagesTs", desk / "single", is_single=True, plans=plans["plans_name"])
                what += f", sums in float32 (as it is, {judged[0][1]:.1e} of the voxels differ)"
                judged = compared(what, desk / "own", desk / "single", (1, 2))
            if kind == "trained":
                sent_back(program, desk, home / "imagesTs")
                judged += compared(f"nnU-Net by the folder that `export` writes, {name}, {kind} network", desk / "own", desk / "sent", (1, 2))
            found += [*judged, *scored]
    return found


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("program", type=Path)
    arguments.add_argument("--json", action="store_true")
    options = arguments.parse_args()
    torch.set_num_threads(2)
    table = rows(options.program.resolve())
    for what, off, allowed in table:
        print(f"| nnU-Net | {what} | {off:.3g} | {allowed:.3g} |")
    if options.json:
        print(json.dumps([[what, float(off), allowed] for what, off, allowed in table]))
        return 0
    return int(any(not off <= allowed for _, off, allowed in table))


if __name__ == "__main__":
    sys.exit(main())
