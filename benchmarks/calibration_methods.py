"""Methods of calibration: accuracy after quantization, and the outputs' signal to noise.

    python benchmarks/calibration_methods.py FLOAT.onnx [--set fashion-mnist] [--data FOLDER]
        [--bits w8a8 w8a4] [--json FILE] [--page FILE]

Scales are powers of two, ranges come from 1,024 samples to train with, evenly over them. Accuracy
is the emulator's on all samples to test with; in brackets the signal to noise of the outputs on the
calibration samples, in dB against the float model.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from common import one_thread, options, provenance, tell

import hwsim
from hwsim.data.sets import load

METHODS = ("minmax", "average", "percentile:99.99", "percentile:99.9", "entropy", "mse")


def main() -> None:
    """Run the script."""
    parser = options(__doc__)
    parser.add_argument("model", type=Path, help="the float model")
    parser.add_argument("--set", default="fashion-mnist", help="the data set's name")
    parser.add_argument("--data", type=Path, help="the folder of the data set")
    parser.add_argument("--bits", nargs="+", default=["w8a8", "w8a4"])
    args = parser.parse_args()
    one_thread()
    warnings.simplefilter("ignore")  # pixels beyond the range of the calibration samples
    data, rows = load(args.set, args.data), []
    x, xt = data.train.reals(), data.test.reals()
    for bits in args.bits:
        row = [bits]
        for method in METHODS:
            made = hwsim.quantize(args.model, x, bits=bits, method=method)
            right = hwsim.accuracy(made.graph, xt, data.test.labels).top1
            row.append(f"{100 * right:.2f} ({made.sqnr:.1f} dB)")
        rows.append(row)
        print(*row, sep="  ", file=sys.stderr, flush=True)
    facts = {"set": args.set, **provenance("onnxruntime", "numpy")}
    tell(args, Path(__file__).name, ["bits", *METHODS], rows, facts)


if __name__ == "__main__":
    main()
