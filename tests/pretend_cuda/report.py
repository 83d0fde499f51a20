"""Prints what programs did on the pretend device.

    report.py FILE... [--kind wait]

FILE is one that PRETEND_CUDA_REPORT named, with the process' number at its end. Waits have the
lines of the program that they came from, where it was built with line numbers (--program)."""
import argparse
import collections
import struct
import subprocess

ROW = struct.Struct("=Q16s88s400s")


def rows(path):
    with open(path, "rb") as file:
        data = file.read()
    count = struct.unpack_from("=Q", data)[0]
    for row in range(count):
        times, *words = ROW.unpack_from(data, ROW.size * (row + 1))
        yield times, *(word.split(b"\0")[0].decode(errors="replace") for word in words)


def lines(program, offsets):
    """The first line of our own sources for each list of offsets."""
    if not program:
        return " ".join(offsets)
    addresses = [hex(int(offset, 16) - 1) for offset in offsets]
    command = ["addr2line", "-iCe", program, *addresses]
    found = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    own = [line.split("/stages/net/")[-1] for line in found if "/stages/net/src/" in line]
    return " < ".join(dict.fromkeys(own[:3])) or "?"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--kind")
    parser.add_argument("--program", help="voxflow-worker")
    options = parser.parse_args()
    kinds, names = collections.Counter(), collections.Counter()
    for path in options.files:
        for times, kind, name, place in rows(path):
            kinds[kind] += times
            if options.kind in (None, kind):
                names[kind, name, place] += times
    for kind, times in kinds.most_common():
        print(f"{times:8d}  {kind}")
    for (kind, name, place), times in names.most_common():
        origin = lines(options.program, place.split()) if place else ""
        print(f"{times:8d}  {kind:10s}  {name:36s}  {origin}")


main()
