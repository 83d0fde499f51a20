"""Measures what a cluster costs beside its own time: this program and Snakemake with its Slurm plugin, the same
number of small jobs on the same Slurm, which is started here (root; see tests/slurm/up), all in one run.

    python tests/bench/cluster.py VOXFLOW [--jobs N] [--markdown FILE]

Ours are stages that write one tiny image each, Snakemake's are rules that run `echo`. Slurm's own time is that
of an array of as many `true`. Times are from the start of a process to its exit; submissions are counted by a
script before `sbatch`. `make bench-cluster` provides what it needs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from clock import seconds

ROOT = Path(__file__).resolve().parent.parent.parent
SITE = """executor: slurm
slurm: { partition: main, look: 5s }
kinds: { synthesize: { cpus: 1, memory: 900M } }
"""
SNAKEFILE = """rule all:
    input: [f"out/{{n}}" for n in range({jobs})]
rule one:
    output: "out/{{n}}"
    resources: slurm_partition="main", mem_mb=900, runtime=5
    threads: 1
    shell: "echo {{wildcards.n}} >{{output}}"
"""


class Slurm:
    """A cluster in a folder, with a counter before sbatch."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.call("up", "--accounting", "--nodes", "2", "--cpus", "4")
        account = ["sacctmgr", "-i", "add", "account", "bench", "Cluster=voxflow"]
        user = ["sacctmgr", "-i", "add", "user", "root", "Account=bench"]
        for command in (account, user):
            subprocess.run(command, env={**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}, capture_output=True)
        counter = folder / "counted" / "sbatch"
        counter.parent.mkdir()
        counter.write_text(f'#!/bin/sh\necho "$*" >>{folder}/calls\nexec /usr/bin/sbatch "$@"\n')
        # Snakemake removes SLURM_CONF from its jobs, in which it calls srun.
        srun = counter.with_name("srun")
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec /usr/bin/srun "$@"\n')
        for script in (counter, srun):
            script.chmod(0o755)
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"),
                            "PATH": f"{counter.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"}

    def call(self, script: str, *flags: str) -> None:
        subprocess.run([ROOT / "tests/slurm" / script, self.folder, *flags], check=True)

    def submissions(self) -> int:
        """Calls of sbatch since the last question."""
        calls = self.folder / "calls"
        count = len(calls.read_text().splitlines()) if calls.exists() else 0
        calls.unlink(missing_ok=True)
        return count

    def last_end(self) -> float:
        """The time at which the last job ended; the queue still knows jobs of the last minutes."""
        ends = self.run(["squeue", "-h", "-r", "-t", "all", "-o", "%e"], self.folder).split()
        return max(time.mktime(time.strptime(end, "%Y-%m-%dT%H:%M:%S")) for end in ends)

    def run(self, command: list, folder: Path) -> str:
        """What a command prints; the end of everything where it fails."""
        done = subprocess.run([str(word) for word in command], cwd=folder, env=self.environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return done.stdout


def ours(program: Path, jobs: int, folder: Path) -> list:
    """The command that makes as many stages as there are jobs."""
    stages = "".join(
        f"  stage_{n}: {{ uses: synthesize, with: {{ cases: 1, shape: [8, 8, 8], seed: {n} }} }}\n" for n in range(jobs))
    (folder / "workflow.yaml").write_text(f"name: many\nstages:\n{stages}")
    (folder / "site.yaml").write_text(SITE)
    return [program, "run", "workflow.yaml", "--site", "site.yaml", "--quiet"]


def theirs(jobs: int, folder: Path) -> list:
    """Snakemake's command for as many rules."""
    (folder / "Snakefile").write_text(SNAKEFILE.format(jobs=jobs))
    return [Path(sys.executable).parent / "snakemake", "--executor", "slurm", "--jobs", jobs, "--latency-wait", "5"]


def measured(name: str, command: list, folder: Path, slurm: Slurm) -> list[tuple]:
    """A row for the first run and one for the second, which has nothing to do."""
    slurm.submissions()
    took = seconds(lambda: slurm.run(command, folder))
    over = time.time() - slurm.last_end()
    first = (f"{name}, first run", took, slurm.submissions(), f"{max(over, 0):.0f} s after its last job ended")
    again = seconds(lambda: slurm.run(command, folder))
    return [first, (f"{name}, nothing to do", again, slurm.submissions(), "")]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("program", type=Path)
    arguments.add_argument("--jobs", type=int, default=20)
    arguments.add_argument("--markdown", type=Path)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as desk:
        slurm = Slurm(Path(desk) / "slurm")
        try:
            rows = table(given.program.resolve(), given.jobs, Path(desk), slurm)
        finally:
            slurm.call("down", "--remove")
    lines = ["| | seconds | sbatch calls | |", "|---|---:|---:|---|"]
    lines += [f"| {name} | {took:.2f} | {calls} | {words} |" for name, took, calls, words in rows]
    print("\n".join(lines))
    if given.markdown:
        given.markdown.write_text("\n".join(lines) + "\n")


def table(program: Path, jobs: int, desk: Path, slurm: Slurm) -> list[tuple]:
    """All rows."""
    wait = ["sbatch", "--wait", f"--array=0-{jobs - 1}", "--mem=900M", "-o", "/dev/null", "--wrap", "true"]
    rows = [(f"Slurm itself, an array of {jobs} × `true`", seconds(lambda: slurm.run(wait, desk)), slurm.submissions(), "")]
    for name in ("ours", "theirs"):
        (desk / name).mkdir()
    rows += measured(f"voxflow, {jobs} stages", ours(program, jobs, desk / "ours"), desk / "ours", slurm)
    plugin = version("snakemake-executor-plugin-slurm")
    rows += measured(f"Snakemake {version('snakemake')}, Slurm plugin {plugin}, {jobs} rules", theirs(jobs, desk / "theirs"),
                     desk / "theirs", slurm)
    return rows


if __name__ == "__main__":
    main()
