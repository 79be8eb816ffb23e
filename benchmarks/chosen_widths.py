"""Bits of weights by layer, chosen, beside the same bits for all layers: size against accuracy.

    python benchmarks/chosen_widths.py FLOAT.onnx ... [--set NAME] [--data FOLDER] [--bits 3 4 5 6]
        [--by outputs labels] [--channels 2-6] [--json FILE] [--page FILE]

For each number of bits the network is quantized with so many in every layer, and then with bits by
layer within the same size: chosen by its outputs alone, and by the labels of the training samples.
With `--channels` these are then averages of channels, once more, and `by layer` are the most bits
of a channel. Biases are corrected in all of them, activations have 8 bits. Everything is chosen on
samples to train with; the accuracy is that of the samples to test with, all of them, in the
emulator, which nothing was chosen by.
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from common import one_thread, options, provenance, tell  # noqa: E402

import hwsim  # noqa: E402
from hwsim.compress.figures import weight_bits  # noqa: E402
from hwsim.data.sets import load  # noqa: E402

HEAD = ["network", "bits each", "how", "bits of weights", "by layer", "test %", "tried", "CPU s"]


def row(name: str, each: int, how: str, data: Any, path: Path, **asked: Any) -> list[str]:
    """One network, quantized and counted."""
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pixels beyond the range of the calibration samples
        made = hwsim.quantize(path, data.train.reals(), correct_bias=True, **asked)
        seconds = time.process_time() - start
        right = hwsim.accuracy(made.graph, data.test.reals(), data.test.labels).top1
    layers = [str(one["weight_bits"]) for one in made.rows if "weight_bits" in one]
    tried = "" if made.choice is None else str(len(made.choice.tried))
    size = f"{weight_bits(made.graph):,}"
    return [
        name, str(each), how, size, " ".join(layers), f"{100 * right:.2f}", tried, f"{seconds:.1f}",
    ]  # fmt: skip


def main() -> None:
    """Run the script."""
    parser = options(__doc__)
    parser.add_argument("models", type=Path, nargs="+", help="float models")
    parser.add_argument("--set", default="digits", help="the data set's name")
    parser.add_argument("--data", type=Path, help="the folder of the data set")
    parser.add_argument("--bits", type=int, nargs="+", default=[3, 4, 5, 6])
    parser.add_argument("--by", nargs="+", choices=("outputs", "labels"), default=["outputs"])
    parser.add_argument("--channels", help="fewest and most bits of a channel, as 2-6")
    args = parser.parse_args()
    one_thread()
    data = load(args.set, args.data)
    rows = []
    for path in args.models:
        name = path.name.removesuffix(".onnx").removesuffix(".float")
        for bits in args.bits:
            rows.append(row(name, bits, "all", data, path, bits=f"w{bits}a8"))
            size = int(rows[-1][3].replace(",", ""))
            for by in args.by:
                labels = data.train.labels if by == "labels" else None
                asked = {"target_bits": size, "labels": labels}
                rows.append(row(name, bits, f"chosen by {by}", data, path, **asked))
                if args.channels is not None:
                    asked["channel_bits"] = args.channels
                    how = f"chosen by {by}, channels {args.channels}"
                    rows.append(row(name, bits, how, data, path, **asked))
                print(*rows[-3:], sep="\n", file=sys.stderr, flush=True)
    facts = {"set": args.set, **provenance("onnxruntime", "scipy", "numpy")}
    tell(args, Path(__file__).name, HEAD, rows, facts)


if __name__ == "__main__":
    main()
