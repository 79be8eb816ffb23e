"""Speed of the emulator on TensorFlow Lite models, for the integers of each kernel set.

    python benchmarks/tflite_speed.py MODEL.tflite ... [--samples N] [--rounds N] [--json FILE]

On one thread, interleaved, medians: how long a model takes to load, and how long N samples take (of
a model with state: N steps of one row), beside the schemes' own steps in int64 and, where it is
installed, beside TensorFlow Lite Micro itself. The integers are compared before anything is timed.
Exit status 1 where they differ.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import interleaved, one_thread, provenance, table, write_json

import hwsim
from hwsim.emulator.run import Emulator

SETS = ("tflm", "reference", "builtin", "xnnpack")


def micro(path: Path, x: Any) -> Callable[[], Any]:
    """A run of TensorFlow Lite Micro over samples one after the other, its state kept."""
    from tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(path.read_bytes())

    def run() -> Any:
        interpreter.reset()
        found = []
        for sample in x:
            interpreter.set_input(sample[None], 0)
            interpreter.invoke()
            found.append(interpreter.get_output(0)[0].copy())
        return np.stack(found)

    return run


def measured(path: Path, like: str, samples: int, rounds: int) -> dict[str, float]:
    """Seconds of each contender; SystemExit where integers differ."""
    graph = hwsim.load(path, like=like)
    (port,) = graph.inputs
    rng = np.random.default_rng(1)
    x = rng.integers(-128, 128, (samples, *port.type.shape)).astype(np.int8)
    batch = x[None] if graph.state else x
    quick, own = Emulator(graph), Emulator(graph, kernels={})
    contenders: dict[str, Callable[[], Any]] = {
        "load": lambda: Emulator(hwsim.load(path, like=like)),
        "hwsim": lambda: quick.predict(batch),
        "own steps": lambda: own.predict(batch),
    }
    if like == "tflm" and importlib.util.find_spec("tflite_micro"):
        contenders["its runtime"] = micro(path, x)
    results = {name: run() for name, run in contenders.items() if name != "load"}
    for name, found in results.items():
        if not np.array_equal(np.reshape(found, (-1,)), np.reshape(results["hwsim"], (-1,))):
            raise SystemExit(f"error: {path.name} like {like}: {name} gives other integers")
    return interleaved(contenders, rounds)


def main() -> None:
    one_thread()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL.tflite")
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    figures: dict[str, dict[str, dict[str, float]]] = {}
    rows = []
    for path in given.models:
        figures[path.stem] = {}
        for like in SETS:
            found = measured(path, like, given.samples, given.rounds)
            figures[path.stem][like] = found
            cells = [found["load"], found["hwsim"], found["own steps"]]
            beside = found.get("its runtime")
            rows.append(
                [
                    f"{path.stem}, {like}",
                    *(f"{seconds:.3f} s" for seconds in cells),
                    f"{found['own steps'] / found['hwsim']:.1f}",
                    "" if beside is None else f"{beside / found['hwsim']:.1f}",
                ]
            )
    head = ["model", "load and plan", f"{given.samples} samples", "own steps", "ratio", "runtime's"]
    print(table(head, rows))
    if given.json:
        settings = {"samples": given.samples, "rounds": given.rounds, "seconds": figures}
        write_json(given.json, provenance("numpy") | settings)


if __name__ == "__main__":
    main()
