"""The smallest accumulator of a Fashion-MNIST network: with and without training for it.

    python benchmarks/narrow_accumulator.py FLOAT.onnx [--data FOLDER] [--bits 12 11 10 9 8]
        [--overflow WRAP] [--epochs 1] [--train 60000] [--json FILE]

The float model, as of `compressed_networks.py`, is quantized to w4a4 and trained with exact sums.
Then each layer but the last gets an accumulator of so many bits, whose partial sums wrap or
saturate, once as it is and once after training with it; accuracies are the emulator's.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

import numpy as np  # noqa: E402
from common import one_thread, options, provenance, tell  # noqa: E402
from compressed_float import CALIBRATION, moved  # noqa: E402
from fashion_network import FOLDER, images, read  # noqa: E402

import hwsim  # noqa: E402
from hwsim.compress.float_model import FloatModel  # noqa: E402
from hwsim.compress.quantize.linear import Widths, quantize  # noqa: E402
from hwsim.compress.training.loop import Training, finetune  # noqa: E402
from hwsim.compress.training.start import float_weights  # noqa: E402
from hwsim.compress.training.teachers import onnx_teacher  # noqa: E402
from hwsim.fixed import Format, Overflow  # noqa: E402
from hwsim.graph import Graph  # noqa: E402
from hwsim.ops import Stepwise, Weighted  # noqa: E402

HEAD = ["bits", "as it is", "trained", "seconds"]


def narrowed(graph: Graph, bits: int, overflow: Overflow) -> Graph:
    """The Graph with an accumulator of so many bits in each layer but the last."""
    layers = [node for node in graph.nodes if isinstance(node.op, Weighted)]
    for node in layers[:-1]:
        op = node.op
        assert isinstance(op, Weighted)
        frac = op.aligned(graph.input_types(node)[0])[2]
        acc = Stepwise(format=Format(True, bits - frac, frac), overflow=overflow)
        graph = graph.with_op(node.name, replace(op, accumulator=acc))
    return graph


def main() -> None:
    """Run the script."""
    parser = options(__doc__)
    parser.add_argument("model", type=Path, help="the float model")
    parser.add_argument("--data", type=Path, default=FOLDER, help="the folder of the data set")
    parser.add_argument("--bits", type=int, nargs="+", default=[12, 11, 10, 9, 8])
    parser.add_argument("--overflow", choices=["WRAP", "SAT"], default="WRAP")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--train", type=int, default=60000, help="samples to train with")
    args = parser.parse_args()
    one_thread()
    x, y = images(args.data, "train"), read(args.data, "train-labels").astype(np.int64)
    x, y = x[: args.train], y[: args.train]
    xt, yt = images(args.data, "t10k"), read(args.data, "t10k-labels").astype(np.int64)
    model = FloatModel.read(args.model)
    (name,) = model.inputs
    first = [{name: x[at : at + 128]} for at in range(0, min(CALIBRATION, len(x)), 128)]
    graph = hwsim.load(quantize(model, first, Widths.parse("w4a4")))
    teacher = onnx_teacher(args.model, graph, graph.outputs[0].name, {})

    def trained(one: Graph, rate: float, **more: Any) -> Graph:
        how = Training(epochs=args.epochs, rate=rate, distil=0.7)
        return finetune(one, x, y, how, teacher=teacher, augment=moved, **more)

    def right(one: Graph) -> str:
        return f"{100 * hwsim.accuracy(one, xt, yt).top1:.2f}"

    exact = trained(graph, 3e-3, reals=float_weights(graph, model), learn_steps=True)
    rows = [["exact", right(graph), right(exact), ""]]
    print(*rows[0], file=sys.stderr, flush=True)
    for bits in args.bits:
        narrow = narrowed(exact, bits, Overflow[args.overflow])
        start = time.process_time()
        again = trained(narrow, 1e-3)
        seconds = time.process_time() - start
        rows.append([str(bits), right(narrow), right(again), f"{seconds:.0f}"])
        print(*rows[-1], file=sys.stderr, flush=True)
    facts = {"epochs": args.epochs, "overflow": args.overflow, "train": len(x)}
    tell(args, Path(__file__).name, HEAD, rows, {**facts, **provenance("torch", "numpy")})


if __name__ == "__main__":
    main()
