"""Weights as powers of two, sums of them, tables and ternary: accuracy, bits and area, on digits.

    python benchmarks/weight_sets.py [--sets w8 pot4 ...] [--cycles N] [--epochs N] [--json FILE]

The example network is quantized to 8 bits with scales that are powers of two, and its weights are
encoded (`w8`: as they are). Accuracy is of the 397 images from the 1,400th on, by the emulator,
before and after training on the others. Area is the encoded network's, in hardware for so many
cycles an inference; counts are Yosys's for an ECP5, without place and route.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from common import ROOT, one_thread, options, provenance, tell
from sklearn.datasets import load_digits

import hwsim
from hwsim.compress.float_model import FloatModel
from hwsim.compress.quantize.linear import Widths, quantize
from hwsim.compress.quantize.nonlinear import WeightSet, encoded
from hwsim.compress.training.loop import Training, finetune
from hwsim.compress.training.start import float_weights
from hwsim.graph import Graph
from hwsim.ops import Weighted
from rtl.design import Design
from rtl.flow import cells, verilog, yosys
from rtl.plan.constants import with_block_constants
from rtl.plan.cost import bottleneck
from rtl.plan.depths import with_depths
from rtl.plan.search import plan_for_cycles
from rtl.targets import ecp5, find_target

HEAD = ["weights", "bits", "encoded", "trained", "LUT", "FF", "DSP", "EBR", "cycles"]
KINDS = ("lut", "ff", "dsp", "bram")
SETS = ("w8", "pot4", "apot4", "codebook4", "codebook3", "ternary")
SPLIT = 1400


def area(graph: Graph, cycles: int) -> list[str]:
    """What Yosys builds, and the cycles of an inference."""
    target = find_target("ecp5-85k")
    plan = with_depths(graph, plan_for_cycles(graph, cycles))
    plan = with_block_constants(graph, plan, target)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        text = verilog.convert(Design(graph, plan), name="top")
        (folder / "top.v").write_text(text, encoding="utf-8")
        found = yosys.synthesize(folder, ["top.v"], "top", ecp5.FAMILY, "netlist.json")
    counts = cells.count(found, ecp5.FAMILY)[0]
    return [*(f"{counts[kind]:,}" for kind in KINDS), f"{bottleneck(graph, plan).cycles:,}"]


def bits(graph: Graph) -> int:
    """Of all stored weights."""
    ops = [node.op for node in graph.nodes]
    return sum(op.weights.size * op.weight_bits for op in ops if isinstance(op, Weighted))


def main() -> None:
    """Run the script."""
    parser = options(__doc__)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--cycles", type=int, default=1200)
    parser.add_argument("--epochs", type=int, default=4)
    args = parser.parse_args()
    one_thread()
    x = (load_digits().images / 16).astype(np.float32)[:, None]
    y = load_digits().target
    model = FloatModel.read(ROOT / "examples/models/digits_cnn_int8.float.onnx")
    plain = hwsim.load(quantize(model, [{model.inputs[0]: x[:512]}], Widths.parse("w8a8")))
    reals, rows = float_weights(plain, model), []
    for name in args.sets:
        graph = plain if name == "w8" else encoded(plain, WeightSet.parse(name), reals)
        how = Training(epochs=args.epochs, rate=1e-3, seed=1, check=True)
        tuned = finetune(graph, x[:SPLIT], y[:SPLIT], how, reals=reals, learn_steps=True)
        right = [hwsim.accuracy(one, x[SPLIT:], y[SPLIT:]).top1 for one in (graph, tuned)]
        shares = [f"{100 * share:.1f}" for share in right]
        rows.append([name, f"{bits(graph):,}", *shares, *area(graph, args.cycles)])
        print(*rows[-1], file=sys.stderr, flush=True)
    tell(args, Path(__file__).name, HEAD, rows, provenance("torch", "numpy", "amaranth"))


if __name__ == "__main__":
    main()
