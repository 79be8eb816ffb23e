"""OpenVINO's operations in hwsim and in its CPU plugin: are the outputs equal, to the last bit?

    python benchmarks/openvino_operators.py [--samples N] [--least N] [--json FILE] [--page FILE]

Each operation that stands between quantizers, alone: scales that are powers of two (ties) or
random, places of 0 at 0, at 128 or anywhere; the last quantizer at the end of the model, and before
a layer that shows its codes. Exit status 1 where an output differs that no warning announced.
"""

from __future__ import annotations

import itertools
import sys
import warnings
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402
from common import one_thread, options, provenance, tell  # noqa: E402
from support.openvino_forms import FORMS, SETTINGS, inputs, model  # noqa: E402
from support.openvino_models import run  # noqa: E402

import hwsim  # noqa: E402
from hwsim.frontends.shared.builder import RuntimeDifference  # noqa: E402

SEED = 20261126
HEAD = ["operation", "compared", "different", "different, announced"]


def operation(name: str, samples: int, least: int) -> tuple[int, int, int]:
    """Outputs compared, different in silence, and different where that was announced."""
    total = silent = announced = 0
    for turn in itertools.count():
        for number, (setting, shown) in enumerate(itertools.product(SETTINGS, (True, False))):
            rng = np.random.default_rng(zlib.crc32(f"{name}|{number}|{turn}".encode()) ^ SEED)
            given = model(name, setting, rng, shown=shown)
            x = inputs(given, rng, samples)
            (want,) = run(given, x)
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                graph = hwsim.load(given)
            got = np.asarray(hwsim.emulate(graph, x), np.float32)
            differing = int((got != want).sum())
            total += want.size
            if any(issubclass(w.category, RuntimeDifference) for w in said):
                announced += differing
            else:
                silent += differing
        if total >= least:
            return total, silent, announced


def main() -> int:
    """Measure, print a table, write JSON and page."""
    parser = options(__doc__)
    parser.add_argument("--samples", type=int, default=24, help="of each form")
    parser.add_argument("--least", type=int, default=50_000, help="outputs of an operation")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    counts = {name: operation(name, args.samples, args.least) for name in FORMS}
    lines = [[name, *(f"{count:,}" for count in found)] for name, found in counts.items()]
    facts = {"provenance": provenance("openvino", "numpy"), "seed": SEED, "samples": args.samples}
    tell(args, "openvino_operators.py", HEAD, lines, facts)
    return int(any(silent for _, silent, _ in counts.values()))


if __name__ == "__main__":
    one_thread()
    sys.exit(main())
