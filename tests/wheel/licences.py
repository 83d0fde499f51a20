"""The licences of everything in the wheel are in the wheel.

    python3 tests/wheel/licences.py FOLDER_OF_THE_WHEEL

What is linked the programs say themselves: they name the sources of crates for messages of panics.
"""

import re
import sys
import zipfile
from pathlib import Path

# A licence says so in its own words.
WORDS = re.compile(r"permission|licen[cs]e|copyright|warranty|public domain", re.I)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    wheel = max(Path(sys.argv[1]).glob("voxflow-*.whl"), key=lambda path: path.stat().st_mtime, default=None)
    expect(wheel, f"a wheel in '{sys.argv[1]}'; 'make wheel' makes it")
    with zipfile.ZipFile(wheel) as files:
        inside = {name.split(".dist-info/")[1]: name for name in files.namelist() if ".dist-info/" in name}
        metadata = files.read(inside["METADATA"]).decode()
        stated = set(re.findall(r"^License-File: (.+)$", metadata, re.M))
        own = {name.removeprefix("licenses/") for name in inside if name.startswith("licenses/")}
        expect(stated == own, f"METADATA to name the files in licenses/, {sorted(own)}, but it names {sorted(stated)}")
        expect({"LICENSE", "THIRD-PARTY.txt"} <= own, f"our licence and those of others, but found {sorted(own)}")
        document = files.read(inside["licenses/THIRD-PARTY.txt"]).decode()
        programs = [name for name in files.namelist() if "/scripts/" in name]
        crates = set().union(*(named_in(files.read(name)) for name in programs))
    rows, texts = parsed(document)
    expect(len(crates) > 50, f"the programs to name dozens of crates, but they name {len(crates)}")
    missing = sorted(crates - set(rows))
    expect(not missing, f"a row for each crate that is linked, but these have none: {', '.join(missing)}")
    bare = sorted(crate for crate in crates if not any(WORDS.search(text) for text in texts.get(crate, [])))
    expect(not bare, f"a licence text of each crate, but these have none: {', '.join(bare)}")
    print(f"test-wheel: {len(rows)} crates have their licences in the wheel; the programs name {len(crates)} of them")


def parsed(document):
    """Rows ("name version"), and texts by crate."""
    head, *parts = document.split(f"\n{'=' * 100}\n")
    rows = re.findall(r"^(\S+ \S+): .+$", head, re.M)
    texts = {}
    for part in parts:
        holders, text = part.split(f"\n{'-' * 100}\n", 1)
        for crate in re.findall(r"^(\S+ \S+) \(.+\)$", holders, re.M):
            texts.setdefault(crate, []).append(text)
    return rows, texts


def named_in(program):
    """Foreign crates whose source a program names, as it does where they may panic."""
    found = re.findall(rb"/registry/src/[^/]+/([A-Za-z0-9_-]+?)-(\d+\.\d+\.\d+[A-Za-z0-9.+-]*)/", program)
    return {f"{name.decode()} {version.decode()}" for name, version in found}


def expect(holds, words):
    if not holds:
        sys.exit(f"test-wheel: expected {words}")


if __name__ == "__main__":
    main()
