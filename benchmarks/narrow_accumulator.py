"""The narrowest accumulators of a Fashion-MNIST network: with and without training for them.

    python benchmarks/narrow_accumulator.py FLOAT.onnx --out FOLDER [--data FOLDER]
        [--bits w4a4 w8a8] [--modes exact wrap sat] [--widths 12 11 10 9 8]
        [--epochs 1] [--train 60000] [--batch 128] [--device cpu] [--jobs 1] [--json FILE]

The float model, as of `compressed_networks.py`, is quantized and trained with exact sums. Then all
layers but the last get accumulators of so many bits, the first as many more as pixels have more
bits than activations: `declared` as they stand, `units` with the units that `narrow`
chooses, `trained` after a training that begins there. Of `exact` no input's sums need more bits.
Accuracies are the emulator's, on all test images. What the folder holds is not made again,
and all of it is in the table.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from common import one_thread, options, provenance, tell, write_json  # noqa: E402
from compressed_float import Samples, moved  # noqa: E402

import hwsim  # noqa: E402
from hwsim.compress.float_model import FloatModel  # noqa: E402
from hwsim.compress.quantize.linear import Widths, quantize  # noqa: E402
from hwsim.compress.sums.narrow import narrow  # noqa: E402
from hwsim.compress.sums.width import SumWidth  # noqa: E402
from hwsim.compress.training.loop import Training, finetune  # noqa: E402
from hwsim.compress.training.start import float_weights  # noqa: E402
from hwsim.compress.training.teachers import onnx_teacher  # noqa: E402
from hwsim.fixed import Format  # noqa: E402
from hwsim.graph import Graph  # noqa: E402
from hwsim.ops import Stepwise, Weighted  # noqa: E402

HEAD = ["bits", "sums", "width", "declared", "units", "trained"]
DEFAULT = {"w4a4": (12, 11, 10, 9, 8, 7), "w8a8": (18, 17, 16, 15, 14, 13, 12)}
"""Widths of sums, by the network's bits."""


def declared(graph: Graph, widths: dict[str, SumWidth]) -> Graph:
    """The Graph with these accumulators and nothing else changed."""
    for name, width in widths.items():
        node = graph.node(name)
        op = node.op
        assert isinstance(op, Weighted)
        assert width.overflow is not None
        frac = op.aligned(graph.input_types(node)[0])[2]
        acc = Stepwise(format=Format(True, width.bits - frac, frac), overflow=width.overflow)
        graph = graph.with_op(name, replace(op, accumulator=acc))
    return graph


class Experiment:
    """The data, the float model, and what training is like."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.data = Samples.read("fashion-mnist", args.data, None)
        self.model = FloatModel.read(args.model)

    def right(self, graph: Graph) -> str:
        """Accuracy in percent."""
        return f"{100 * hwsim.accuracy(graph, self.data.xt, self.data.yt).top1:.2f}"

    def trained(self, graph: Graph, epochs: int, rate: float, count: int, **more: Any) -> Graph:
        """After some epochs, with the float model as the teacher."""
        args, (name,) = self.args, [port.name for port in graph.outputs]
        how = Training(epochs=epochs, rate=rate, distil=0.7, device=args.device, batch=args.batch)
        teacher = onnx_teacher(args.model, graph, name, {})
        x, y = self.data.x[:count], self.data.y[:count]
        return finetune(graph, x, y, how, teacher=teacher, augment=moved, learn_steps=True, **more)

    def base(self, bits: str) -> None:
        """The network with exact sums, trained, into the folder."""
        path = self.args.out / f"{bits}.hwsim"
        if path.exists():
            return
        samples = self.data.calibration(self.model.inputs[0])
        graph = hwsim.load(quantize(self.model, samples, Widths.parse(bits)))
        reals = float_weights(graph, self.model)
        self.trained(graph, 1, self.args.rate, len(self.data.x), reals=reals).save(path)

    def row(self, bits: str, mode: str, width: int) -> None:
        """One width, into the folder."""
        graph = hwsim.load(self.args.out / f"{bits}.hwsim")
        names = [node.name for node in graph.nodes if isinstance(node.op, Weighted)][:-1]
        widths = {name: SumWidth.parse(f"{mode}{width}") for name in names}
        more = 8 - int(bits.partition("a")[2])  # pixels have 8 bits
        widths[names[0]] = SumWidth.parse(f"{mode}{width + more}")
        found = narrow(graph, widths, self.data.x[:128])
        tuned = self.trained(
            found.graph,
            self.args.epochs,
            self.args.rate,
            self.args.train,
            reals=found.reals,
            limits=found.limits,
        )
        tuned.save(self.args.out / f"{bits}-{mode}{width}.hwsim")
        plain = "" if mode == "exact" else self.right(declared(graph, widths))
        figures = [plain, self.right(found.graph), self.right(tuned)]
        row = dict(zip(HEAD, [bits, mode, str(width), *figures], strict=True))
        write_json(self.args.out / f"{bits}-{mode}{width}.json", row)
        print(*row.values(), file=sys.stderr, flush=True)


def one(args: argparse.Namespace, task: tuple[str, ...]) -> None:
    """A task in a process of its own: a base, or a row."""
    import torch

    torch.set_num_threads(1)
    found = Experiment(args)
    if len(task) == 1:
        found.base(task[0])
    elif not (args.out / f"{task[0]}-{task[1]}{task[2]}.json").exists():
        found.row(task[0], task[1], int(task[2]))


def main() -> None:
    """Run the script."""
    parser = options(__doc__)
    parser.add_argument("model", type=Path, help="the float model")
    parser.add_argument("--out", type=Path, required=True, help="where models and figures go")
    parser.add_argument("--data", type=Path, help="the folder of the data set")
    parser.add_argument("--bits", nargs="+", choices=DEFAULT, default=list(DEFAULT))
    parser.add_argument("--modes", nargs="+", default=["exact", "wrap", "sat"])
    parser.add_argument("--widths", type=int, nargs="+", help="of sums; each network's otherwise")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--train", type=int, default=60000, help="samples to train with")
    parser.add_argument("--device", default="cpu", help="where trainings compute")
    parser.add_argument("--jobs", type=int, default=1, help="how many at once")
    args = parser.parse_args()
    one_thread()
    args.out.mkdir(parents=True, exist_ok=True)
    bases = [(bits,) for bits in args.bits]
    tasks = [
        (bits, mode, str(width))
        for bits in args.bits
        for mode in args.modes
        for width in args.widths or DEFAULT[bits]
    ]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.jobs, mp_context=context) as pool:
        for group in (bases, tasks):
            list(pool.map(one, [args] * len(group), group))
    data, rows = Experiment(args), []
    for bits in args.bits:
        right = data.right(hwsim.load(args.out / f"{bits}.hwsim"))
        rows.append([bits, "as wide as needed", "", right, right, right])
        found = [json.loads(p.read_text(encoding="utf-8")) for p in args.out.glob(f"{bits}-*.json")]
        found.sort(key=lambda row: (row["sums"], -int(row["width"])))
        rows += [[row[name] for name in HEAD] for row in found]
    facts = {"epochs": args.epochs, "train": args.train}
    tell(args, Path(__file__).name, HEAD, rows, {**facts, **provenance("torch", "numpy")})


if __name__ == "__main__":
    main()
