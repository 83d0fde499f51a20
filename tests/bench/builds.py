"""Measures two builds of the program side by side and prints one table: work, seconds of each, ratio.

    python tests/bench/builds.py BEFORE AFTER [--repeats N] [--threads N] [--tiny] [--markdown FILE]

BEFORE and AFTER are two programs `voxflow`, each with its `voxflow-worker` beside it, built with the same profile.
They take turns, the first of a pair changes from pair to pair, and a row holds the medians. Each has a home of its
own; images are generated once and read from the page cache by both. A ratio above 1 says that AFTER is faster.
Nothing but Python is needed. `--tiny` rehearses it: its figures mean nothing.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from clock import seconds
from orchestrators import call

SPLEEN = {
    "network": {"channels": [16, 32, 64, 128, 256], "strides": [2, 2, 2, 2], "residual_units": 2, "norm": "batch"},
    "patch": [96, 96, 96], "volumes_per_step": 2, "patches_per_volume": 1, "inference": {"roi": [96, 96, 96], "overlap": 0.25},
}  # fmt: skip
HIPPOCAMPUS = {
    "network": {"channels": [16, 32, 64, 128], "strides": [2, 2, 2], "residual_units": 2, "norm": "batch"},
    "patch": [32, 48, 32], "volumes_per_step": 4, "patches_per_volume": 1, "inference": {"roi": [32, 48, 32]},
    "augmentation": {"affine": {"probability": 0.8, "rotation_degrees": [15, 15, 15], "scale": [0.15, 0.15, 0.15]},
                     "noise": {"std": 0.1, "probability": 0.3}},
}  # fmt: skip
TINY = {
    "network": {"channels": [2, 4], "strides": [2], "residual_units": 0, "norm": "batch"},
    "patch": [16, 16, 16], "volumes_per_step": 1, "patches_per_volume": 1, "inference": {"roi": [32, 32, 32]},
}  # fmt: skip
TRAINED = {"loss": {"name": "dice_ce"}, "learning_rate": 0.002, "optimizer": {"name": "novograd"}}


class Build:
    """One of the two programs, with a home of its own."""

    def __init__(self, program: Path, desk: Path, threads: int):
        self.program, self.desk, self.threads = program.resolve(), desk, threads

    def voxflow(self, *words) -> str:
        return call([self.program, *words], self.desk)

    def run(self, name: str, stages: dict, *words) -> Path:
        """Runs a workflow; gives the run's folder."""
        home = self.desk / f"home_{name}"
        (self.desk / f"{name}.yaml").write_text(json.dumps({"name": name, "stages": stages}))
        self.voxflow("run", f"{name}.yaml", "--quiet", "--home", home, "--threads", self.threads, *words)
        return self.desk / self.voxflow("path", "latest", "--home", home).strip()

    def fresh(self, name: str, stages: dict, *words) -> Path:
        """The same from an empty home."""
        shutil.rmtree(self.desk / f"home_{name}", ignore_errors=True)
        return self.run(name, stages, *words)


def stage_seconds(run: Path, stage: str) -> float:
    """How long a stage of a run took."""
    return next(row["seconds"] for row in json.loads((run / "run.json").read_text())["stages"] if row["stage"] == stage)


class Bench:
    """Both builds, and the rows."""

    def __init__(self, options, desk: Path):
        self.repeats, self.tiny, self.desk, self.rows = options.repeats, options.tiny, desk, []
        self.builds = []
        for name, program in (("before", options.before), ("after", options.after)):
            (desk / name).mkdir()
            self.builds.append(Build(program, desk / name, options.threads))

    def add(self, work: str, measure):
        """A row: `measure` of either build in turn, after one round that is not counted."""
        taken = ([], [])
        for build in self.builds:
            measure(build)
        for repeat in range(self.repeats):
            for side in (0, 1) if repeat % 2 == 0 else (1, 0):
                taken[side].append(measure(self.builds[side]))
        before, after = map(statistics.median, taken)
        self.rows.append((work, before, after, taken))
        print(f"{work}: {before:.4g} s, after {after:.4g} s, ratio {before / after:.3g}", file=sys.stderr, flush=True)

    def table(self) -> str:
        """Medians with the lowest and the highest of each side."""
        head = ("work, seconds", "before", "after", "before / after")
        rows = [(work, spread(before, taken[0]), spread(after, taken[1]), f"{before / after:.2f}")
                for work, before, after, taken in self.rows]
        return "\n".join("| " + " | ".join(row) + " |" for row in [head, ("---", "---:", "---:", "---:"), *rows]) + "\n"


def spread(median: float, taken: list[float]) -> str:
    return f"{median:.3g} ({min(taken):.3g} to {max(taken):.3g})"


def images(bench: Bench) -> Path:
    """A folder with images/ and labels/, drawn by the first build and read by both."""
    shape, cases = ([64, 64, 32], 2) if bench.tiny else ([512, 512, 100], 4)
    made = bench.builds[0].run("phantom", {"dataset": {"uses": "synthesize", "with": {"cases": cases, "shape": shape}}})
    for part in ("images", "labels"):
        (bench.desk / part).mkdir()
        for index, path in enumerate(sorted((made / "outputs" / "dataset" / f"{part}Tr").glob("*.nii.gz"))):
            shutil.copy(path, bench.desk / part / f"ct_{index}.nii.gz")
    return bench.desk


def preparation(bench: Bench, folder: Path):
    """CTs prepared from nothing, seconds of the stage for each."""
    cases = len(list((folder / "images").iterdir()))
    stages = {
        "dataset": {"uses": "folder", "with": {
            "path": str(folder), "images": "images/{case}.nii.gz", "labels": "labels/{case}.nii.gz",
            "label_names": ["spleen"], "modality": ["CT"]}},
        "volumes": {"uses": "preprocess", "needs": ["dataset"], "with": {
            "spacing": [1.5, 1.5, 2.0], "intensity": {"window": [-57, 164]}, "crop_foreground": True}},
    }  # fmt: skip
    bench.add("a CT of 512×512×100 prepared, with its label",
              lambda build: stage_seconds(build.fresh("prepared", stages), "volumes") / cases)


def experiment(cases: int, training: dict) -> dict:
    """A whole workflow on drawn volumes."""
    return {
        "dataset": {"uses": "synthesize", "with": {"cases": cases, "shape": [112, 112, 112] if training["patch"][0] == 96 else [64, 64, 64]}},
        "split": {"uses": "split", "needs": ["dataset"], "with": {"training": cases - 2, "validation": 1, "testing": 1}},
        "volumes": {"uses": "preprocess", "needs": ["dataset"], "with": {"intensity": {"window": [-57, 164]}}},
        "cache": {"uses": "cache", "needs": ["dataset", "volumes", "split"]},
        "model": {"uses": "train", "needs": ["cache"], "with": {**training, **TRAINED}},
        "score": {"uses": "validate", "needs": ["cache", "model"]},
        "final": {"uses": "test", "needs": ["dataset", "cache", "model"]},
    }  # fmt: skip


def trainings(bench: Bench):
    """Whole trainings, with the start of the worker and one validation at the end."""
    rows = [("hippocampus.yaml's network, 50 steps of 4 × 32×48×32", HIPPOCAMPUS, 22, 10, {}),
            ("spleen.yaml's network, 10 steps of 2 × 96³, fp32", SPLEEN, 6, 5, {}),
            ("spleen.yaml's network, 10 steps of 2 × 96³, bf16", SPLEEN, 6, 5, {"precision": "bf16"})]
    for at, (work, training, cases, epochs, more) in enumerate(rows):
        training = TINY if bench.tiny else training
        stages = experiment(cases, {**training, **more, "epochs": epochs, "validate_every": epochs})
        name = f"training_{at}"
        for build in bench.builds:
            build.run(name, stages, "--until", "cache")
        bench.add(work, lambda build, name=name, stages=stages: stage_seconds(
            build.run(name, stages, "--until", "model", "--force", "model"), "model"))


def prediction(bench: Bench, folder: Path):
    """From a NIfTI to a NIfTI with the model of the last training."""
    image = folder / "images" / "ct_0.nii.gz"
    bench.add("a CT segmented, NIfTI to NIfTI", lambda build: seconds(lambda: build.voxflow(
        "predict", "--quiet", "--model", "latest/model", "--home", build.desk / "home_training_1",
        "--threads", build.threads, "--out", build.desk / "labels", image)))


def nothing_to_do(bench: Bench):
    """Runs of which every stage is reused: a small workflow, and one with many volumes."""
    many = 40 if bench.tiny else 1000
    few = experiment(6, {**TINY, "epochs": 1})
    volumes = {
        "dataset": {"uses": "synthesize", "with": {"cases": many, "shape": [32, 32, 32]}},
        "volumes": {"uses": "preprocess", "needs": ["dataset"], "with": {"intensity": {"window": [-57, 164]}}},
    }  # fmt: skip
    for name, work, stages in (("few", "a run with nothing to do, 7 stages", few),
                               ("many", f"a run with nothing to do, {many} volumes", volumes)):
        bench.add(work, lambda build, name=name, stages=stages: seconds(lambda: build.run(name, stages)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as desk:
        bench = Bench(options, Path(desk))
        folder = images(bench)
        preparation(bench, folder)
        trainings(bench)
        prediction(bench, folder)
        nothing_to_do(bench)
    print(bench.table())
    if options.markdown:
        options.markdown.write_text(bench.table())


if __name__ == "__main__":
    main()
