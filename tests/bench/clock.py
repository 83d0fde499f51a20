"""How the benchmarks take time."""

import time


def seconds(work) -> float:
    """How long something takes, once."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def repeated(repeats: int, work) -> list[float]:
    """Seconds of each repetition, after one that is not counted."""
    work()
    return [seconds(work) for _ in range(repeats)]
