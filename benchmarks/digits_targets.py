"""Targets on the digits: channels for a number of cycles, and what training gives back.

    python benchmarks/digits_targets.py [--cycles 4608 3072 1536] [--accuracy 0.975]
        [--epochs 10] [--json FILE] [--page FILE]

`digits_cnn_int8`, whole and with channels taken out until an inference takes so many cycles on the
default device, with 8 bits, as quantized and after `finetune` with learned steps. Then
`digits_dw_skip` with bits of weights and activations that keep an accuracy, biases corrected.
Ranges and what is chosen come from the images to train with, but for the accuracy to keep, which
is that of the images to test with, as all accuracies here: the emulator's on 360 of them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from common import ROOT, one_thread, options, provenance, tell

import hwsim
from hwsim import defaults
from hwsim.compress.figures import bit_operations, weight_bits
from hwsim.data.sets import load
from hwsim.verbs.designs import fewest_cycles

HEAD = ("network", "target", "cycles", "bits of weights", "bit operations", "%", "trained %")
WHOLE = "none, w8a8"


def main() -> None:
    """Run the script."""
    parser = options(__doc__)
    parser.add_argument("--cycles", type=int, nargs="+", default=[4608, 3072, 1536])
    parser.add_argument("--accuracy", type=float, default=0.975)
    parser.add_argument("--epochs", type=int, default=10)
    args = parser.parse_args()
    one_thread()
    data, rows = load("digits"), []
    x, y = data.train.reals(), data.train.labels
    test = data.test.reals(), data.test.labels
    planned = fewest_cycles(defaults.TARGET)

    def row(name: str, target: str, *, train: bool = False, **asked: Any) -> None:
        path = ROOT / f"examples/models/{name}.float.onnx"
        graph = hwsim.quantize(path, x, **asked).graph
        right = [hwsim.accuracy(graph, *test).top1]
        if train:
            tuned = hwsim.finetune(graph, x, y, test=test, epochs=args.epochs, learn_steps=True)
            right.append(hwsim.accuracy(tuned.graph, *test).top1)
        sizes = f"{weight_bits(graph):,}", f"{bit_operations(graph):,}"
        shares = [f"{100 * one:.2f}" for one in right] + [""] * (not train)
        rows.append([name, target, f"{planned(graph):,}", *sizes, *shares])
        print(*rows[-1], sep="  ", file=sys.stderr, flush=True)

    row("digits_cnn_int8", WHOLE)
    for cycles in args.cycles:
        row("digits_cnn_int8", f"{cycles:,} cycles", train=True, target_cycles=cycles)
    row("digits_dw_skip", WHOLE, correct_bias=True)
    kept = {"target_accuracy": args.accuracy, "test": test}
    row("digits_dw_skip", f"{100 * args.accuracy:g} %", correct_bias=True, **kept)
    facts = {"epochs": args.epochs, **provenance("torch", "scipy", "numpy")}
    tell(args, Path(__file__).name, HEAD, rows, facts)


if __name__ == "__main__":
    main()
