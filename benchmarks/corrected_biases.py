"""What bias correction gives back: the digits' networks, one scale a layer, 2 and 3 bits.

    python benchmarks/corrected_biases.py [--bits w3a8 w2a8] [--json FILE] [--page FILE]

The float networks of `examples/models`, quantized by powers of two with one scale for all weights
of a layer, without and with `correct_bias`. Accuracy is the emulator's on all 360 images to test
with; ranges and errors are of the images to train with.
"""

from __future__ import annotations

from pathlib import Path

from common import ROOT, one_thread, options, provenance, tell

import hwsim
from hwsim.data.sets import load

HEAD = ("network", "bits", "float %", "as rounded %", "corrected %")
NETWORKS = ("digits_cnn_int8", "digits_dw_skip", "digits_cnn_asym")


def main() -> None:
    """Run the script."""
    parser = options(__doc__)
    parser.add_argument("--bits", nargs="+", default=["w3a8", "w2a8"])
    args = parser.parse_args()
    one_thread()
    data, rows = load("digits"), []
    test = data.test.reals(), data.test.labels
    for name in NETWORKS:
        path = ROOT / f"examples/models/{name}.float.onnx"
        for bits in args.bits:
            right = []
            for correct in (False, True):
                made = hwsim.quantize(
                    path, data.train.reals(), bits=bits, per_channel=False, correct_bias=correct
                )
                found = hwsim.accuracy(made.graph, *test, reference=path)
                right.append(100 * found.top1)
            assert found.reference is not None
            rows.append(
                [name, bits, f"{100 * found.reference.top1:.2f}", *map("{:.2f}".format, right)]
            )
    tell(args, Path(__file__).name, HEAD, rows, provenance("onnxruntime", "numpy"))


if __name__ == "__main__":
    main()
