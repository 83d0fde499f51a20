"""Measures trainings on a GPU, MONAI's fast training guide beside ours, and prints one table.

    python tests/bench/gpu.py VOXFLOW [--device cuda:0] [--steps N] [--markdown FILE] [--tiny]

The training volumes are generated CTs of 512×512×100, 31 of them as on the spleen's model card. Of each
training the first epochs are left out (cuDNN looks for its algorithms there); what follows is N steps.
Busy is the share of these seconds in which the driver saw a kernel run. The card's 1260 epochs are projected
from its measured epochs and its measured validation. The limit is the larger of what the network's
products take at the card's fp16 rate (--tflops) and what its activations take at its bandwidth
(--terabytes); both default to an H100's. With DATA_ROOT, which holds Task04_Hippocampus.tar, the hippocampus
is trained whole, in fp16; without, its recipe runs on generated volumes for its speed alone.

Needs PyTorch, and MONAI for its side and the limit: where one is missing, the rest is measured. --tiny is
for a machine without a GPU: small volumes and networks in fp32, to see that everything runs. The recipes are
those of workflows/spleen.yaml, spleen_fast.yaml and hippocampus.yaml.
"""

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SPACING, WINDOW, SIDES = (1.5, 1.5, 2.0), (-57, 164), (96, 96, 96)
UNITS = {"strides": [2, 2, 2, 2], "residual_units": 2, "norm": "batch"}
CARD = {
    "patch": SIDES, "volumes_per_step": 4, "patches_per_volume": 4, "sampling": {"positive": 1, "negative": 1},
    "augmentation": {"intensity_shift": {"offset": 0.1, "probability": 0.5}},
    "network": {"channels": [16, 32, 64, 128, 256], **UNITS}, "loss": {"name": "dice_ce"}, "learning_rate": 0.002,
    "optimizer": {"name": "novograd"}, "precision": "fp16", "inference": {"roi": [160, 160, 160], "overlap": 0.5},
}  # fmt: skip
FAST = {
    "patch": SIDES, "volumes_per_step": 4, "patches_per_volume": 4, "sampling": {"positive": 1, "negative": 1},
    "network": {"channels": [32, 64, 128, 256, 512], **UNITS, "dropout": 0.2},
    "loss": {"name": "dice_ce", "squared_pred": True, "batch": True, "include_background": False}, "learning_rate": 0.2,
    "optimizer": {"name": "sgd", "momentum": 0.9, "weight_decay": 0.00004}, "precision": "fp16",
    "inference": {"roi": [160, 160, 160], "overlap": 0.25},
}  # fmt: skip
HIPPOCAMPUS = {
    "patch": [32, 48, 32], "volumes_per_step": 4, "patches_per_volume": 1,
    "augmentation": {
        "affine": {"probability": 0.8, "rotation_degrees": [15, 15, 15], "scale": [0.15, 0.15, 0.15]},
        "noise": {"std": 0.1, "probability": 0.3},
        "intensity_shift": {"offset": 0.1, "probability": 0.3}, "intensity_scale": {"factor": 0.1, "probability": 0.3}},
    "network": {"channels": [16, 32, 64, 128], "strides": [2, 2, 2], "residual_units": 2, "norm": "batch"},
    "loss": {"name": "dice_ce"}, "learning_rate": 0.002, "optimizer": {"name": "novograd"}, "ema": 0.99,
    "precision": "fp16", "inference": {"roi": [32, 48, 32], "overlap": 0.5, "blend": "gaussian"},
}  # fmt: skip
TINY = {
    "patch": [32, 32, 32], "volumes_per_step": 2, "patches_per_volume": 2, "precision": "fp32",
    "network": {"channels": [4, 8], "strides": [2], "residual_units": 1, "norm": "batch"}, "inference": {"roi": [32, 32, 32]},
}  # fmt: skip
CARD_EPOCHS, CARD_VALIDATIONS, PEAK_GB = 1260, 63, 12


class Watch(threading.Thread):
    """Samples a GPU by the driver's library: (time, busy in percent, bytes in use); nothing where there is none."""

    def __init__(self, device):
        super().__init__(daemon=True)
        self.samples, self.over, self.handle = [], threading.Event(), ctypes.c_void_p()
        index = int(device.partition(":")[2] or 0) if device.startswith("cuda") else None
        visible = [word for word in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if word]
        try:
            self.nvml = ctypes.CDLL("libnvidia-ml.so.1") if index is not None else None
        except OSError:
            self.nvml = None
        if self.nvml and not self.nvml.nvmlInit_v2():
            named = visible[index] if index < len(visible) else str(index)
            if named.isdigit():
                found = self.nvml.nvmlDeviceGetHandleByIndex_v2(int(named), ctypes.byref(self.handle))
            else:
                found = self.nvml.nvmlDeviceGetHandleByUUID(named.encode(), ctypes.byref(self.handle))
            self.nvml = None if found else self.nvml

    def run(self):
        rates, memory = (ctypes.c_uint * 2)(), (ctypes.c_ulonglong * 3)()
        while self.nvml and not self.over.wait(0.1):
            self.nvml.nvmlDeviceGetUtilizationRates(self.handle, rates)
            self.nvml.nvmlDeviceGetMemoryInfo(self.handle, memory)
            self.samples.append((time.time(), rates[0], memory[2]))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()

    def busy(self, begin, end):
        """The mean share of busy time between two times."""
        seen = [busy for at, busy, _ in self.samples if begin <= at <= end]
        return sum(seen) / len(seen) / 100 if seen else None


class Ours:
    """The program, and the folder it works in."""

    def __init__(self, options, desk):
        self.program, self.desk, self.options = options.voxflow.resolve(), desk, options

    def call(self, *words):
        done = subprocess.run([str(self.program), *map(str, words)], cwd=self.desk, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"voxflow {' '.join(map(str, words))}\n{done.stderr[-3000:]}")
        return done.stdout

    def run(self, name, stages):
        """Runs stages in the one home; gives the run's folder."""
        (self.desk / f"{name}.yaml").write_text(json.dumps({"name": name, "stages": stages}))
        self.call("run", f"{name}.yaml", "--quiet", "--home", "home", "--device", self.options.device)
        return self.desk / self.call("path", "latest", "--home", "home").strip()

    def volumes(self, name, drawn, prepared, training):
        """The stages before a training."""
        return {
            "dataset": {"uses": "synthesize", "with": drawn},
            "split": {"uses": "split", "needs": ["dataset"], "with": {"training": training, "validation": drawn["cases"] - training}},
            "volumes": {"uses": "preprocess", "needs": ["dataset"], "with": prepared},
            "cache": {"uses": "cache", "needs": ["dataset", "volumes", "split"]},
        }

    def training(self, name, stages, recipe, training):
        """Measures a training: seconds and patches of its steps after the first epochs, and more."""
        steps_each = -(-training // recipe["volumes_per_step"])
        warm, epochs = self.options.warm, -(-self.options.steps // steps_each)
        recipe = {"epochs": warm + epochs, "validate_every": warm + epochs, "checkpoint_every": warm + epochs, **recipe}
        with Watch(self.options.device) as watch:
            run = self.run(name, {**stages, "model": {"uses": "train", "needs": ["cache"], "with": recipe}})
        rows = [event for event in map(json.loads, (run / "events.jsonl").read_text().splitlines())
                if event.get("stage") == "model" and event.get("message", {}).get("say") == "metric"]
        values = lambda metric: [(row["at_ms"] / 1000, row["message"]["value"]) for row in rows if row["message"]["metric"] == metric]
        seconds, validation = values("epoch_seconds"), values("validate_seconds")
        measured = [value for _, value in seconds[warm:]]
        # The last epoch's row comes after its validation.
        end = seconds[-1][0] - sum(value for _, value in validation[-1:])
        device_peak = values("peak_device_memory_bytes")
        return {
            "steps": len(measured) * steps_each, "seconds": sum(measured), "epoch": sum(measured) / len(measured),
            "patches": len(measured) * training * recipe["patches_per_volume"],
            "busy": watch.busy(seconds[warm - 1][0], end), "validation": validation[-1][1],
            "peak": max((value for _, value in device_peak), default=None),
            "dice": [value for _, value in values("dice")][-1:], "run": run,
        }


def monai_fast(options, run, recipe):
    """MONAI as its fast training guide has it: volumes, candidates and crops on the GPU, autocast, one loop."""
    import torch
    from monai import transforms as mt
    from monai.data import CacheDataset, ThreadDataLoader, set_track_meta
    from monai.losses import DiceCELoss
    from monai.networks.nets import UNet

    torch.backends.cudnn.benchmark = True
    device, cuda = torch.device(options.device), options.device.startswith("cuda")
    keys, outputs = ("image", "label"), run / "outputs"
    names = json.loads((outputs / "split" / "split.json").read_text())["training"]
    files = [{key: outputs / "dataset" / f"{key}sTr" / f"{name}.nii.gz" for key in keys} for name in names]
    set_track_meta(True)
    fixed = [
        mt.LoadImaged(keys), mt.EnsureChannelFirstd(keys), mt.Orientationd(keys, axcodes="RAS", labels=None),
        mt.Spacingd(keys, pixdim=options.spacing, mode=("bilinear", "nearest")),
        mt.ScaleIntensityRanged("image", *WINDOW, 0.0, 1.0, clip=True),
        mt.CropForegroundd(keys, source_key="image", allow_smaller=True), mt.SpatialPadd(keys, recipe["patch"]),
        mt.FgBgToIndicesd("label", fg_postfix="_fg", bg_postfix="_bg", image_key="image"),
        mt.EnsureTyped(keys, device=device, track_meta=False),
    ]  # fmt: skip
    drawn = mt.RandCropByPosNegLabeld(keys, "label", recipe["patch"], 1, 1, recipe["patches_per_volume"],
                                      fg_indices_key="label_fg", bg_indices_key="label_bg")
    data = CacheDataset(files, mt.Compose([*fixed, drawn]), num_workers=options.workers, copy_cache=False, progress=False)
    set_track_meta(False)
    loader = ThreadDataLoader(data, num_workers=0, batch_size=recipe["volumes_per_step"], shuffle=True)
    shape = recipe["network"]
    network = UNet(3, 1, 2, shape["channels"], shape["strides"], num_res_units=shape["residual_units"], norm="batch",
                   dropout=shape.get("dropout", 0.0)).to(device)
    loss_of = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, squared_pred=True, batch=True)
    optimizer = torch.optim.SGD(network.parameters(), 0.2, momentum=0.9, weight_decay=4e-5)
    scaler = torch.amp.GradScaler(device.type, enabled=cuda)
    wait = torch.cuda.synchronize if cuda else lambda: None
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    epochs, steps, patches, begin = -(-options.steps // len(loader)), 0, 0, 0.0
    with Watch(options.device) as watch:
        for epoch in range(options.warm + epochs):
            if epoch == options.warm:
                wait()
                begin, began = time.time(), time.perf_counter()
            for batch in loader:
                optimizer.zero_grad(set_to_none=True)
                with torch.autocast(device.type, torch.float16, enabled=cuda):
                    loss = loss_of(network(batch["image"]), batch["label"])
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
                if epoch >= options.warm:
                    steps, patches = steps + 1, patches + len(batch["image"])
        wait()
        seconds = time.perf_counter() - began
    peak = torch.cuda.max_memory_reserved() if cuda else None
    return {"steps": steps, "seconds": seconds, "patches": patches, "busy": watch.busy(begin, time.time()), "peak": peak}


def limit(options, recipe):
    """Seconds that a patch of a training cannot take less than, and what limits it: products of convolutions, or
    activations that each layer reads and writes once in 16 bits, forward and twice as much backward."""
    import torch
    from monai.networks.nets import UNet
    from torch.utils.flop_counter import FlopCounterMode

    shape, numbers = recipe["network"], 0
    network = UNet(3, 1, 2, shape["channels"], shape["strides"], num_res_units=shape["residual_units"], norm="batch")

    def count(_, inputs, output):
        nonlocal numbers
        numbers += inputs[0].numel() + output.numel()

    for module in network.modules():
        if not list(module.children()):
            module.register_forward_hook(count)
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        network.eval()(torch.zeros(1, 1, *recipe["patch"]))
    products = 3 * flops.get_total_flops() / (options.tflops * 1e12)
    activations = 3 * 2 * numbers / (options.terabytes * 1e12)
    return max((products, "fp16 products"), (activations, "bandwidth, one read and write of each layer's activations"))


def words(found, key, form):
    return "" if found.get(key) is None else form(found[key])


def row(what, found):
    rate = found["patches"] / found["seconds"]
    return (what, f"{found['steps']}", f"{1000 * found['seconds'] / found['steps']:.1f}", f"{rate:.1f}",
            words(found, "busy", lambda share: f"{share:.1%}"), words(found, "peak", lambda peak: f"{peak / 1e9:.2f}"))


def table(rows):
    head = ("training", "steps", "ms per step", "patches per second", "GPU busy", "peak memory, GB")
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ("---",) + ("---:",) * 5, *rows]) + "\n"


class Shown(list):
    """Lines that are printed as they come, so that a later failure loses none."""

    def append(self, line):
        print(" | ".join(line) if isinstance(line, tuple) else line, file=sys.stderr, flush=True)
        super().append(line)


def attempt(what, work):
    """A part, or None with a word: whatever fails, the other parts are measured."""
    try:
        return work()
    except (Exception, SystemExit) as error:
        print(f"{what}: left out ({type(error).__name__}: {error})", file=sys.stderr, flush=True)
        return None


def spleen(options, ours, rows, said):
    training, shape = (4, [64, 64, 64]) if options.tiny else (31, [512, 512, 100])
    stages = ours.volumes("spleen", {"cases": training + (1 if options.tiny else 4), "shape": shape},
                          {"spacing": options.spacing, "intensity": {"window": WINDOW}, "crop_foreground": True}, training)
    card, fast = ({**recipe, **(TINY if options.tiny else {})} for recipe in (CARD, FAST))
    found = ours.training("card", stages, card, training)
    rows.append(row("spleen.yaml (the card)", found))
    whole = CARD_EPOCHS * found["epoch"] + CARD_VALIDATIONS * found["validation"]
    said.append(f"The card's {CARD_EPOCHS} epochs ({CARD_EPOCHS * -(-training // card['volumes_per_step'])} steps), projected: "
                f"{whole / 60:.1f} min, of which validation ({CARD_VALIDATIONS} times {found['validation']:.2f} s) {CARD_VALIDATIONS * found['validation'] / 60:.1f} min.")
    bound = attempt("the limit", lambda: limit(options, card))
    if bound:
        share = bound[0] * found["patches"] / found["seconds"]
        said.append(f"The card's steps run at {share:.1%} of their limit ({bound[1]}: {1e6 * bound[0]:.1f} µs for each patch).")
    if found["peak"]:
        said.append(f"Peak memory of the card's recipe: {found['peak'] / 1e9:.2f} GB; wanted: under {PEAK_GB}.")
    found = ours.training("fast", stages, fast, training)
    rows.append(row("spleen_fast.yaml", found))
    peer = attempt("MONAI", lambda: monai_fast(options, found["run"], fast))
    if peer:
        rows.append(row("MONAI's fast training guide", peer))
        ratio = found["patches"] / found["seconds"] / (peer["patches"] / peer["seconds"])
        said.append(f"spleen_fast.yaml against MONAI's guide: {ratio:.2f} times the patches per second; wanted: 1.5.")


def hippocampus(options, ours, rows, said):
    archive = Path(os.environ.get("DATA_ROOT", "/nonexistent")) / "Task04_Hippocampus.tar"
    if archive.exists() and not options.tiny:
        home = ours.desk / "home_hippocampus"
        began = time.perf_counter()
        ours.call("run", ROOT / "workflows" / "hippocampus.yaml", "--quiet", "--home", home, "--device", options.device,
                  "--set", "model.precision=fp16", "--set", f"archive.file={archive}")
        said.append(f"hippocampus.yaml in fp16, whole: {time.perf_counter() - began:.0f} s.\n\n```\n{ours.call('show', 'latest', '--home', home)}\n```")
    training = 8 if options.tiny else 140
    stages = ours.volumes("hippocampus", {"cases": training + 2, "shape": [36, 50, 36], "modality": ["MRI"], "labels": ["spleen", "liver"]},
                          {"intensity": {"zscore": "all"}}, training)
    recipe = {**HIPPOCAMPUS, **({"precision": "fp32", "network": TINY["network"]} if options.tiny else {})}
    rows.append(row("hippocampus.yaml, generated volumes of 36×50×36, fp16", ours.training("hippocampus", stages, recipe, training)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("voxflow", type=Path)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--warm", type=int, default=5, help="epochs left out")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="threads of MONAI's first pass")
    parser.add_argument("--tflops", type=float, default=989.0, help="the card's dense fp16 rate")
    parser.add_argument("--terabytes", type=float, default=3.35, help="the card's memory bandwidth a second")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--folder", type=Path, help="where to work and keep what is made; a temporary one otherwise")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    options.spacing = (4.0, 4.0, 5.0) if options.tiny else SPACING
    if options.tiny:
        options.steps, options.warm = 4, 1
    rows, said = Shown(), Shown()
    with tempfile.TemporaryDirectory() as temporary:
        desk = (options.folder or Path(temporary)).resolve()
        desk.mkdir(parents=True, exist_ok=True)
        ours = Ours(options, desk)
        attempt("the spleen", lambda: spleen(options, ours, rows, said))
        attempt("the hippocampus", lambda: hippocampus(options, ours, rows, said))
    text = table(rows) + "\n" + "\n\n".join(said) + "\n"
    print(text)
    if options.markdown:
        options.markdown.write_text(text)
    if not rows:
        sys.exit("nothing could be measured")


if __name__ == "__main__":
    main()
