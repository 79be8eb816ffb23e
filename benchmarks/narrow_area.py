"""What narrow accumulators save in hardware, on digits: accuracy and area after training for them.

    python benchmarks/narrow_area.py [--bits w4a4] [--sums exact10 wrap8 sat8 ...] [--cycles N]
        [--epochs N] [--json FILE] [--page PAGE]

The example network is quantized and trained with exact sums (`wide`), then for each kind of narrow
ones; the last layer keeps its sums, the first has as many bits more as pixels have more bits than
activations. Accuracy is of the 397 images from the 1,400th on, by the emulator, each training
batch compared with it. Counts are Yosys's for an ECP5, without place and route.
"""

from __future__ import annotations

import sys

import numpy as np
from common import ROOT, one_thread, options, provenance, tell
from sklearn.datasets import load_digits
from weight_sets import area

import hwsim
from hwsim.compress.float_model import FloatModel
from hwsim.compress.quantize.linear import Widths, quantize
from hwsim.compress.sums.narrow import narrow
from hwsim.compress.sums.width import SumWidth
from hwsim.compress.training.loop import Training, finetune
from hwsim.compress.training.start import float_weights
from hwsim.graph import Graph
from hwsim.ops import Weighted

HEAD = ["sums", "widths", "accuracy", "LUT", "FF", "DSP", "EBR", "cycles"]
WIDE = "wide"
SPLIT, UNITS = 1400, 128


def widths(graph: Graph, text: str, bits: str) -> dict[str, SumWidth]:
    """Of each layer but the last."""
    names = [node.name for node in graph.nodes if isinstance(node.op, Weighted)][:-1]
    width = SumWidth.parse(text)
    first = width.bits + 8 - Widths.parse(bits).activations
    return dict.fromkeys(names, width) | {names[0]: SumWidth(bits=first, overflow=width.overflow)}


def main() -> None:
    """Run the script."""
    parser = options(__doc__)
    parser.add_argument("--bits", default="w4a4")
    parser.add_argument("--sums", nargs="+", default=["exact10", "exact9", "wrap8", "sat8"])
    parser.add_argument("--cycles", type=int, default=1200)
    parser.add_argument("--epochs", type=int, default=6)
    args = parser.parse_args()
    one_thread()
    x = (load_digits().images / 16).astype(np.float32)[:, None]
    y = load_digits().target
    model = FloatModel.read(ROOT / "examples/models/digits_cnn_int8.float.onnx")
    plain = hwsim.load(quantize(model, [{model.inputs[0]: x[:512]}], Widths.parse(args.bits)))
    how, rows = Training(epochs=args.epochs, rate=3e-3, batch=64, seed=1, check=True), []
    wide = finetune(plain, x[:SPLIT], y[:SPLIT], how, reals=float_weights(plain, model))
    for text in (WIDE, *args.sums):
        graph = wide
        if text != WIDE:
            found = narrow(wide, widths(wide, text, args.bits), x[:UNITS])
            more = {"reals": found.reals, "limits": found.limits}
            graph = finetune(found.graph, x[:SPLIT], y[:SPLIT], how, learn_steps=True, **more)
        kinds = graph.types()
        held = [kinds[n.output].format.width for n in graph.nodes if isinstance(n.op, Weighted)]
        right = f"{100 * hwsim.accuracy(graph, x[SPLIT:], y[SPLIT:]).top1:.1f}"
        rows.append([text, " ".join(map(str, held)), right, *area(graph, args.cycles)])
        print(*rows[-1], file=sys.stderr, flush=True)
    tell(args, "narrow_area.py", HEAD, rows, provenance("torch", "numpy", "amaranth"))


if __name__ == "__main__":
    main()
