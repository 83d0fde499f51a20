"""Runs tests/bench/peers.py in the environment of `make parity`, with the release build if there is one.
Arguments are passed on."""

import subprocess
import sys

from parity import ROOT, interpreter

if __name__ == "__main__":
    peers = ROOT / "tests" / "bench" / "peers.py"
    release = ROOT / "target" / "release" / "voxflow"
    profile = ["--profile", "release"] if release.exists() else []
    voxflow = release if profile else ROOT / "target" / "debug" / "voxflow"
    sys.exit(subprocess.run([interpreter(), peers, voxflow, *profile, *sys.argv[1:]], cwd=ROOT).returncode)
