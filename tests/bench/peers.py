"""Measures voxflow and MONAI side by side and prints one table: work, seconds of each, ratio.

    python tests/bench/peers.py VOXFLOW [--repeats N] [--markdown FILE]

Both sides work on the same generated CTs of 512×512×100 (int16, gzip), in one run, with two threads;
medians of N repetitions, files in the page cache for both. Whole pieces of work go through the program
VOXFLOW; parts of a training are timed by `cargo bench --bench parts`, built like it. Imports and warm-ups of Python
are not counted, the start of the program is. `make bench-peers` provides what it needs.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")

import nibabel as nib
import torch
from monai import transforms as mt
from monai.data import PersistentDataset
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from monai.optimizers import Novograd
from torch.utils.data import DataLoader

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "parity"))
from clock import repeated, seconds
from reference import SPACING, WINDOW, preparation, segmented

CASES, CORES, ROI = 4, 2, (96, 96, 96)
PREPARED = {"spacing": SPACING, "intensity": WINDOW, "crop_foreground": True}
NETWORK = dict(channels=[16, 32, 64, 128, 256], strides=[2, 2, 2, 2])


class Bench:
    """The program, a folder to work in, and the rows."""

    def __init__(self, options, desk):
        self.program, self.repeats = options.voxflow.resolve(), options.repeats
        self.profile = "dev" if self.program.parent.name == "debug" else self.program.parent.name
        self.desk, self.rows = desk, []

    def voxflow(self, *words):
        done = subprocess.run([self.program, *map(str, words)], cwd=self.desk, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"voxflow {' '.join(map(str, words))}\n{done.stderr}")
        return done.stdout

    def peak(self, *command):
        """The most memory that a command held, in GiB. A small process starts it: the system counts to a program what
        the process held that became it."""
        small = "import resource, subprocess as s, sys; s.run(sys.argv[1:], check=True, stdout=s.DEVNULL, stderr=s.DEVNULL)"
        small += "; print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        words = [sys.executable, "-S", "-c", small, *map(str, command)]
        return int(subprocess.run(words, cwd=self.desk, check=True, capture_output=True, text=True).stdout) / (1 << 20)

    def workflow(self, name, stages):
        """Runs stages in a home of their own, from nothing; gives the run's folder."""
        home = self.desk / f"home_{name}"
        shutil.rmtree(home, ignore_errors=True)
        (self.desk / f"{name}.yaml").write_text(json.dumps({"name": name, "stages": stages}))
        self.voxflow("run", f"{name}.yaml", "--quiet", "--home", home, "--threads", CORES)
        return Path(self.voxflow("path", "latest", "--home", home).strip())

    def add(self, work, ours, theirs, unit="s"):
        """A row, both sides' medians; `theirs` says how it was measured."""
        ours, (peer, theirs) = statistics.median(ours), (theirs[0], statistics.median(theirs[1]))
        self.rows.append((f"{work}, {unit}", ours, peer, theirs, theirs / ours))
        print(f"{work}: {ours:.4g} {unit}, {peer} {theirs:.4g} {unit}, ratio {theirs / ours:.3g}", file=sys.stderr, flush=True)

    def table(self):
        head = ("work", "voxflow", "against", "its figure", "ratio")
        rows = [(work, f"{ours:.3g}", peer, f"{theirs:.3g}", f"{ratio:.3g}") for work, ours, peer, theirs, ratio in self.rows]
        return "\n".join("| " + " | ".join(row) + " |" for row in [head, ("---",) * 5, *rows]) + "\n"


def images(bench):
    """A folder with images/ and labels/ of full size."""
    outputs = bench.workflow("phantom", {
        "dataset": {"uses": "synthesize", "with": {"cases": CASES, "shape": [512, 512, 100]}}}) / "outputs" / "dataset"
    for part in ("images", "labels"):
        (bench.desk / part).mkdir()
        for index, path in enumerate(sorted((outputs / f"{part}Tr").glob("*.nii.gz"))):
            shutil.copy(path, bench.desk / part / f"ct_{index}.nii.gz")
    return [{part: bench.desk / f"{part}s" / f"ct_{index}.nii.gz" for part in ("image", "label")} for index in range(CASES)]


def preprocessing(bench, files):
    """Cold: both read, resample and keep every case; ours waits until the disk has it. Gives a prepared case of each."""
    ours, theirs = [], []
    for repeat in range(bench.repeats):
        run = bench.workflow("prepared", {
            "dataset": {"uses": "folder", "with": {
                "path": str(bench.desk), "images": "images/{case}.nii.gz", "labels": "labels/{case}.nii.gz",
                "label_names": ["spleen"], "modality": ["CT"]}},
            "volumes": {"uses": "preprocess", "needs": ["dataset"], "with": PREPARED}})
        events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
        (end,) = (event for event in events if event["event"] == "stage_finished" and event["stage"] == "volumes")
        ours.append(end["seconds"] / CASES)
        cached = PersistentDataset(files, preparation(), bench.desk / f"persistent_{repeat}")
        loader = DataLoader(cached, batch_size=1, num_workers=CORES, collate_fn=len)
        theirs.append(seconds(lambda: [None for _ in loader]) / CASES)
    bench.add("preprocess a CT with its label, cold", ours, (f"PersistentDataset, {CORES} workers", theirs))
    return run / "outputs" / "volumes" / "ct_0", cached


def memory(bench):
    """Peak memory of preparing the cases one by one: whole processes, and ours two at a time as well."""
    ours = {}
    for threads in (1, CORES):
        run = ["run", "prepared.yaml", "--quiet", "--home", bench.desk / f"home_memory_{threads}", "--threads", threads]
        bench.voxflow(*run, "--until", "dataset")
        ours[threads] = [bench.peak(bench.program, *run)]
    theirs = [bench.peak(sys.executable, __file__, "--prepare", bench.desk)]
    bench.add("peak memory of preprocessing, one case at a time", ours[1], ("one process of MONAI with its imports", theirs), "GiB")
    bench.add("peak memory of preprocessing, two cases at a time", ours[CORES], ("one process of MONAI with its imports", theirs), "GiB")


def prepare(desk):
    """What `memory` measures of MONAI."""
    files = [{part: desk / f"{part}s" / f"ct_{index}.nii.gz" for part in ("image", "label")} for index in range(CASES)]
    for _ in PersistentDataset(files, preparation(), desk / "persistent_memory"):
        pass


def parts(bench, prepared, cached):
    """Parts of a training on one prepared volume."""
    folder = bench.desk / "volume"
    folder.mkdir()
    for name in ("image.nii", "label.nii"):
        shutil.copy(prepared / name, folder)
    command = ["cargo", "bench", "--quiet", "--profile", bench.profile, "--bench", "parts", "--", folder, str(bench.repeats)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    ours = {row["part"]: row["seconds"] for row in map(json.loads, done.stdout.splitlines())}
    warm = PersistentDataset(cached.data, preparation(), cached.cache_dir)
    loaded = ("PersistentDataset, warm", repeated(bench.repeats, lambda: warm[0]))
    bench.add("load a cached volume: open", ours["open a cached volume"], loaded)
    bench.add("load a cached volume: and read every voxel", ours["open a cached volume and read every voxel"], loaded)
    item = mt.FgBgToIndicesd("label", image_key="image", image_threshold=0)(dict(warm[0]))
    draw = mt.Compose([
        mt.RandCropByPosNegLabeld(("image", "label"), "label", ROI, num_samples=4, image_key="image", image_threshold=0,
                                  fg_indices_key="label_fg_indices", bg_indices_key="label_bg_indices"),
        mt.RandShiftIntensityd("image", 0.1, prob=0.5),
        *(mt.RandFlipd(("image", "label"), 0.5, axis) for axis in range(3)),
    ])
    work = "sample and augment 4 patches of 96³"
    bench.add(work, ours[work], ("Rand*d on cached tensors", repeated(bench.repeats, lambda: draw(item))))
    for precision in ("fp32", "bf16"):
        work = f"training step, 2 × 96³, {precision}"
        for layout in (torch.contiguous_format, torch.channels_last_3d):
            name = "channels last" if layout == torch.channels_last_3d else "as made"
            bench.add(work, ours[work], (f"PyTorch and MONAI, {name}", repeated(bench.repeats, step(precision, layout))))


def step(precision, layout):
    """A whole step of MONAI's network in PyTorch."""
    network = UNet(3, 1, 2, **NETWORK, num_res_units=2, norm="batch").to(memory_format=layout)
    optimizer, loss_of = Novograd(network.parameters(), 2e-3), DiceCELoss(to_onehot_y=True, softmax=True, squared_pred=True, batch=True)
    image, label = torch.rand(2, 1, 96, 96, 96).to(memory_format=layout), torch.randint(2, (2, 1, 96, 96, 96))

    def once():
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = network(image)
        loss_of(logits.float(), label).backward()
        optimizer.step()
    return once


def inference(bench, files):
    """From a NIfTI to a NIfTI."""
    network = UNet(3, 1, 2, **NETWORK, num_res_units=2, norm="batch").eval()
    torch.save(network.state_dict(), bench.desk / "weights.pt")
    flags = {"network": NETWORK, "modality": ["CT"], "labels": ["spleen"], "preprocess": PREPARED,
             "inference": {"roi": ROI, "overlap": 0.5}}
    settings = [word for key, value in flags.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    bench.voxflow("import", "weights.pt", "--out", "model", *settings)
    path, ours, theirs = files[0]["image"], [], []

    def monai():
        found = segmented(network, path, ROI)
        nib.save(nib.Nifti1Image(found, nib.load(path).affine), bench.desk / "theirs.nii.gz")
    for _ in range(bench.repeats):
        ours.append(seconds(lambda: bench.voxflow("predict", "--quiet", "--model", "model", "--threads", CORES, "--out", "labels", path)))
        theirs.append(seconds(monai))
    bench.add("segment a CT, NIfTI to NIfTI", ours, ("transforms, sliding window, Invertd", theirs))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("voxflow", type=Path, nargs="?")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(CORES)
    if options.prepare:
        return prepare(options.prepare)
    with tempfile.TemporaryDirectory() as desk:
        bench = Bench(options, Path(desk))
        files = images(bench)
        prepared, cached = preprocessing(bench, files)
        memory(bench)
        parts(bench, prepared, cached)
        inference(bench, files)
    print(bench.table())
    if options.markdown:
        options.markdown.write_text(bench.table())


if __name__ == "__main__":
    main()
