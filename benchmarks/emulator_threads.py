"""Speed of the emulator as users have it, against the same held to one thread.

    PYTHONPATH=. python benchmarks/emulator_threads.py [--rounds N] [--json FILE]

In one process, in turns, with no variable set that limits threads: the QONNX network 16-64-32-32-5
in batches of 400,000, 100,000, 10,000 and 1, and hls4ml's 28 x 28 CNN in batches of 2,000; with all
cores free, with one taken by a busy loop, and with two busy loops a core. The ratio is the median
of the pairs; results are compared before anything is timed. Exit status 1 where they differ.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from common import per_call, provenance, table, write_json
from emulator_mlp import WIDTHS, model

LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "HWSIM_NUM_THREADS")
BATCHES = (("mlp", 400_000), ("mlp", 100_000), ("mlp", 10_000), ("mlp", 1), ("cnn", 2000))
LEAST = {"free": 1.7, "one busy": 0.9, "all busy": 0.9}  # for the largest batches


def no_limits() -> None:
    """Start the script again without limits, unless it runs so: BLAS reads them but once."""
    if any(name in os.environ for name in LIMITS):
        left = {name: text for name, text in os.environ.items() if name not in LIMITS}
        os.execve(sys.executable, [sys.executable, *sys.argv], left)


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """So many processes that only count."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        time.sleep(0.2 if loops else 0)
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def limited(run: Callable[[], object]) -> Callable[[], object]:
    """The same on one thread."""

    def alone() -> object:
        os.environ["HWSIM_NUM_THREADS"] = "1"
        try:
            return run()
        finally:
            del os.environ["HWSIM_NUM_THREADS"]

    return alone


def pairs(run: Callable[[], object], rounds: int) -> dict[str, float]:
    """Median seconds on one thread and as users have it, and the median of their ratios."""
    seconds: dict[str, list[float]] = {"one": [], "free": []}
    contenders = {"one": limited(run), "free": run}
    order = random.Random(1)  # else their turns fall into step with the scheduler's
    for _ in range(rounds):
        for name in order.sample(list(contenders), 2):
            start = time.perf_counter()
            contenders[name]()
            seconds[name].append(time.perf_counter() - start)
    ratios = [a / b for a, b in zip(seconds["one"], seconds["free"], strict=True)]
    one, free = (statistics.median(seconds[name]) for name in ("one", "free"))
    return {"one_ms": one * 1000, "as_is_ms": free * 1000, "ratio": statistics.median(ratios)}


def networks() -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Graphs by name, each with the shape of a sample."""
    from hls4ml_csim import cnn  # which finds the tests' models

    import hwsim

    rng = np.random.default_rng(16)
    weights = [rng.normal(0, 0.4, shape).astype(np.float32) for shape in itertools.pairwise(WIDTHS)]
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(model(weights), Path(folder) / "mlp.onnx")
        mlp = hwsim.load(Path(folder) / "mlp.onnx")
        convolutions = hwsim.load(cnn().build(folder))
    return {"mlp": (mlp, (WIDTHS[0],)), "cnn": (convolutions, (28, 28, 1))}


def measure(rounds: int) -> tuple[dict[str, Any], int]:
    """Figures by load and batch, and the number of different outputs."""
    from hwsim.emulator.run import emulate

    graphs, rng = networks(), np.random.default_rng(1)
    runs: dict[str, Callable[[], object]] = {}
    different = 0
    for name, count in BATCHES:
        graph, shape = graphs[name]
        x = rng.normal(0, 1, (count, *shape)).astype(np.float32)

        def run(graph: Any = graph, x: Any = x) -> object:
            return emulate(graph, x)

        different += int(np.sum(np.asarray(run()) != np.asarray(limited(run)())))
        calls = max(1, 30_000 // count) if count < 30_000 and name == "mlp" else 1
        runs[f"{name} x {count:,}"] = per_call(run, min(calls, 500))
    cores = len(os.sched_getaffinity(0))
    found = {}
    for load, loops in (("free", 0), ("one busy", 1), ("all busy", 2 * cores)):
        with busy(loops):
            found[load] = {name: pairs(run, rounds) for name, run in runs.items()}
    return found, different


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    no_limits()
    found, different = measure(options.rounds)
    rows = [
        [f"{load}, {name}", *(f"{figures[key]:.2f}" for key in ("one_ms", "as_is_ms", "ratio"))]
        for load, batches in found.items()
        for name, figures in batches.items()
    ]
    print(table(["cores, batch", "one thread, ms", "as it is, ms", "times as fast"], rows))
    print(f"{different} outputs different; wanted of large batches: {LEAST}")
    if options.json is not None:
        made = provenance("numpy", "threadpoolctl")
        write_json(
            options.json,
            {"figures": found, "least": LEAST, "different": different, "made": made},
        )
    return 1 if different else 0


if __name__ == "__main__":
    raise SystemExit(main())
