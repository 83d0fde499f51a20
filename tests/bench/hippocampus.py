"""How long voxflow and MONAI train until the hippocampus is segmented with a mean Dice of 0.85.

    python tests/bench/hippocampus.py VOXFLOW [--seeds N…] [--markdown FILE]

Both sides see the same split and stop counting at the first of two looks in a row that reach the score
on the validation cases. Seconds are those of training steps, looks left out; the sides take turns, each
with two threads. MONAI is stopped, its time a lower bound (≥), at PATIENCE times ours. Ours is workflows/hippocampus.yaml with RECIPE; theirs is MONAI's `UNet` on whole
volumes padded to 48×64×48 in batches of 8, cached in memory before the clock starts, drawn by a worker
process while the network trains. DATA_ROOT names
the folder of Task04_Hippocampus.tar. `make bench-hippocampus` provides the rest.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")

import torch
from monai import transforms as mt
from monai.data import CacheDataset, DataLoader, decollate_batch
from monai.losses import DiceCELoss
from monai.metrics import DiceMetric
from monai.networks.nets import UNet
from monai.optimizers import Novograd
from monai.utils import set_determinism

ROOT = Path(__file__).resolve().parent.parent.parent
RECIPE = {"epochs": 32, "validate_every": 2}
WANTED, CORES, PATIENCE, LOOK = 0.85, 2, 3, 40
WHOLE = (48, 64, 48)


class Clock:
    """Looks of one training: (seconds of training, step, score)."""

    def __init__(self, side, seed):
        self.side, self.seed, self.looks = side, seed, []

    def look(self, seconds, step, score):
        self.looks.append((seconds, step, score))
        print(f"{self.side}, seed {self.seed}: {seconds:.0f} s, step {step}, Dice {score:.4f}", file=sys.stderr, flush=True)

    def there(self):
        """The first of two looks in a row that are good enough."""
        pairs = zip(self.looks, self.looks[1:])
        return next((one for one, two in pairs if min(one[2], two[2]) >= WANTED), None)


def ours(program, home, seed):
    """A whole training by the program, read from its events."""
    settings = [f"model.{key}={json.dumps(value)}" for key, value in RECIPE.items()]
    words = [word for setting in [f"model.seed={seed}", *settings] for word in ("--set", setting)]
    run = [program, "run", "workflows/hippocampus.yaml", "--quiet", "--home", home, "--threads", str(CORES), "--until", "model"]
    subprocess.run([*run, *words], cwd=ROOT, check=True)
    path = subprocess.run([program, "path", "latest", "--home", home], cwd=ROOT, check=True, capture_output=True, text=True)
    clock, seconds = Clock("voxflow", seed), 0.0
    for event in map(json.loads, (Path(path.stdout.strip()) / "events.jsonl").read_text().splitlines()):
        metric = event.get("message", {})
        if event.get("stage") != "model" or metric.get("say") != "metric":
            continue
        if metric["metric"] == "epoch_seconds":
            seconds += metric["value"]
        if metric["metric"] == "dice" and metric["split"] == "validation" and "label" not in metric:
            clock.look(seconds, metric["step"], metric["value"])
    return clock, Path(path.stdout.strip()) / "outputs"


def items(outputs, part):
    names = json.loads((outputs / "split" / "split.json").read_text())[part]
    return [{key: outputs / "dataset" / f"{key}sTr" / f"{name}.nii.gz" for key in ("image", "label")} for name in names]


def theirs(outputs, seed, limit):
    """MONAI, as a person writes it: cached data, random transforms, one loop."""
    set_determinism(seed)
    keys = ("image", "label")
    fixed = [mt.LoadImaged(keys), mt.EnsureChannelFirstd(keys), mt.Orientationd(keys, axcodes="RAS", labels=None),
             mt.NormalizeIntensityd("image"), mt.SpatialPadd(keys, WHOLE), mt.ToTensord(keys, track_meta=False)]
    drawn = [mt.RandAffined(keys, prob=0.5, rotate_range=(0.26,) * 3, scale_range=(0.15,) * 3, mode=("bilinear", "nearest"), padding_mode="border"),
             mt.RandShiftIntensityd("image", 0.1, prob=0.3), mt.RandScaleIntensityd("image", 0.1, prob=0.3)]
    training = CacheDataset(items(outputs, "training"), mt.Compose(fixed + drawn), progress=False)
    validation = CacheDataset(items(outputs, "validation"), mt.Compose(fixed), progress=False)
    loader = DataLoader(training, batch_size=8, shuffle=True, drop_last=True, num_workers=1, persistent_workers=True)
    looked = DataLoader(validation, batch_size=4)
    network = UNet(3, 1, 3, channels=(16, 32, 64, 128), strides=(2, 2, 2), num_res_units=2, norm="batch")
    optimizer, loss_of = Novograd(network.parameters(), 2e-3), DiceCELoss(to_onehot_y=True, softmax=True, squared_pred=True, batch=True)
    found, real = mt.AsDiscrete(argmax=True, to_onehot=3), mt.AsDiscrete(to_onehot=3)
    clock, seconds, step, began = Clock("MONAI", seed), 0.0, 0, time.perf_counter()
    while seconds < limit and not clock.there():
        for batch in loader:
            optimizer.zero_grad()
            loss_of(network(batch["image"]), batch["label"]).backward()
            optimizer.step()
            step += 1
            if step % LOOK:
                continue
            seconds += time.perf_counter() - began
            clock.look(seconds, step, look(network, looked, found, real))
            if clock.there() or seconds > limit:
                break
            began = time.perf_counter()
    return clock


def look(network, loader, found, real):
    metric = DiceMetric(include_background=False, reduction="mean")
    network.eval()
    with torch.no_grad():
        for batch in loader:
            logits = [found(one) for one in decollate_batch(network(batch["image"]))]
            metric(logits, [real(one) for one in decollate_batch(batch["label"])])
    network.train()
    return metric.aggregate().item()


def table(rows):
    """A line per seed, and the medians."""
    lines = ["| seed | voxflow s | steps | MONAI s | steps | its highest look | ratio |", "|---|---:|---:|---:|---:|---:|---:|"]
    for seed, one, two in rows:
        seconds, step, _ = two.there() or two.looks[-1]
        least = "" if two.there() else "≥ "
        highest = max(score for _, _, score in two.looks)
        lines.append(f"| {seed} | {one[0]:.0f} | {one[1]} | {least}{seconds:.0f} | {step} | {highest:.3f} | {least}{seconds / one[0]:.2f} |")
    ratios = [(two.there() or two.looks[-1])[0] / one[0] for _, one, two in rows]
    least = "" if all(two.there() for _, _, two in rows) else "≥ "
    lines.append(f"| median | {statistics.median(one[0] for _, one, _ in rows):.0f} | | | | | {least}{statistics.median(ratios):.2f} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("voxflow", type=Path)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(CORES)
    rows = []
    with tempfile.TemporaryDirectory() as home:
        for seed in options.seeds:
            mine, outputs = ours(options.voxflow.resolve(), home, seed)
            there = mine.there()
            if there is None:
                sys.exit(f"seed {seed}: voxflow never kept {WANTED} for two looks")
            rows.append((seed, there, theirs(outputs, seed, PATIENCE * there[0])))
    print(table(rows))
    if options.markdown:
        options.markdown.write_text(table(rows))


if __name__ == "__main__":
    main()
