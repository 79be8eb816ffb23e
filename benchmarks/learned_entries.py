"""Codebooks whose entries are learned, beside those that k-means found: the digits' networks.

    python benchmarks/learned_entries.py [--sets codebook3 codebook2] [--epochs 4] [--seeds 3]
        [--json FILE] [--page FILE]

A w8a8 network is encoded and trained from its float weights, once with the table of k-means as it
is, once with `learn_entries`; the same seeds for both. Accuracy is the emulator's on the 360 images
to test with: the mean of the seeds, in brackets the least and the most.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from common import ROOT, one_thread, options, provenance, tell

import hwsim
from hwsim.compress.float_model import FloatModel
from hwsim.compress.quantize.nonlinear import WeightSet, encoded
from hwsim.compress.training.loop import Training, finetune
from hwsim.compress.training.start import float_weights
from hwsim.data.sets import load

HEAD = ("network", "weights", "w8a8 %", "encoded %", "k-means, trained %", "learned %")
NETWORKS = ("digits_dw_skip", "digits_cnn_int8")


def spread(found: list[float]) -> str:
    """The mean, the least and the most, in percent."""
    mean, least, most = (100 * one for one in (statistics.mean(found), min(found), max(found)))
    return f"{mean:.2f} ({least:.2f} to {most:.2f})"


def main() -> None:
    """Run the script."""
    parser = options(__doc__)
    parser.add_argument("--sets", nargs="+", default=["codebook3", "codebook2"])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    one_thread()
    data, rows = load("digits"), []
    x, labels = data.train.reals(), data.train.labels
    test = data.test.reals(), data.test.labels
    for name in NETWORKS:
        model = FloatModel.read(ROOT / f"examples/models/{name}.float.onnx")
        plain = hwsim.quantize(model.path, x).graph
        reals = float_weights(plain, model)
        for kind in args.sets:
            graph = encoded(plain, WeightSet.parse(kind), reals)
            row = [
                name,
                kind,
                *(f"{100 * hwsim.accuracy(g, *test).top1:.2f}" for g in (plain, graph)),
            ]
            for learned in (False, True):
                right = []
                for seed in range(args.seeds):
                    how = Training(epochs=args.epochs, seed=seed)
                    tuned = finetune(graph, x, labels, how, reals=reals, learn_entries=learned)
                    right.append(hwsim.accuracy(tuned, *test).top1)
                row.append(spread(right))
            rows.append(row)
            print(*row, sep="  ", file=sys.stderr, flush=True)
    facts = {"epochs": args.epochs, "seeds": args.seeds, **provenance("torch", "numpy")}
    tell(args, Path(__file__).name, HEAD, rows, facts)


if __name__ == "__main__":
    main()
