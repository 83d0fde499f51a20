"""Runs the long form of the tests of reliability and prints one table of what they went through.

VOXFLOW_TORTURE_SEED repeats a run. Each of the lengths below can be set too; arguments are passed on to
cargo, as in `--release`.
"""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LENGTHS = {
    "VOXFLOW_TORTURE_SEED": str(random.randrange(2**32)),
    "VOXFLOW_TORTURE_KILLS": "300",
    "VOXFLOW_TORTURE_STEP": "1",
    "VOXFLOW_TORTURE_DISKS": "64",
    "VOXFLOW_TORTURE_FLIPS": "140",
    "VOXFLOW_TORTURE_ROUNDS": "8",
    "VOXFLOW_TORTURE_MUTANTS": "2000",
}
TESTS = ["torture", "faults", "small_disk", "damage", "crowd", "hostile", "secrets", "workers", "mutants"]


def told(arguments):
    """Runs the tests; their tallies and whether all went well."""
    command = ["cargo", "test", *arguments, "--no-fail-fast", *(f"--test={test}" for test in TESTS)]
    tests = subprocess.Popen([*command, "--", "--nocapture"], cwd=ROOT, env={**LENGTHS, **os.environ},
                             stdout=subprocess.PIPE, text=True)
    rows = []
    for line in tests.stdout:
        print(line, end="", flush=True)
        parts = [part.strip() for part in line.split(" | ")]
        if parts[0] == "tally" and len(parts) == 4:
            rows.append(parts[1:])
    return rows, tests.wait() == 0


def main():
    seed = os.environ.get("VOXFLOW_TORTURE_SEED", LENGTHS["VOXFLOW_TORTURE_SEED"])
    print(f"seed {seed}", flush=True)
    started = time.monotonic()
    rows, well = told(sys.argv[1:])
    minutes = (time.monotonic() - started) / 60
    print(f"\nseed {seed}, {minutes:.0f} minutes\n")
    print("| what | how many | |\n|---|---:|---|")
    for what, count, words in sorted(rows):
        print(f"| {what} | {count} | {words} |")
    print(f"| lost | {'nothing' if well else 'see the failures above'} | |")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
