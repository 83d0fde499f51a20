"""Runs tests/bench/peers.py in the environment of `make parity`. Arguments are passed on."""

import subprocess
import sys

from parity import ROOT, interpreter

if __name__ == "__main__":
    peers = ROOT / "tests" / "bench" / "peers.py"
    voxflow = ROOT / "target" / "debug" / "voxflow"
    sys.exit(subprocess.run([interpreter(), peers, voxflow, *sys.argv[1:]], cwd=ROOT).returncode)
