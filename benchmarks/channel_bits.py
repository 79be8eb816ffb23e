"""Bits of weights by output channel beside the same bits for all: accuracy within the same size.

    python benchmarks/channel_bits.py FLOAT.onnx ... [--set NAME] [--data FOLDER] [--bits 3 4]
        [--channels 2-6] [--json FILE] [--page FILE]

For each number of bits, scheme and rounding the network is quantized with so many bits of weights
in every channel, and then with as many on average in each layer, by channel. Biases are corrected
in all of them, activations have 8 bits. Bits are chosen on samples to train with; the accuracy is
that of the samples to test with, all of them, in the emulator. `widest` are the bits of a word in a
memory of weights, layer by layer.
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

HEAD = [
    *("network", "bits each", "scales", "rounding", "bits, same for all", "test %"),
    *("bits by channel", "test % by channel", "widest", "CPU s"),
]


def one(data: Any, path: Path, **asked: Any) -> tuple[str, str, str]:
    """Bits of all weights, accuracy, and the widest channel of each layer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pixels beyond the range of the calibration samples
        made = hwsim.quantize(path, data.train.reals(), correct_bias=True, **asked)
        right = hwsim.accuracy(made.graph, data.test.reals(), data.test.labels).top1
    widest = [str(row["weight_bits"]) for row in made.rows if "weight_bits" in row]
    return f"{weight_bits(made.graph):,}", f"{100 * right:.2f}", " ".join(widest)


def main() -> None:
    """Run the script."""
    parser = options(__doc__)
    parser.add_argument("models", type=Path, nargs="+", help="float models")
    parser.add_argument("--set", default="digits", help="the data set's name")
    parser.add_argument("--data", type=Path, help="the folder of the data set")
    parser.add_argument("--bits", type=int, nargs="+", default=[3, 4])
    parser.add_argument("--channels", default="2-6", help="fewest and most bits of a channel")
    args = parser.parse_args()
    one_thread()
    data = load(args.set, args.data)
    rows = []
    for path in args.models:
        name = path.name.removesuffix(".onnx").removesuffix(".float")
        for bits in args.bits:
            for scheme in ("power-of-two", "symmetric"):
                for rounding in ("nearest", "feedback"):
                    asked = {"bits": f"w{bits}a8", "scheme": scheme, "rounding": rounding}
                    start = time.process_time()
                    same = one(data, path, **asked)
                    mixed = one(data, path, **asked, channel_bits=args.channels)
                    spent = time.process_time() - start
                    rows.append(
                        [name, str(bits), scheme, rounding, *same[:2], *mixed, f"{spent:.1f}"]
                    )
                    print(*rows[-1], sep="  ", file=sys.stderr, flush=True)
    facts = {"set": args.set, "channels": args.channels, **provenance("onnxruntime", "numpy")}
    tell(args, Path(__file__).name, HEAD, rows, facts)


if __name__ == "__main__":
    main()
