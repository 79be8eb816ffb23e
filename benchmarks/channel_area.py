"""What bits of weights by output channel cost in hardware: a layer of constants, and folded ones.

    python benchmarks/channel_area.py [--cycles 2304] [--json FILE] [--page FILE]

`dense` is a layer of 32 by 16 random weights for 4-bit codes, all of them multiplied in one cycle;
`digits` the example network in hardware for so many cycles an inference, folded. Their weights have
4 bits, 4 on average by channel, and as many as the widest of these channels. `kbit` are the needed
bits of all weights. Counts are Yosys's for an ECP5, without place and route.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from common import ROOT, one_thread, options, provenance, tell
from weight_sets import area

import hwsim
from hwsim.compress.figures import weight_bits
from hwsim.data.sets import load
from hwsim.fixed import Format
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Dense, TensorType

HEAD = ("network", "bits of weights", "kbit", "LUT", "FF", "DSP", "EBR", "cycles")
MIXED = (2, 6, 3, 5, 4, 4, 3, 5) * 2


def dense(bits: tuple[int, ...]) -> Graph:
    """One layer of random weights of so many bits a channel."""
    rng = np.random.default_rng(0)
    columns = [rng.integers(1 - 2 ** (n - 1), 2 ** (n - 1), 32) for n in bits]
    layer = Dense(
        weights=np.stack(columns, axis=1),
        bias=np.zeros(len(bits), np.int64),
        weight_format=Format.int(max(bits)),
        channel_bits=bits,
    )
    port = InputPort(name="x", tensor="x", type=TensorType((32,), Format.int(4)))
    return Graph((port,), (Node("dense", layer, ("x",), "y"),), (OutputPort(name="y", tensor="y"),))


def networks(cycles: int) -> Iterator[tuple[str, str, Graph, int]]:
    """Name, bits in words, graph, and cycles to take at most."""
    mixed = f"4 of {min(MIXED)} to {max(MIXED)}"
    for told, bits in (("4", (4,) * 16), (mixed, MIXED), ("6", (6,) * 16)):
        yield "dense", told, dense(bits), 1
    for told, bits in (("4", (4,) * 16), (mixed, MIXED), ("6", (6,) * 16)):
        yield "dense, folded", told, dense(bits), 64
    images = load("digits").train.reals()[:512]
    path = ROOT / "examples/models/digits_cnn_int8.float.onnx"
    for told, asked in (
        ("4", {"bits": "w4a8"}),
        ("4 of 2 to 6", {"bits": "w4a8", "channel_bits": "2-6"}),
        ("6", {"bits": "w6a8"}),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield "digits", told, hwsim.quantize(path, images, **asked).graph, cycles


def main() -> None:
    """Run the script."""
    parser = options(__doc__)
    parser.add_argument("--cycles", type=int, default=2304)
    args = parser.parse_args()
    one_thread()
    rows = []
    for name, told, graph, cycles in networks(args.cycles):
        kbit = f"{weight_bits(graph) / 1000:.1f}"
        rows.append([name, told, kbit, *area(graph, cycles)])
        print(*rows[-1], sep="  ", file=sys.stderr, flush=True)
    tell(args, Path(__file__).name, HEAD, rows, provenance("numpy", "amaranth"))


if __name__ == "__main__":
    main()
