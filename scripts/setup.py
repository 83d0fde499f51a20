#!/usr/bin/env python3
"""Fetches libtorch once into a cache folder and links it as .libtorch, where cargo looks for it.

libtorch comes out of the PyTorch wheel (no more of it than is needed). The wheels are fetched by
pip, whose settings (index, proxy, certificates) apply, and checked against the digests in
scripts/libtorch-*.txt. What is complete is never fetched again; a wheel that arrived whole is
not fetched again either if a later one fails. A library that is missing or cut short since is
mended by fetching all of it again. `make clean` leaves all of it.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

VERSION = "2.11.0"
ROOT = Path(__file__).resolve().parent.parent
CPU_LIBRARIES = ["libtorch_cpu.so", "libtorch.so", "libc10.so", "libgomp.so.1"]
LINKED_CUDA_LIBRARIES = ["libcudart.so.13", "libcupti.so.13"]
TORCH_CUDA_LIBRARIES = ["libtorch_cuda.so", "libtorch_cuda_linalg.so", "libc10_cuda.so", "libcaffe2_nvrtc.so", "libtorch_nvshmem.so"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cuda", action="store_true", help="also fetch the CUDA libraries (2.4 GB) for an NVIDIA GPU")
    arguments = parser.parse_args()
    own = os.environ.get("LIBTORCH")
    if own:
        use_existing(Path(own), arguments.cuda)
        return
    prefix = cache_folder() / f"libtorch-{VERSION}"
    if not is_complete(prefix, "cpu"):
        install(prefix, "cpu", unpack_cpu)
    if arguments.cuda and not is_complete(prefix, "cuda"):
        install(prefix, "cuda", unpack_cuda)
    # Both flavours take their share of PyTorch's wheel, so it is kept until both are there.
    shutil.rmtree(wheel_folder(), ignore_errors=True)
    link(prefix)


def cache_folder():
    chosen = os.environ.get("VOXFLOW_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(chosen) if chosen else Path(base) / "voxflow"


def wheel_folder():
    return cache_folder() / "wheels"


def use_existing(prefix, cuda):
    if not (prefix / "lib" / "libtorch_cpu.so").exists():
        sys.exit(f"setup: LIBTORCH is '{prefix}', but there is no lib/libtorch_cpu.so in it; unset LIBTORCH to fetch libtorch {VERSION}")
    if cuda:
        print("setup: LIBTORCH is set, so --cuda fetches nothing; libtorch_cuda.so is looked for beside libtorch_cpu.so")
    print(f"setup: using your own libtorch in {prefix}")


def is_complete(prefix, flavour):
    """True if all was unpacked and every library still has its size."""
    stamp, listing = prefix / f"complete-{flavour}", prefix / f"sizes-{flavour}.json"
    if not stamp.exists():
        return False
    # An installation of an earlier release has no list.
    wanted = json.loads(listing.read_text()) if listing.exists() else {}
    found = library_sizes(prefix, flavour)
    broken = [name for name, size in wanted.items() if found.get(name) != size]
    if broken:
        print(f"setup: missing or cut short in {prefix}: {', '.join(broken)}", flush=True)
    return not broken


def library_sizes(prefix, flavour):
    libraries = (prefix / {"cpu": "lib", "cuda": "cuda"}[flavour]).rglob("*.so*")
    return {str(path.relative_to(prefix)): path.stat().st_size for path in sorted(libraries)}


def install(prefix, flavour, unpack):
    """Unpacks the wheels of one flavour into the prefix; the stamp `complete-*` comes last."""
    for wheel in fetch_all(flavour, wheel_folder()):
        print(f"setup: unpacking {wheel.name.split('-')[0]}", flush=True)
        with zipfile.ZipFile(wheel) as archive:
            unpack(archive, prefix)
    (prefix / f"sizes-{flavour}.json").write_text(json.dumps(library_sizes(prefix, flavour), indent=1))
    (prefix / f"complete-{flavour}").write_text((ROOT / "scripts" / f"libtorch-{flavour}.txt").read_text())


def fetch_all(flavour, folder):
    wanted = requirements("cpu")
    if flavour == "cuda":
        wanted = [line for line in wanted if line.startswith("torch==")] + requirements("cuda")
    folder.mkdir(parents=True, exist_ok=True)
    return [fetch(line, folder) for line in wanted]


def requirements(flavour):
    lines = (ROOT / "scripts" / f"libtorch-{flavour}.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def fetch(requirement, folder):
    """One wheel: pip writes it to a draft folder, which is renamed once pip has found the digest right."""
    name = re.split(r"[= ]", requirement)[0]
    kept = folder / name
    if not kept.exists():
        print(f"setup: fetching {requirement.split(' ')[0]}", flush=True)
        draft = Path(tempfile.mkdtemp(dir=folder, prefix=".draft-"))
        try:
            pip_download(requirement, draft)
            os.replace(draft, kept)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return next(kept.glob("*.whl"))


def pip_download(requirement, folder):
    listing = folder / "requirement.txt"
    listing.write_text(requirement + "\n")
    tags = [f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 25, 18, 17, 12, 5)]
    tags += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", "3.11", "--abi", "cp311", "--abi", "none"]
    command += [part for tag in tags for part in ("--platform", tag)]
    command += ["--dest", str(folder), "--requirement", str(listing), *pip_resume()]
    if subprocess.run(command, check=False).returncode != 0:
        sys.exit(
            f"setup: could not fetch {requirement.split(' ')[0]} (pip's own message is above)\n"
            f"  with a network: run `make setup` again; what arrived whole is kept\n"
            f"  without one: copy {cache_folder()} from a machine where it worked,\n"
            f"  or set LIBTORCH to the folder of a libtorch {VERSION} (it has include/ and lib/)"
        )


def pip_resume():
    """pip 25.1 and later can go on with a broken download."""
    version = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"pip (\d+)\.(\d+)", version)
    return ["--resume-retries", "10"] if found and (int(found[1]), int(found[2])) >= (25, 1) else []


def unpack_cpu(archive, prefix):
    for name in archive.namelist():
        base = name.rsplit("/", 1)[-1]
        if name.startswith("torch/include/") and base:
            write(archive, name, prefix / name.removeprefix("torch/"))
        elif base in LINKED_CUDA_LIBRARIES or (name.startswith("torch/lib/") and base in CPU_LIBRARIES):
            write(archive, name, prefix / "lib" / base)


def unpack_cuda(archive, prefix):
    """Keeps the wheels' own layout, in which the libraries find each other, out of the linker's sight."""
    for name in archive.namelist():
        base = name.rsplit("/", 1)[-1]
        if ".so" in base and (name.startswith("nvidia/") or base in TORCH_CUDA_LIBRARIES):
            write(archive, name, prefix / "cuda" / name)


def write(archive, name, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(target.name + ".part")
    with archive.open(name) as source, open(draft, "wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
    os.replace(draft, target)


def link(prefix):
    place = ROOT / ".libtorch"
    if place.is_symlink() and Path(os.readlink(place)) == prefix:
        return
    draft = ROOT / ".libtorch.new"
    draft.unlink(missing_ok=True)
    draft.symlink_to(prefix)
    os.replace(draft, place)
    print(f"setup: libtorch {VERSION} is in {prefix}")


if __name__ == "__main__":
    main()
