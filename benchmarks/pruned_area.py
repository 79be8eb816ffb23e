"""What zeros among the weights save in hardware: a layer of constants, and folded layers.

    python benchmarks/pruned_area.py [--cycles 2304] [--json FILE] [--page FILE]

`dense` is a layer of 32 by 16 random 4-bit weights for 4-bit codes, all of them multiplied in one
cycle, with so many percent of its weights taken by their magnitude. `digits` is the example network
of 8 bits in hardware for so many cycles an inference, whole and without three quarters of its
weights in blocks of 4 by 8, which folded layers skip. Counts are Yosys's for an ECP5, without place
and route.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from common import ROOT, one_thread, options, provenance, tell
from weight_sets import area

import hwsim
from hwsim.compress.prune.masks import parse_pattern
from hwsim.compress.prune.prune import Pruning, prune
from hwsim.fixed import Format
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Dense, TensorType

HEAD = ("network", "weights gone %", "LUT", "FF", "DSP", "EBR", "cycles")
AMOUNTS = (0.0, 0.5, 0.75, 0.9)


def dense() -> Graph:
    """One layer of random weights."""
    weights = np.random.default_rng(0).integers(-7, 8, (32, 16))
    layer = Dense(weights=weights, bias=np.zeros(16, np.int64), weight_format=Format.int(4))
    port = InputPort(name="x", tensor="x", type=TensorType((32,), Format.int(4)))
    return Graph((port,), (Node("dense", layer, ("x",), "y"),), (OutputPort(name="y", tensor="y"),))


def without(graph: Graph, amount: float, pattern: str) -> Graph:
    """The graph without so many of its weights."""
    return prune(graph, Pruning(amount=amount, pattern=parse_pattern(pattern))).graph


def networks(cycles: int) -> Iterator[tuple[str, float, Graph, int]]:
    """Name, share of the weights that are gone, graph, and cycles to take at most."""
    for amount in AMOUNTS:
        whole = dense()
        graph = without(whole, amount, "unstructured") if amount else whole
        yield "dense", amount, graph, 1
    digits = hwsim.load(ROOT / "examples/models/digits_cnn_int8.onnx")
    yield "digits", 0.0, digits, cycles
    yield "digits, 4x8", 0.75, without(digits, 0.75, "4x8"), cycles


def main() -> None:
    """Run the script."""
    parser = options(__doc__)
    parser.add_argument("--cycles", type=int, default=2304)
    args = parser.parse_args()
    one_thread()
    rows = []
    for name, amount, graph, cycles in networks(args.cycles):
        rows.append([name, f"{100 * amount:.0f}", *area(graph, cycles)])
        print(*rows[-1], sep="  ", file=sys.stderr, flush=True)
    tell(args, Path(__file__).name, HEAD, rows, provenance("numpy", "amaranth"))


if __name__ == "__main__":
    main()
