"""The walk-through of docs/install.md in a fresh environment: install, doctor, demo, uninstall; timed.

    python3 tests/wheel/walkthrough.py FOLDER_OF_THE_WHEEL

pip fetches PyTorch from its own package source (a CPU-only PyTorch where PIP_INDEX_URL names a
source of such wheels). Where it has none this is skipped and said, after what needs none.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
# README's scores that need no learning are the same everywhere; the Dice of a trained network depends on the
# processor's kind and on the number of threads.
EXACT = ["mean-label"]
TRAINED = {"score": 0.03, "final": 0.03}
NO_SOURCE = re.compile(r"No matching distribution found for torch|Failed to establish a new connection|Temporary failure in name")
UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9}


class Environment:
    """A fresh virtual environment, in which nothing is on the path but its own programs."""

    def __init__(self, folder):
        self.folder = folder / "env"
        self.work = folder / "work"
        self.work.mkdir()
        venv.create(self.folder, with_pip=True)
        self.variables = {"PATH": str(self.folder / "bin"), "HOME": str(folder), "NO_COLOR": "1"}

    def pip(self, *arguments, check=True):
        """pip with the settings of the user: package source, proxy, certificates."""
        command = [str(self.folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            sys.exit(f"test-wheel: '{' '.join(command)}' failed:\n{done.stdout}{done.stderr}")
        return done

    def voxflow(self, *arguments):
        command = [str(self.folder / "bin" / "voxflow"), *arguments]
        return subprocess.run(command, cwd=self.work, env=self.variables, capture_output=True, text=True, check=False)

    def libtorch(self):
        """What doctor says of libtorch."""
        found = json.loads(self.voxflow("doctor", "--format", "json").stdout)
        return next(row for row in found if row["what"] == "libtorch")

    def files(self):
        paths = self.folder.rglob("*")
        return {path.relative_to(self.folder) for path in paths if "__pycache__" not in path.parts}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    wheel = max(Path(sys.argv[1]).glob("voxflow-*.whl"), key=lambda path: path.stat().st_mtime, default=None)
    expect(wheel, f"a wheel in '{sys.argv[1]}'; 'make wheel' makes it")
    rows = [("wheel", f"{wheel.stat().st_size / 1e6:.1f} MB ({wheel.name})")]
    with tempfile.TemporaryDirectory(prefix="voxflow-wheel-") as folder:
        environment = Environment(Path(folder))
        rows += alone(environment, wheel)
        installed = with_pytorch(environment, wheel)
        rows += installed or []
        if installed:
            rows += demo(environment)
            environment.pip("uninstall", "--yes", "voxflow")
            left = [str(path) for path in environment.files() if "voxflow" in path.name]
            expect(not left, f"nothing left by 'pip uninstall', but found {left}")
    print("\n".join(f"| {name} | {value} |" for name, value in [("step", ""), ("---", "---"), *rows]))
    if not installed:
        print("test-wheel: skipped from PyTorch on: pip has no package source with torch (PIP_INDEX_URL or PIP_FIND_LINKS names one)")


def alone(environment, wheel):
    """Without PyTorch: quick to start, clear about what is missing, gone without a trace."""
    before = environment.files()
    environment.pip("install", "--no-deps", wheel)
    times = [timed(environment.voxflow, "--version")[1] for _ in range(20)]
    found = environment.libtorch()
    expect("PyTorch is not installed beside" in (found["trouble"] or ""), f"doctor to miss PyTorch, but it says {found}")
    refused = environment.voxflow("demo")
    expect(refused.returncode == 2 and "pip install torch==" in refused.stderr, f"a refusal, but got {refused}")
    environment.pip("uninstall", "--yes", "voxflow")
    left = environment.files() - before
    expect(not left, f"nothing left by 'pip uninstall', but found {left}")
    return [("`voxflow --version`, the median of 20", f"{statistics.median(times) * 1e3:.1f} ms")]


def with_pytorch(environment, wheel):
    """Installs as a user does; None where pip finds no PyTorch."""
    done, seconds = timed(environment.pip, "install", wheel, check=False)
    if done.returncode != 0 and NO_SOURCE.search(done.stderr):
        return None
    expect(done.returncode == 0, f"pip to install it, but it says:\n{done.stdout}{done.stderr}")
    found = environment.libtorch()
    expect(not found["trouble"], f"doctor to be content with libtorch, but it says {found}")
    fetched, kept = (megabytes(done.stdout, word) for word in ("Downloading", "Using cached"))
    size = sum(path.stat().st_size for path in environment.folder.rglob("*") if path.is_file() and not path.is_symlink())
    return [
        ("`pip install`, PyTorch included", f"{seconds:.0f} s"),
        ("downloaded, taken from pip's cache", f"{fetched:.0f} MB, {kept:.0f} MB"),
        ("the environment on disk", f"{size / 1e9:.1f} GB"),
    ]


def megabytes(text, word):
    sizes = re.findall(rf"{word} .*\(([\d.]+) (kB|MB|GB)\)", text)
    return sum(float(number) * UNITS[unit] for number, unit in sizes) / 1e6


def demo(environment):
    first, seconds = timed(environment.voxflow, "demo")
    expect(first.returncode == 0, f"the demo to run, but it says:\n{first.stderr}")
    own, stated = scores(first.stderr), scores((ROOT / "README.md").read_text())
    for stage in [*EXACT, *TRAINED]:
        expect((stage, "dice") in stated, f"README to state a Dice of '{stage}', but it has {sorted(stated)}")
        expect((stage, "dice") in own, f"a Dice of '{stage}', but the demo says:\n{first.stderr}")
    for key in (key for key in stated if key[0] in EXACT):
        expect(own[key] == stated[key], f"README's {stated[key]} for {key}, but got {own[key]}")
    for stage, allowance in TRAINED.items():
        (ours, _), (theirs, _) = own[stage, "dice"], stated[stage, "dice"]
        expect(abs(ours - theirs) <= allowance, f"a Dice of '{stage}' near README's {theirs}, but got {ours}")
    again, seconds_again = timed(environment.voxflow, "demo")
    expect("9 reused" in again.stderr, f"nine reused stages, but it says:\n{again.stderr}")
    dice = ", ".join(f"{stage} {mean}" for (stage, metric), (mean, _) in own.items() if metric == "dice")
    return [("`voxflow demo`", f"{seconds:.0f} s"), ("again, all reused", f"{seconds_again:.2f} s"), ("Dice", dice)]


def scores(text):
    """Mean and standard deviation by stage and metric, of a table of scores."""
    row = re.compile(r"^([\w-]+) +(?:validation|testing) +\w+ +spleen +(\w[\w ]*?) +([\d.]+) ± ([\d.]+) ", re.M)
    return {(stage, metric): (float(mean), float(sd)) for stage, metric, mean, sd in row.findall(text)}


def timed(function, *arguments, **options):
    begun = time.perf_counter()
    result = function(*arguments, **options)
    return result, time.perf_counter() - begun


def expect(holds, words):
    if not holds:
        sys.exit(f"test-wheel: expected {words}")


if __name__ == "__main__":
    main()
