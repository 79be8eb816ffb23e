"""Where a quantized network's accuracy went, layer by layer, and what 8 bits there give back.

    python benchmarks/attributed_layers.py FLOAT.onnx [--set fashion-mnist] [--data FOLDER]
        [--bits w4a8] [--json FILE] [--page FILE]

Of each layer with weights: their share of its own error, the layer's share of the output's, how
many of the lost samples it decides (`hwsim.attribute` on all samples to test with), and the
accuracy of the network in which its weights alone have 8 bits, by the emulator. Ranges come from
1,024 samples to train with.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from common import one_thread, options, provenance, tell

import hwsim
from hwsim.data.sets import load

HEAD = ("layer", "by weights %", "of the output %", "decides", "with w8 %")


def main() -> None:
    """Run the script."""
    parser = options(__doc__)
    parser.add_argument("model", type=Path, help="the float model")
    parser.add_argument("--set", default="fashion-mnist", help="the data set's name")
    parser.add_argument("--data", type=Path, help="the folder of the data set")
    parser.add_argument("--bits", default="w4a8")
    args = parser.parse_args()
    one_thread()
    warnings.simplefilter("ignore")  # pixels beyond the range of the calibration samples
    data = load(args.set, args.data)
    x, test = data.train.reals(), (data.test.reals(), data.test.labels)
    made = hwsim.quantize(args.model, x, bits=args.bits)
    found = hwsim.attribute(made.graph, args.model, *test)
    assert found.decisions is not None
    decided = {one.edge: one.decided for one in found.decisions.layers}
    rows = []
    layers = [row["name"] for row in made.rows if "weight_bits" in row]
    own = [one for one in found.layers if one.parts["weights"].share_of_own]
    for name, layer in zip(layers, own, strict=True):
        wider = hwsim.quantize(args.model, x, bits=args.bits, layers={name: "w8"}).graph
        of_own, of_output = layer.parts["weights"].share_of_own, layer.share_of_output
        assert of_own is not None and of_output is not None
        rows.append(
            [
                name,
                f"{100 * of_own:.1f}",
                f"{100 * of_output:.1f}",
                f"{decided[layer.edge]:,}",
                f"{100 * hwsim.accuracy(wider, *test).top1:.2f}",
            ]
        )
    right = hwsim.accuracy(made.graph, *test).top1
    rows.append(["all", "", "", f"{found.decisions.lost:,}", f"{100 * right:.2f} (as it is)"])
    tell(args, Path(__file__).name, HEAD, rows, {"bits": args.bits, **provenance("numpy")})


if __name__ == "__main__":
    main()
