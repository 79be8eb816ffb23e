"""TensorFlow Lite in hwsim and in its own runtimes, four kernel sets: are the codes equal?

    python benchmarks/tflite_operators.py [--samples N] [--least N] [--json FILE] [--page FILE]
        [MODEL ...]

Each operator that the front end reads, alone, in several forms: scales that are powers of two
(ties) or random, zero points in the middle or anywhere, so many samples each. MODELs are `.tflite`
files with one input, which are compared besides; one with state runs as one sequence. Exit status 1
where a code differs.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402
from common import one_thread, options, provenance, tell  # noqa: E402
from support.tflite_forms import FORMS, feeds, written  # noqa: E402
from support.tflite_maker import Build  # noqa: E402
from support.tflite_operators import WIDE  # noqa: E402
from support.tflite_run import SETS, NotRunError, ran  # noqa: E402

import hwsim  # noqa: E402

SEED = 20261126
HEAD = ["operator or model", "compared, a set", *(f"different, {like}" for like in SETS)]
OF_INT16 = " of int16"
Inputs = dict[str, np.ndarray[Any, Any]]


def compared(model: bytes, like: str, inputs: Inputs) -> tuple[int, int] | None:
    """Outputs compared and different; None where the runtime or the front end refuses the model."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(model)
        try:
            want = ran(model, like, inputs)
            graph = hwsim.load(path, like=like)
        except (NotRunError, hwsim.HwsimError):
            return None
    feeds = {name: x[None] if graph.state else x for name, x in inputs.items()}
    got = hwsim.emulate(graph, feeds)
    found = list(got.values()) if isinstance(got, dict) else [got]
    pairs = [(a[0] if graph.state else a, b) for a, b in zip(found, want, strict=False)]
    return sum(a.size for a, _ in pairs), sum(int((a != b).sum()) for a, b in pairs)


def operator(name: str, builds: Sequence[Build], samples: int, least: int) -> list[str]:
    """The line of one operator, over all its forms, again and again until there are enough."""
    totals, different = dict.fromkeys(SETS, 0), dict.fromkeys(SETS, -1)
    wide = name.endswith(OF_INT16)
    for turn in itertools.count():
        before = dict(totals)
        wanted = [like for like in SETS if totals[like] < least]
        for number, build in enumerate(builds):
            for powers, odd in itertools.product((False, True), repeat=2):
                key = f"{name}|{number}|{powers}|{odd}|{turn}"
                seed = zlib.crc32(key.encode()) ^ SEED
                model, lite, given = written(build, seed, powers=powers, odd=odd, wide=wide)
                inputs = feeds(lite, given, samples, seed + 1)
                for like in wanted:
                    counts = compared(model, like, inputs)
                    if counts is not None:
                        totals[like] += counts[0]
                        different[like] = max(different[like], 0) + counts[1]
        if all(totals[like] >= least or totals[like] == before[like] for like in SETS):
            break
    counted = [totals[like] for like in SETS if totals[like]]
    return [name, f"{min(counted, default=0):,}", *(_shown(different[like]) for like in SETS)]


def operators() -> dict[str, Sequence[Build]]:
    """All forms of each operator, by the name of its line."""
    wide = {f"{name}{OF_INT16}": builds for name, builds in WIDE.items()}
    return dict(sorted((FORMS | wide).items()))


def published(path: Path, samples: int) -> list[str]:
    """The line of one model, with random inputs."""
    graph, totals = hwsim.load(path), 0
    (port,) = graph.inputs
    rng = np.random.default_rng(SEED)
    x = rng.integers(-128, 128, (samples, *port.type.shape)).astype(np.int8)
    x[samples // 2 :] = np.clip(
        rng.normal(port.type.zero_point, 25, x[samples // 2 :].shape), -128, 127
    )
    line = []
    for like in SETS:
        counts = compared(path.read_bytes(), like, {port.name: x})
        totals = max(totals, 0 if counts is None else counts[0])
        line.append(_shown(-1 if counts is None else counts[1]))
    return [path.stem, f"{totals:,}", *line]


def _shown(different: int) -> str:
    return "refused" if different < 0 else f"{different:,}"


def main() -> int:
    """Measure, print a table, write JSON and page."""
    parser = options(__doc__)
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL")
    parser.add_argument("--samples", type=int, default=240, help="of each form; of a model twice")
    parser.add_argument("--least", type=int, default=50_000, help="outputs of a kernel set")
    args = parser.parse_args()
    lines = [
        line
        for name, builds in operators().items()
        if (line := operator(name, builds, args.samples, args.least))[1] != "0"
    ]
    lines += [published(path, 2 * args.samples) for path in args.models]
    facts = {
        "provenance": provenance("ai-edge-litert", "tflite-micro", "numpy"),
        "seed": SEED,
        "samples": args.samples,
    }
    tell(args, "tflite_operators.py", HEAD, lines, facts)
    return int(any(cell not in ("0", "refused") for line in lines for cell in line[2:]))


if __name__ == "__main__":
    one_thread()
    sys.exit(main())
