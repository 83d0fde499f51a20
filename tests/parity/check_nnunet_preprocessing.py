"""Compares statistics and preprocessing through the program with nnU-Net 2.8.1, on real data.

    python tests/parity/check_nnunet_preprocessing.py VOXFLOW FOLDER [--cases N] [--json]

FOLDER holds `Task04_Hippocampus.tar`. nnU-Net extracts the fingerprint of its first N cases (all), plans and
preprocesses them; so does the program; both are timed. Exit code 1 if a row is beyond what is allowed; with
--json the last line has the rows for `compare.py`, which judges them.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np

ROOM = tempfile.mkdtemp() if __name__ == "__main__" else os.environ["nnUNet_raw"].rsplit("/", 1)[0]
for name in ["nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"]:
    os.environ[name] = f"{ROOM}/{name}"
    Path(os.environ[name]).mkdir(exist_ok=True)
NAME = "Dataset004_Hippocampus"


def written(archive, count):
    """The task's first cases in nnU-Net's layout."""
    home = Path(os.environ["nnUNet_raw"]) / NAME
    for part in ["imagesTr", "labelsTr"]:
        (home / part).mkdir(parents=True)
    with tarfile.open(archive) as tar:
        members = {Path(m.name).name: m for m in tar if "._" not in m.name and m.isfile()}
        described = json.load(tar.extractfile(members["dataset.json"]))
        names = sorted(Path(case["label"]).name for case in described["training"])[:count]
        for kind, ending in [("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")]:
            for member in tar.getmembers():
                name = Path(member.name).name
                if kind in member.name and name in names:
                    (home / kind / (name[:-7] + ending)).write_bytes(tar.extractfile(member).read())
    (home / "dataset.json").write_text(json.dumps({
        "channel_names": {"0": "MRI"}, "labels": {"background": 0, "Anterior": 1, "Posterior": 2},
        "numTraining": len(names), "file_ending": ".nii.gz"}))
    return home


def nnunet():
    """Its fingerprint, plans, and seconds of each step."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess

    seconds, at = {}, time.time()
    for step, act in [("fingerprint", lambda: extract_fingerprints([4], num_processes=2)),
                      ("plan", lambda: plan_experiments([4])),
                      ("preprocess", lambda: preprocess([4], configurations=["3d_fullres"], num_processes=[2]))]:
        act()
        seconds[step], at = time.time() - at, time.time()
    made = Path(os.environ["nnUNet_preprocessed"]) / NAME
    return (json.loads((made / "dataset_fingerprint.json").read_text()),
            json.loads((made / "nnUNetPlans.json").read_text()), made / "nnUNetPlans_3d_fullres", seconds)


WORKFLOW = """
name: hippocampus
stages:
  dataset: {{ uses: folder, with: {{ path: {home} }} }}
  split: {{ uses: split, needs: [dataset], with: {{ training: rest, validation: 1 }} }}
  statistics: {{ uses: statistics, needs: [dataset, split] }}
  volumes:
    uses: preprocess
    needs: [dataset]
    with: {{ spacing: {spacing}, intensity: {{ zscore: all }}, crop_nonzero: true, resampling: {{}} }}
"""


class Program:
    def __init__(self, path):
        self.path, self.desk = Path(path).resolve(), Path(tempfile.mkdtemp())

    def say(self, *arguments):
        at = time.time()
        done = subprocess.run([self.path, *arguments], cwd=self.desk, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"voxflow {' '.join(arguments)}: {done.stderr}")
        return done.stdout.strip(), time.time() - at


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("program")
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--cases", type=int, default=None)
    arguments.add_argument("--json", action="store_true")
    arguments = arguments.parse_args()
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
    import nibabel as nib

    home = written(arguments.data / "Task04_Hippocampus.tar", arguments.cases)
    fingerprint, plans, folder, seconds = nnunet()
    spacing = plans["configurations"]["3d_fullres"]["spacing"]
    backward = plans["transpose_backward"]
    program = Program(arguments.program)
    zyx = [spacing[axis] for axis in backward]
    (program.desk / "w.yaml").write_text(WORKFLOW.format(home=home, spacing=zyx[::-1]))
    _, looked = program.say("run", "w.yaml", "--until", "statistics", "--quiet")
    _, again = program.say("run", "w.yaml", "--until", "statistics", "--quiet")
    _, prepared = program.say("run", "w.yaml", "--until", "volumes", "--quiet")
    place, _ = program.say("path", "latest/volumes")
    own = fingerprint_of(program)
    rows = [statistics_row(own, fingerprint), *volume_rows(Path(place), folder, backward, nib, nnUNetDatasetBlosc2)]
    failed = [row for row in rows if not row[1] <= row[2]]
    for what, off, allowed in rows:
        print(f"| nnU-Net | {what} | {off:.3g} | {allowed:.3g} |")
    print(f"seconds, nnU-Net: {seconds}; voxflow: statistics {looked:.1f}, again {again:.2f}, preprocess {prepared:.1f}")
    if arguments.json:
        print(json.dumps([[what, float(off), allowed] for what, off, allowed in rows]))
        return
    sys.exit(1 if failed else 0)


def fingerprint_of(program):
    for run in sorted((program.desk / ".voxflow" / "runs").iterdir()):
        found = run / "outputs" / "statistics" / "dataset_fingerprint.json"
        if found.exists():
            return json.loads(found.read_text())
    sys.exit("no statistics")


def statistics_row(own, theirs):
    by_case = lambda one: sorted(zip(map(tuple, one["shapes_after_crop"]), map(tuple, one["spacings"])))
    same = [(a[0] == b[0]) and np.allclose(a[1], b[1], atol=1e-6) for a, b in zip(by_case(own), by_case(theirs))]
    if not all(same) or len(own["spacings"]) != len(theirs["spacings"]):
        return ("hippocampus: shapes and spacings", float("inf"), 0)
    mine = own["foreground_intensity_properties_per_channel"]["0"]
    of = theirs["foreground_intensity_properties_per_channel"]["0"]
    print("statistics", {key: (mine[key], of[key]) for key in of})
    off = max(abs(mine[key] - of[key]) / abs(of[key]) for key in of if key != "min")
    return (f"hippocampus, {len(own['spacings'])} cases: intensity statistics, relative", off, 1e-3)


def volume_rows(place, folder, backward, nib, Dataset):
    apart, different, total, shapes = 0.0, 0, 0, 0
    for case in sorted(path.name for path in place.iterdir() if path.is_dir()):
        data, seg, _, _ = Dataset(str(folder), [case]).load_case(case)
        image, label = (to_ras(np.asarray(one), backward) for one in (data, seg))
        own = nib.load(place / case / "image.nii").get_fdata(dtype=np.float32)[None]
        labels = np.asarray(nib.load(place / case / "label.nii").dataobj)[None]
        shapes += own.shape != image.shape
        if own.shape == image.shape:
            apart = max(apart, float(np.abs(own - image).max()))
            different += int((labels != np.maximum(label, 0)).sum())
            total += labels.size
    return [("hippocampus: shapes that differ", shapes, 0), ("hippocampus: images", apart, 1e-4),
            ("hippocampus: labels, share of voxels", different / max(total, 1), 1e-4)]


def to_ras(array, backward):
    """(c, plan's axes) to (c, x, y, z); the files of this task are stored in RAS."""
    return array.transpose([0] + [axis + 1 for axis in backward]).transpose(0, 3, 2, 1)


if __name__ == "__main__":
    main()
