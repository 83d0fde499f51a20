#!/usr/bin/env python3
"""Draws the pictures of the README from a real run: the newest run of the demo in a home.

Usage: pictures.py VOXFLOW [HOME]

Needs a Chromium or Chrome on the path; nothing is fetched.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile

PICTURES = pathlib.Path(__file__).resolve().parent.parent / "docs" / "pictures"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def browser():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        sys.exit("no browser: install chromium, then call this again")
    return found


def photograph(program, page, picture, width, height):
    """Opens a page without a window and saves what it shows."""
    command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--window-size={width},{height}", "--virtual-time-budget=3000", f"--screenshot={picture}"]
    subprocess.run([*command, page.as_uri()], check=True, stderr=subprocess.DEVNULL)
    print(picture)


def main():
    voxflow, home = sys.argv[1], (sys.argv[2] if len(sys.argv) > 2 else ".voxflow")
    ask = [voxflow, "--home", home]
    PICTURES.mkdir(exist_ok=True)
    program = browser()
    with tempfile.TemporaryDirectory() as folder:
        page = pathlib.Path(folder) / "report.html"
        subprocess.run([*ask, "report", "demo", "--out", page], check=True, stdout=subprocess.DEVNULL)
        photograph(program, page, PICTURES / "report.png", 1100, 1000)
    sheet = ["view", "demo/final/phantom_01", "--plane", "axial", "--slices", "4", "--out", PICTURES / "case.png"]
    subprocess.run([*ask, *sheet], check=True)


if __name__ == "__main__":
    main()
