"""Fuzzes every parser of foreign bytes, and prints one table of it.

With cargo-fuzz and a nightly compiler each target of fuzz/ runs for VOXFLOW_FUZZ_MINUTES (5), led by
coverage; what it learns lies in fuzz/found and serves the next time, what it breaks in fuzz/artifacts, from
where it goes to fuzz/corpus once it is mended. Without them tests/mutants changes known inputs by chance,
VOXFLOW_TORTURE_MUTANTS (100000) for each parser. Arguments are targets; none is all.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FUZZ = ROOT / "fuzz"
# Without optimising what is not ours, and without a sanitizer: nearly all is safe Rust, and polars builds in
# minutes. The targets themselves bound what one request for memory may ask for.
BUILD = ["--dev", "--sanitizer=none"]
# The targets that need the crate `voxflow`, and so polars.
PIPELINE = {"workflow", "journal"}
# Bytes of an input, megabytes of memory in all, seconds for one input.
LIMITS = ["-max_len=65536", "-rss_limit_mb=2048", "-timeout=10"]


def has_cargo_fuzz():
    tried = subprocess.run(["cargo", "+nightly", "fuzz", "--version"], cwd=FUZZ, capture_output=True)
    return tried.returncode == 0


def targets():
    return sorted(re.findall(r'path = "fuzz_targets/(\w+)\.rs"', (FUZZ / "Cargo.toml").read_text()))


def run(target, seconds):
    """Runs one target; a row of the table, and whether all went well."""
    found = FUZZ / "found" / target
    found.mkdir(parents=True, exist_ok=True)
    build = BUILD if target in PIPELINE else [*BUILD, "--no-default-features"]
    command = ["cargo", "+nightly", "fuzz", "run", *build, target, str(found), str(FUZZ / "corpus" / target), "--",
               *LIMITS, f"-max_total_time={seconds}", "-print_final_stats=1"]
    # The parsers are given files: in memory, where there is such a folder.
    folder = {"TMPDIR": "/dev/shm"} if Path("/dev/shm").is_dir() else {}
    ran = subprocess.run(command, cwd=FUZZ, env={**os.environ, **folder}, stderr=subprocess.PIPE, text=True,
                         errors="replace")
    told = dict(re.findall(r"stat::(\w+):\s+(\d+)", ran.stderr))
    edges = re.findall(r"cov: (\d+)", ran.stderr) or ["?"]
    well = ran.returncode == 0
    if not well:
        print(ran.stderr[-4000:], file=sys.stderr)
    outcome = "nothing broke" if well else "broke, see above"
    row = [target, told.get("number_of_executed_units", "?"), edges[-1], told.get("peak_rss_mb", "?"), outcome]
    return row, well


def by_coverage(wanted):
    minutes = float(os.environ.get("VOXFLOW_FUZZ_MINUTES", "5"))
    if not (FUZZ / "Cargo.lock").exists():
        # The versions that the tests use.
        shutil.copy(ROOT / "Cargo.lock", FUZZ / "Cargo.lock")
    results = []
    for target in wanted or targets():
        print(f"{target}: {minutes:g} minutes", flush=True)
        results.append(run(target, int(minutes * 60)))
    print("\n| parser | executions | edges reached | memory, MB | |\n|---|---:|---:|---:|---|")
    for row, _ in results:
        print(f"| {' | '.join(row)} |")
    return all(well for _, well in results)


def by_chance():
    print("no cargo-fuzz or no nightly compiler here ('cargo install cargo-fuzz'): mutants by chance", flush=True)
    mutants = os.environ.get("VOXFLOW_TORTURE_MUTANTS", "100000")
    tests = subprocess.run(["cargo", "test", "--test", "mutants", "--", "--nocapture"], cwd=ROOT,
                           env={**os.environ, "VOXFLOW_TORTURE_MUTANTS": mutants})
    return tests.returncode == 0


def main():
    well = by_coverage(sys.argv[1:]) if has_cargo_fuzz() else by_chance()
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
