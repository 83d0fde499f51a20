"""Gathers the licences of all crates that are linked into both programs, for the wheel.

    python3 scripts/licences.py [--out target/licences]

THIRD-PARTY.txt has a row for each crate with its licence and home, and then every licence text once,
with the crates whose source has it, also texts of C code that a crate carries. The crates are those
that `cargo tree` names for this platform; crates that only build, test or expand macros are no part
of a program and are left out. `cargo metadata` knows their licences and sources. A crate without a text of its own
gets that of a crate from the same repository, or the Apache licence where it is one of its own.
RUST-STD.html is the notice of Rust's own library, where the toolchain has it.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ["voxflow", "voxflow-net"]
# Files with a licence or a notice, in any language of C or Rust sources.
LICENCE = re.compile(r"^(un)?licen[cs]e|^copying|^copyright|^notice|licen[cs]e(\.txt|\.md)?$", re.I)
# Code and data that only carries such a word in its name.
NO_TEXT = {".rs", ".py", ".toml", ".json", ".c", ".h", ".cc", ".cpp", ".hpp", ".sh", ".yml", ".yaml", ".html", ".hbs"}
APACHE = "Apache-2.0"
HEADER = """\
Crates that are linked into voxflow and voxflow-worker, and their licences.

"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "target" / "licences", help="folder for the texts")
    arguments = parser.parse_args()
    crates = linked()
    texts = complete(crates, {named(crate): texts_of(crate) for crate in crates})
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "THIRD-PARTY.txt").write_text(document(crates, texts))
    notice = rust_notice()
    if notice:
        shutil.copyfile(notice, arguments.out / "RUST-STD.html")
    print(f"licences: {len(crates)} crates, {len({text for own in texts.values() for text in own.values()})} texts")


def output(*words):
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode != 0:
        sys.exit(f"licences: '{' '.join(words)}' ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def linked():
    """The foreign crates that are linked, as cargo's metadata describes them, by name and version."""
    words = [word for package in PROGRAMS for word in ("--package", package)]
    tree = output("cargo", "tree", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "none", *words)
    lines = set(re.findall(r"^(\S+) v(\S+)", tree, re.M))
    facts = json.loads(output("cargo", "metadata", "--format-version", "1", "--locked"))
    foreign = [package for package in facts["packages"] if package["source"] is not None]
    crates = [package for package in foreign if (package["name"], package["version"]) in lines]
    return sorted(crates, key=lambda crate: (crate["name"], crate["version"]))


def texts_of(crate):
    """Licence files of a crate by their names in its source; code that it carries included."""
    root = Path(crate["manifest_path"]).parent
    found = {}
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in ("target", ".git", "tests", "benches", "examples"))
        for file in sorted(files):
            path = Path(folder) / file
            if LICENCE.search(file) and path.suffix.lower() not in NO_TEXT and path.stat().st_size:
                found[str(path.relative_to(root))] = text_of(path)
    stated = crate.get("license_file")
    if stated and (root / stated).is_file():
        found[Path(stated).name] = text_of(root / stated)
    return found


def text_of(path):
    return path.read_text(errors="replace").replace("\r\n", "\n").strip()


def complete(crates, texts):
    """Each crate's texts; those of a sister, or the usual Apache licence, where a crate has none."""
    apache = usual_apache(texts.values())
    for crate in crates:
        if texts[named(crate)]:
            continue
        sisters = [sister for sister in crates if sister["repository"] == crate["repository"] and texts[named(sister)]]
        if sisters and crate["repository"]:
            texts[named(crate)] = texts[named(sisters[0])]
        elif APACHE in (crate["license"] or ""):
            texts[named(crate)] = {f"{APACHE}.txt": apache}
        else:
            sys.exit(f"licences: {named(crate)} ({crate['license']}) has no licence text, nor has a crate of its repository; "
                     "find the text, and have 'complete' give it")
    return texts


def usual_apache(all_texts):
    """The Apache licence as most crates have it; it names no holder."""
    found = [text for own in all_texts for file, text in own.items() if "apache" in file.lower() and "/" not in file]
    return Counter(found).most_common(1)[0][0]


def named(crate):
    return f"{crate['name']} {crate['version']}"


def document(crates, texts):
    rows = []
    for crate in crates:
        home = crate["repository"] or crate["homepage"] or "names no home"
        rows.append(f"{named(crate)}: {crate['license'] or 'see its text'}, {home}\n")
    holders = {}
    for crate in crates:
        for file, text in texts[named(crate)].items():
            holders.setdefault(text, []).append(f"{named(crate)} ({file})")
    parts = []
    for text, files in holders.items():
        parts.append(f"\n{'=' * 100}\n" + "\n".join(files) + f"\n{'-' * 100}\n\n{text}\n")
    return HEADER + "".join(rows) + "".join(parts)


def rust_notice():
    """The notice of Rust's own library with the crates in it."""
    folder = Path(output("rustc", "--print", "sysroot").strip()) / "share" / "doc" / "rust"
    notice = folder / "COPYRIGHT-library.html"
    return notice if notice.is_file() else None


if __name__ == "__main__":
    main()
