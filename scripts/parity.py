"""Runs tests/parity/compare.py in an environment that has MONAI.

PARITY_PYTHON names an interpreter that has it already; otherwise a virtual environment is made once,
in target/parity (5 GB). Arguments are passed on.
"""

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NEEDS = ["torch==2.11.0", "monai==1.6.1", "nibabel==5.4.2", "scipy==1.17.1", "safetensors==0.8.0", "numpy==2.4.6",
         "pytorch-ignite==0.5.3", "fire==0.7.1"]


def interpreter():
    """The interpreter to use; made if need be."""
    given = os.environ.get("PARITY_PYTHON")
    if given:
        return given
    folder = ROOT / "target" / "parity"
    python, done = folder / "bin" / "python", folder / "complete"
    if not done.exists():
        print("making an environment with torch and MONAI (5 GB) in target/parity", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *NEEDS], check=True)
        done.touch()
    return python


if __name__ == "__main__":
    compare = ROOT / "tests" / "parity" / "compare.py"
    voxflow = ROOT / "target" / "debug" / "voxflow"
    sys.exit(subprocess.run([interpreter(), compare, voxflow, *sys.argv[1:]]).returncode)
