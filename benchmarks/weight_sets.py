"""Weights as powers of two, sums of them, tables and ternary: accuracy, bits and area.

    python benchmarks/weight_sets.py [--sets w8 pot4 ...] [--cycles N] [--epochs N] [--json FILE]
        [--page FILE]
    python benchmarks/weight_sets.py FLOAT.onnx --set fashion-mnist [--data FOLDER] [--train N]
        [--cycles 0] ...

A network, by default the example for digits, is quantized to 8 bits with scales that are powers of
two, and its weights are encoded (`w8`: as they are). Accuracy is of the images to test with, by the
emulator, before and after training on the others (or the first `--train` of them). Area is the
encoded network's, in hardware for so many cycles an inference, or with 0 of none; counts are
Yosys's for an ECP5, without place and route.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

from common import ROOT, one_thread, options, provenance, tell

import hwsim
from hwsim.compress.figures import weight_bits
from hwsim.compress.float_model import FloatModel
from hwsim.compress.quantize.nonlinear import WeightSet, encoded
from hwsim.compress.training.loop import Training, finetune
from hwsim.compress.training.start import float_weights
from hwsim.data.sets import load
from hwsim.graph import Graph
from rtl.design import Design
from rtl.flow import cells, verilog, yosys
from rtl.plan.constants import with_block_constants
from rtl.plan.cost import bottleneck
from rtl.plan.depths import with_depths
from rtl.plan.search import plan_for_cycles
from rtl.targets import ecp5, find_target

HEAD = ("weights", "bits", "encoded", "trained")
AREA = ("LUT", "FF", "DSP", "EBR", "cycles")
KINDS = ("lut", "ff", "dsp", "bram")
SETS = ("w8", "pot4", "apot4", "codebook4", "codebook3", "ternary")
EXAMPLE = ROOT / "examples/models/digits_cnn_int8.float.onnx"


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


def main() -> None:
    """Run the script."""
    parser = options(__doc__)
    parser.add_argument("model", type=Path, nargs="?", default=EXAMPLE, help="the float model")
    parser.add_argument("--set", default="digits", help="the data set's name")
    parser.add_argument("--data", type=Path, help="the folder of the data set")
    parser.add_argument("--train", type=int, help="images to train with, at most")
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--cycles", type=int, default=1200)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rate", type=float, default=1e-3)
    args = parser.parse_args()
    one_thread()
    warnings.simplefilter("ignore")  # pixels beyond the range of the calibration samples
    data = load(args.set, args.data)
    x, y = data.train.reals()[: args.train], data.train.labels[: args.train]
    test = data.test.reals(), data.test.labels
    model = FloatModel.read(args.model)
    plain = hwsim.quantize(args.model, data.train.reals()).graph
    reals, rows = float_weights(plain, model), []
    for name in args.sets:
        graph = plain if name == "w8" else encoded(plain, WeightSet.parse(name), reals)
        how = Training(epochs=args.epochs, rate=args.rate, seed=1, check=args.set == "digits")
        tuned = finetune(graph, x, y, how, reals=reals, learn_steps=True)
        right = [hwsim.accuracy(one, *test).top1 for one in (graph, tuned)]
        shares = [f"{100 * share:.2f}" for share in right]
        rows.append([name, f"{weight_bits(graph):,}", *shares])
        rows[-1] += area(graph, args.cycles) if args.cycles else []
        print(*rows[-1], file=sys.stderr, flush=True)
    mark = Path(__file__).name + ("" if args.set == "digits" else f" --set {args.set}")
    head = (*HEAD, *AREA) if args.cycles else HEAD
    facts = {"set": args.set, "epochs": args.epochs, "trained_on": len(x)}
    tell(args, mark, head, rows, {**facts, **provenance("torch", "numpy", "amaranth")})


if __name__ == "__main__":
    main()
