"""Measures how fast `voxflow compare` answers over 1000 generated runs with 10 000 metric rows each, beside
reading the same Parquet bytes with polars alone."""

import json
import random
import statistics
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path

from clock import seconds

RUNS, EPOCHS, CASES, REPEATS = 1000, 1400, 100, 5
STAGES = [("dataset", "synthesize"), ("split", "split"), ("volumes", "preprocess"), ("cache", "cache"), ("model", "train"),
          ("score", "validate"), ("final", "test")]  # fmt: skip


def record(run: str, number: int, rate: float) -> dict:
    """A `run.json` like that of a finished run of seven stages."""
    params = {f"setting_{at}": at for at in range(20)} | {"learning_rate": rate, "seed": number}
    stage = lambda name, kind: {
        "stage": name, "kind": kind, "needs": {}, "params": params if kind == "train" else {"seed": 0}, "recipe": None,
        "fingerprint": "ab" * 32, "artifact": None, "digest": None, "outcome": "made", "reason": "not made before",
        "seconds": 1.0, "made_in_seconds": 1.0, "maker": {"host": "here"},
    }  # fmt: skip
    return {
        "format": 1, "run": run, "workflow": "generated", "outcome": "done", "started_at_ms": 1_700_000_000_000 + number,
        "seconds": 60.0, "seed": 0, "overrides": [], "device": "cpu", "threads": 2, "versions": {}, "machine": {},
        "store": "store-v1", "stages": [stage(*one) for one in STAGES],
    }  # fmt: skip


def metrics(run: str, dice: float):
    """A training of 1400 epochs with six values each, and sixteen rows for each of 100 cases: 10 000."""
    import polars as pl

    rows = []
    for epoch in range(1, EPOCHS + 1):
        for metric, split, grid, measured in [
            ("loss", "training", None, False), ("learning_rate", "training", None, False),
            ("gradient_norm", "training", None, False), ("epoch_seconds", "training", None, True),
            ("patches_per_second", "training", None, True), ("dice", "validation", "resampled", False),
        ]:  # fmt: skip
            rows.append(("model", "train", split, None, None, grid, epoch, epoch * 10, metric, random.random(), measured))
    for stage, kind, split, grid in [("score", "validate", "validation", "resampled"), ("final", "test", "testing", "original")]:
        for metric in ("dice", "hd95_mm", "surface_dice", "volume_ml"):
            for label in (None, "spleen"):
                value = dice if metric == "dice" else random.random()
                cases = [None] + [f"case_{at:03}" for at in range(CASES - 1)]
                rows += [(stage, kind, split, case, label, grid, None, None, metric, value, False) for case in cases]
    names = ["stage", "kind", "split", "case", "label", "grid", "epoch", "step", "metric", "value", "measured"]
    types = {"case": pl.String, "label": pl.String, "epoch": pl.UInt32, "step": pl.UInt64, "value": pl.Float64}
    frame = pl.DataFrame(rows, schema=names, orient="row", schema_overrides=types)
    at = datetime(2026, 1, 2, tzinfo=timezone.utc)
    head = [pl.lit(run).alias("run_id"), pl.lit("generated").alias("workflow"), *names]
    return frame.select(*head, pl.lit(at).cast(pl.Datetime("us", "UTC")).alias("at"))


def generate(home: Path) -> None:
    """Writes the runs."""
    random.seed(0)
    for number in range(RUNS):
        run = f"20260101-000000-generated-{number:06x}"
        folder = home / ".voxflow/runs" / run
        folder.mkdir(parents=True)
        rate = random.choice([0.0005, 0.001, 0.002])
        (folder / "run.json").write_text(json.dumps(record(run, number, rate)))
        frame = metrics(run, random.random())
        assert frame.height == 10_000, frame.height
        frame.write_parquet(folder / "metrics.parquet", compression="snappy")


def read_all(home: Path) -> int:
    """The same bytes with polars alone."""
    import polars as pl

    return sum(pl.read_parquet(path).height for path in sorted(home.glob(".voxflow/runs/*/metrics.parquet")))


def measure(program: Path) -> None:
    """Prints the table."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        generate(home)
        megabytes = sum(path.stat().st_size for path in home.glob(".voxflow/runs/*/metrics.parquet")) / 1e6

        def compare(*flags: str) -> None:
            subprocess.run([program, "compare", *flags], check=True, cwd=home, capture_output=True)

        once = seconds(lambda: compare("generated", "--sort", "score.dice"))
        rows = [("polars alone, every metrics.parquet", [seconds(lambda: read_all(home)) for _ in range(REPEATS)])]
        rows.append(("compare, no run has a summary yet", [once]))
        for name, flags in [
            ("compare generated --sort score.dice", ["generated", "--sort", "score.dice"]),
            ("compare --where 'score.dice > 0.9'", ["--where", "score.dice > 0.9"]),
            ("compare generated --format csv", ["generated", "--format", "csv"]),
            ("compare, two runs by their ids", ["000001", "000002"]),
        ]:
            rows.append((name, [seconds(lambda: compare(*flags)) for _ in range(REPEATS)]))
        base = statistics.median(rows[0][1])
        print(f"{RUNS} runs, {RUNS * 10_000:,} rows, {megabytes:.0f} MB of Parquet, {program.parent.name} build; medians of {REPEATS}\n")
        print("| what | seconds | of reading |\n|---|---:|---:|")
        for name, times in rows:
            print(f"| {name} | {statistics.median(times):.2f} | {statistics.median(times) / base:.2f} |")


if __name__ == "__main__":
    measure(Path(sys.argv[1]).resolve())
