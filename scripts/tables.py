"""Runs the queries of docs/tables.md as they stand there, on a small sweep made for them, and holds the
answers of DuckDB, polars and pandas against each other.

    python scripts/tables.py VOXFLOW
"""

import os
import re
import subprocess
import sys
import tempfile
from glob import glob
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl

ROOT = Path(__file__).resolve().parent.parent
SMALL = [
    "dataset.cases=12", "dataset.shape=[32,32,32]", "split.testing=3", "volumes.spacing=[8,8,10]", "model.epochs=2",
    "model.validate_every=1", "model.patch=[16,16,16]", "model.inference.roi=[16,16,16]",
    "model.network.channels=[4,8,8]", "model.network.strides=[2,2]",
]  # fmt: skip


def questions(text: str) -> list[tuple[str, str, str, str]]:
    """The title, the SQL, the polars and the pandas of each question."""
    found = []
    for section in re.split(r"^### ", text, flags=re.M)[1:]:
        title = section.splitlines()[0]
        blocks = re.findall(r"```(?:sql|python)\n(.*?)```", section, flags=re.S)
        if len(blocks) < 3:
            sys.exit(f"docs/tables.md: '{title}' must have SQL, polars and pandas")
        found.append((title, *blocks[:3]))
    return found


def rows(frame) -> list[tuple]:
    """The rows of a pandas frame, numbers rounded to what sums in another order keep."""
    plain = lambda value: round(float(value), 9) if isinstance(value, (int, float)) else str(value)
    return [tuple(plain(value) for value in row) for row in frame.itertuples(index=False)]


def answers(sql: str, in_polars: str, in_pandas: str) -> list[list[tuple]]:
    """What each of the three answers."""
    names = {"pl": pl, "pd": pd, "glob": lambda pattern: sorted(glob(pattern))}
    found = [duckdb.sql(sql).df()]
    for code in (in_polars, in_pandas):
        scope = dict(names)
        exec(code, scope)  # noqa: S102, the document's own code is what is tried
        answer = scope["answer"]
        found.append(answer.to_pandas() if isinstance(answer, pl.DataFrame) else answer)
    return [rows(frame) for frame in found]


def ask(home: Path) -> None:
    """Asks every question of the runs in `home`."""
    os.chdir(home)
    for title, *code in questions((ROOT / "docs/tables.md").read_text()):
        first, *others = answers(*code)
        if not first or any(other != first for other in others):
            sys.exit(f"'{title}': the answers differ or are empty\n" + "\n".join(map(str, [first, *others])))
        print(f"{len(first):3} rows, three times the same: {title}")


def main() -> None:
    program = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as home:
        command = [program, "sweep", ROOT / "workflows/demo.yaml", "--over", "model.learning_rate=0.001,0.002"]
        command += ["--folds", "3", "--quiet"] + [word for path in SMALL for word in ("--set", path)]
        subprocess.run(command, check=True, cwd=home)
        ask(Path(home))


if __name__ == "__main__":
    main()
