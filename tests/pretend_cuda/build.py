"""Builds the pretend CUDA device and the programs that try it, once for each state of its sources.

    build.py LIBTORCH FOLDER

LIBTORCH has include/ and lib/. Prints FOLDER/HASH, which has libtorch_cuda.so, the programs, and the
driver in `driver/`. Ends with 3 if there is no C++ compiler."""
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
FLAGS = ["-std=c++17", "-O1", "-fopenmp", "-Wall", "-Wno-unused-function"]
NO_COMPILER = 3


def digest(libtorch: Path, compiler: str) -> str:
    """Of all that decides what is built."""
    hashed = hashlib.blake2b(digest_size=8)
    sources = (path for path in HERE.iterdir() if path.suffix in {".h", ".cpp"})
    for source in [*sorted(sources), Path(__file__)]:
        hashed.update(source.name.encode() + source.read_bytes())
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True).stdout
    hashed.update(version + str(libtorch).encode())
    return hashed.hexdigest()


def compile_all(compiler: str, libtorch: Path, folder: Path) -> None:
    headers = [f"-I{libtorch}/include", f"-I{libtorch}/include/torch/csrc/api/include"]
    libraries = [f"-L{libtorch}/lib", "-ltorch_cpu", "-lc10"]
    flags = [compiler, *FLAGS, *headers]
    device = ["-fPIC", "-shared", HERE / "pretend_cuda.cpp", "-o", folder / "libtorch_cuda.so"]
    subprocess.run([*flags, *device, *libraries], check=True)
    for program in ("selftest", "mistakes"):
        command = [*flags, HERE / f"{program}.cpp", "-o", folder / program, *libraries, "-ldl"]
        subprocess.run([*command, f"-Wl,-rpath,{libtorch}/lib"], check=True)
    (folder / "driver").mkdir()
    driver = [*FLAGS[1:2], "-Wall", "-fPIC", "-shared", "-x", "c++", HERE / "driver.cpp"]
    subprocess.run([compiler, *driver, "-o", folder / "driver" / "libcuda.so.1"], check=True)


def main() -> int:
    libtorch, target = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if not compiler:
        print("no C++ compiler (c++ or g++)", file=sys.stderr)
        return NO_COMPILER
    made = target.resolve() / digest(libtorch, compiler)
    if not made.exists():
        # Several tests may build at once; the first to rename wins.
        draft = made.with_name(f"{made.name}.{os.getpid()}")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        compile_all(compiler, libtorch, draft)
        try:
            draft.rename(made)
        except OSError:
            shutil.rmtree(draft)
    print(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
