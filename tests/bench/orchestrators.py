"""Measures what a run costs that has nothing to do, beside DVC and Snakemake on the same graph, how that
grows with items and stages, and what the first run costs beside its stages and `tar`.

    python tests/bench/orchestrators.py VOXFLOW [--cases N] [--repeats N] [--items N…] [--stages N…] [--growth] [--markdown FILE]

The graph is that of workflows/spleen.yaml over an archive of generated CTs of 512×512×100, 41 of 61 with
labels; its training is made tiny, since nothing of it runs in what is measured. The peers get the same
files: each of their stages copies what ours made. All are measured in one run, from the start of a process to
its exit, everything in the page cache. `make bench-orchestrators` provides what it needs; with `--growth` only
the rows of many items and stages are measured, which needs neither the peers nor 10 GB.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from clock import repeated, seconds

ROOT = Path(__file__).resolve().parent.parent.parent
PEERS = Path(sys.executable).parent
LABELLED = 41
# The stages of spleen.yaml: what each needs.
GRAPH = {
    "archive": [], "dataset": ["archive"], "split": ["dataset"], "volumes": ["dataset"],
    "cache": ["dataset", "volumes", "split"], "model": ["cache"], "score": ["cache", "model"],
    "final": ["dataset", "cache", "model"],
}  # fmt: skip
TINY = [
    "archive.md5=null", "model.epochs=1", "model.patch=[32,32,32]", "model.precision=fp32", "model.volumes_per_step=1",
    "model.patches_per_volume=1", "model.network.channels=[2,4]", "model.network.strides=[2]", "model.optimizer.name=sgd",
    "model.inference.roi=[96,96,96]", "model.inference.overlap=0",
]  # fmt: skip


def call(command, folder: Path) -> str:
    """What a command prints; the end of everything where it fails."""
    done = subprocess.run([str(word) for word in command], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done.stdout


def timed(command, folder: Path, repeats: int) -> list[float]:
    """Seconds of each repetition of a command."""
    return repeated(repeats, lambda: call(command, folder))


class Spleen:
    """The graph of the spleen, run once by ours."""

    def __init__(self, program: Path, desk: Path, cases: int):
        self.desk, self.program = desk, program
        labelled = min(LABELLED, cases)
        drawn = {"cases": labelled, "unlabelled": cases - labelled, "shape": [512, 512, 100]}
        (desk / "phantom.yaml").write_text(
            f"name: phantom\nstages:\n  dataset: {{ uses: synthesize, with: {str(drawn).replace(chr(39), '')} }}\n")
        call([program, "run", "phantom.yaml", "--quiet", "--home", "phantom"], desk)
        (made,) = call([program, "path", "latest/dataset", "--home", "phantom"], desk).split()
        parts = ["source/dataset.json", *(part for part in ("imagesTr", "labelsTr", "imagesTs") if (desk / made / part).is_dir())]
        call(["tar", "chf", desk / "task.tar", "--transform", "s,^source/,,;s,^,Task09_Spleen/,", *parts], desk / made)
        shutil.rmtree(desk / "phantom")
        lines = (ROOT / "workflows/spleen.yaml").read_text().splitlines()
        (at,) = (at for at, line in enumerate(lines) if line.lstrip().startswith("url:"))
        lines[at] = "      file: task.tar"
        (desk / "spleen.yaml").write_text("\n".join(lines) + "\n")
        settings = [word for setting in self.settings(labelled) for word in ("--set", setting)]
        self.command = [program, "run", "spleen.yaml", "--quiet", *settings]
        self.plan = [program, "plan", "spleen.yaml", *settings]
        call(["sync"], desk)
        self.cold = seconds(lambda: call(self.command, desk))
        (folder,) = call([program, "path", "latest"], desk).split()
        self.record = json.loads((desk / folder / "run.json").read_text())

    @staticmethod
    def settings(labelled: int) -> list[str]:
        testing = max(1, labelled * 6 // LABELLED)
        validation = max(1, labelled * 4 // LABELLED)
        counts = {"training": labelled - testing - validation, "validation": validation, "testing": testing}
        return TINY + [f"split.{part}={count}" for part, count in counts.items()]

    def seconds(self, stage: str) -> float:
        """How long a stage of the first run took."""
        return next(row["seconds"] for row in self.record["stages"] if row["stage"] == stage)

    def files(self) -> dict[str, Path]:
        """Where each stage's files are."""
        paths = {stage: call([self.program, "path", f"latest/{stage}"], self.desk).split() for stage in GRAPH}
        return {stage: self.desk / path for stage, (path,) in paths.items()}


def with_dvc(spleen: Spleen, repeats: int) -> list[float]:
    """The same graph in DVC."""
    folder = spleen.desk / "dvc"
    folder.mkdir()
    call([PEERS / "dvc", "init", "--no-scm", "--quiet"], folder)
    call([PEERS / "dvc", "config", "cache.type", "hardlink,copy"], folder)
    call([PEERS / "dvc", "config", "core.analytics", "false"], folder)
    lines = ["stages:"]
    for (stage, needs), files in zip(GRAPH.items(), spleen.files().values()):
        lines += [f"  {stage}:", f"    cmd: cp -rL {files} {stage}"]
        lines += ["    deps:", *(f"      - {need}" for need in needs)] if needs else []
        lines += ["    outs:", f"      - {stage}"]
    (folder / "dvc.yaml").write_text("\n".join(lines) + "\n")
    call([PEERS / "dvc", "repro", "--quiet"], folder)
    return timed([PEERS / "dvc", "repro", "--quiet"], folder, repeats)


def with_snakemake(spleen: Spleen, repeats: int) -> list[float]:
    """The same graph in Snakemake."""
    folder = spleen.desk / "snakemake"
    folder.mkdir()
    ends = ", ".join(f"'{stage}'" for stage in ("score", "final"))
    text = f"rule all:\n    input: {ends}\n"
    for (stage, needs), files in zip(GRAPH.items(), spleen.files().values()):
        inputs = ", ".join(f"'{need}'" for need in needs)
        text += f"rule {stage}:\n" + (f"    input: {inputs}\n" if needs else "")
        text += f"    output: directory('{stage}')\n    shell: 'cp -rL {files} {{output}}'\n"
    (folder / "Snakefile").write_text(text)
    command = [PEERS / "snakemake", "--cores", "2", "--quiet", "all"]
    call(command, folder)
    return timed(command, folder, repeats)


def unpacked(spleen: Spleen, add) -> None:
    """The first run beside the sum of its stages, and its unpacking beside `tar`."""
    stages = sum(spleen.seconds(stage) for stage in GRAPH)
    add("voxflow, first run, from start to exit", [spleen.cold])
    add("its stages, one after the other", [stages], spleen.cold)
    add("voxflow, stage dataset (unpacks and hashes, durable)", [spleen.seconds("dataset")])
    times = []
    for number in range(3):
        folder = spleen.desk / f"tar_{number}"
        folder.mkdir()
        command = ["sh", "-c", f"tar xf task.tar -C {folder} && sync -f {folder}"]
        times.append(seconds(lambda: call(command, spleen.desk)))
    add("tar xf, then sync", times, spleen.seconds("dataset"))


def b3sum() -> Path:
    """The program `b3sum`, built once."""
    root = ROOT / "target" / "b3sum"
    program = root / "bin" / "b3sum"
    if not program.exists():
        call(["cargo", "install", "--quiet", "--locked", "b3sum", "--root", root], ROOT)
    return program


def hashed(spleen: Spleen, repeats: int, add) -> None:
    """The archive's hash: a plan in an empty home, beside a plan that knows it, and `b3sum`."""
    def afresh() -> None:
        shutil.rmtree(spleen.desk / "empty", ignore_errors=True)
        call([*spleen.plan, "--home", "empty"], spleen.desk)

    start = statistics.median(timed(spleen.plan, spleen.desk, repeats))
    ours = [time - start for time in repeated(repeats, afresh)]
    theirs = timed([b3sum(), "task.tar"], spleen.desk, repeats)
    add("voxflow, hashing of the archive (what a plan without it takes is taken off)", ours)
    add("b3sum of the archive, from start to exit", theirs, statistics.median(ours))


def items(program: Path, desk: Path, count: int, repeats: int) -> tuple[float, list[float]]:
    """`count` cached volumes: the first run, and runs that have nothing to do."""
    folder = desk / f"items_{count}"
    folder.mkdir()
    (folder / "w.yaml").write_text(f"""name: items
stages:
  dataset: {{ uses: synthesize, with: {{ cases: {count}, shape: [16, 16, 16] }} }}
  split: {{ uses: split, needs: [dataset], with: {{ training: {count - 2}, validation: 1, testing: 1 }} }}
  volumes: {{ uses: preprocess, needs: [dataset], with: {{ spacing: [22, 22, 12], intensity: {{ window: [-57, 164] }} }} }}
  cache: {{ uses: cache, needs: [dataset, volumes, split] }}
""")
    command = [program, "run", "w.yaml", "--quiet"]
    return seconds(lambda: call(command, folder)), timed(command, folder, repeats)


def stages(program: Path, desk: Path, count: int, repeats: int) -> tuple[float, list[float]]:
    """A graph of `count` stages: its first run, and runs that have nothing to do."""
    folder = desk / f"stages_{count}"
    folder.mkdir()
    text = "name: stages\nstages:\n  d: { uses: synthesize, with: { cases: 4, shape: [16, 16, 16] } }\n"
    kind = "{ uses: split, needs: [d], with: { training: 2, validation: 1, testing: 1, seed: %d } }"
    text += "".join(f"  s{number}: {kind % number}\n" for number in range(count - 1))
    (folder / "w.yaml").write_text(text)
    command = [program, "run", "w.yaml", "--quiet"]
    return seconds(lambda: call(command, folder)), timed(command, folder, repeats)


def beside_others(spleen: Spleen, options, add) -> None:
    """The graph of the spleen: nothing to do beside the peers, its first run, its hashing."""
    print(f"spleen.yaml, {options.cases} cases, cold: {spleen.cold:.0f} s", file=sys.stderr, flush=True)
    name = f"spleen.yaml with {options.cases} cases"
    ours = add(f"voxflow, {name}, nothing to do", timed(spleen.command, spleen.desk, options.repeats))
    add(f"DVC, {name}, nothing to do", with_dvc(spleen, options.repeats), ours)
    add(f"Snakemake, {name}, nothing to do", with_snakemake(spleen, options.repeats), ours)
    unpacked(spleen, add)
    hashed(spleen, options.repeats, add)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("voxflow", type=Path)
    parser.add_argument("--cases", type=int, default=61)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--items", type=int, nargs="*", default=[1000, 10_000])
    parser.add_argument("--stages", type=int, nargs="*", default=[1000, 10_000])
    parser.add_argument("--growth", action="store_true", help="measure only how a run grows with items and stages")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    program, rows = options.voxflow.resolve(), []

    def add(what: str, times: list[float], ours: float | None = None) -> float:
        middle = statistics.median(times)
        rows.append((what, f"{middle * 1000:.0f}", "" if ours is None else f"{middle / ours:.2f}"))
        print(f"{what}: {middle * 1000:.0f} ms, lowest {min(times) * 1000:.0f}", file=sys.stderr, flush=True)
        return middle

    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as folder:
        desk = Path(folder)
        if not options.growth:
            beside_others(Spleen(program, desk, options.cases), options, add)
        for what, of, counts in (("cached volumes", items, options.items), ("stages", stages, options.stages)):
            for count in counts:
                cold, times = of(program, desk, count, options.repeats)
                add(f"voxflow, {count} {what}, all made", [cold])
                add(f"voxflow, {count} {what}, nothing to do", times)
    peers = "" if options.growth else f"DVC {version('dvc')}, Snakemake {version('snakemake')}; "
    lines = [f"{program.parent.name} build; {peers}medians of {options.repeats}", "",
             "| what | ms | of ours |", "|---|---:|---:|"]
    lines += [f"| {what} | {milliseconds} | {ratio} |" for what, milliseconds, ratio in rows]
    print("\n".join(lines))
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
