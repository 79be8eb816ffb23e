"""What narrow accumulators save in hardware, on digits: accuracy and area after training for them.

    python benchmarks/narrow_area.py [--bits w4a4] [--sums exact10 wrap8 sat8 ...] [--cycles N]
        [--epochs N] [--json FILE] [--page PAGE]

The example network is quantized and trained with exact sums (`wide`), then for each kind of narrow
ones; the last layer keeps its sums, the first has as many bits more as pixels have more bits than
activations. Accuracy is of the 360 images to test with, by the emulator, each training batch
compared with it. Counts are Yosys's for an ECP5, without place and route.
"""

from __future__ import annotations

import sys

from common import one_thread, options, provenance, tell
from weight_sets import EXAMPLE, area

import hwsim
from hwsim.compress.float_model import FloatModel
from hwsim.compress.quantize.linear import Widths
from hwsim.compress.sums.narrow import narrow
from hwsim.compress.sums.width import SumWidth
from hwsim.compress.training.loop import Training, finetune
from hwsim.compress.training.start import float_weights
from hwsim.data.sets import load
from hwsim.graph import Graph
from hwsim.ops import Weighted

HEAD = ["sums", "widths", "accuracy", "LUT", "FF", "DSP", "EBR", "cycles"]
WIDE = "wide"
UNITS = 128


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
    data = load("digits")
    x, y = data.train.reals(), data.train.labels
    model = FloatModel.read(EXAMPLE)
    plain = hwsim.quantize(EXAMPLE, x, bits=args.bits).graph
    how, rows = Training(epochs=args.epochs, rate=3e-3, batch=64, seed=1, check=True), []
    wide = finetune(plain, x, y, how, reals=float_weights(plain, model))
    for text in (WIDE, *args.sums):
        graph = wide
        if text != WIDE:
            found = narrow(wide, widths(wide, text, args.bits), x[:UNITS])
            more = {"reals": found.reals, "limits": found.limits}
            graph = finetune(found.graph, x, y, how, learn_steps=True, **more)
        kinds = graph.types()
        held = [kinds[n.output].format.width for n in graph.nodes if isinstance(n.op, Weighted)]
        counted = hwsim.accuracy(graph, data.test.reals(), data.test.labels)
        right = f"{100 * counted.top1:.2f}"
        rows.append([text, " ".join(map(str, held)), right, *area(graph, args.cycles)])
        print(*rows[-1], file=sys.stderr, flush=True)
    tell(args, "narrow_area.py", HEAD, rows, provenance("torch", "numpy", "amaranth"))


if __name__ == "__main__":
    main()
