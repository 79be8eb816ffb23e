"""Normalizations and softmaxes of QONNX in the emulator beside QONNX's executor.

    python benchmarks/qonnx_norms.py [--count N] [--json FILE] [--page FILE]

So many networks of one such node each, scales and widths drawn from a seed, six inputs of 60 rows
of 64 numbers each. Counted are all codes of the outputs, those that differ, and by how many steps
of the output at most.
"""

from __future__ import annotations

import sys
import warnings

from common import ROOT, one_thread, options, provenance, tell

sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402
from support.qonnx_nets import executed, off_grid  # noqa: E402
from support.qonnx_norms import KINDS, network  # noqa: E402

import hwsim  # noqa: E402

HEAD = ("operator", "networks", "codes", "different", "steps at most")
SHAPE = (60, 64)
FIRST = 100


def main() -> None:
    """Run the script."""
    parser = options(__doc__)
    parser.add_argument("--count", type=int, default=60, help="networks of each operator")
    args = parser.parse_args()
    one_thread()
    warnings.simplefilter("ignore")
    rows = []
    for kind in KINDS:
        codes = different = 0
        most = 0.0
        for seed in range(FIRST, FIRST + args.count):
            model = network(seed, kind, SHAPE)
            x = off_grid(SHAPE, FIRST + seed, batch=6)
            graph = hwsim.load(model)
            ours, theirs = np.asarray(hwsim.emulate(graph, x)), executed(model, x)
            (port,) = graph.outputs
            step = np.asarray(graph.types()[port.tensor].scales()).max()
            codes, different = codes + ours.size, different + int((ours != theirs).sum())
            most = max(most, float(np.abs(ours - theirs).max() / step))
        rows.append([kind, str(args.count), f"{codes:,}", f"{different:,}", f"{most:.0f}"])
    facts = {"first_seed": FIRST, **provenance("qonnx", "numpy")}
    tell(args, "qonnx_norms.py", HEAD, rows, facts)


if __name__ == "__main__":
    main()
