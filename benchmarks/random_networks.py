"""Random small networks in hwsim and in the runtimes that they are for: how many outputs differ?

    python benchmarks/random_networks.py [--count N] [--first SEED] [--json FILE] [--page FILE]
        [RUNTIME ...]

So many TensorFlow Lite models of int8 and a third as many of int16, in four kernel sets, and QDQ
files in exporters' idioms. A model that hwsim refuses, or that its runtime refuses or gets wrong,
is not counted as run. A runtime that is not installed is left out, and said so. Exit status 1 where
an output differs that no warning announced.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from common import one_thread, options, provenance, tell  # noqa: E402
from onnx import ModelProto  # noqa: E402
from support.onnx_builder import Array  # noqa: E402
from support.qdq_outcomes import Run, outcome  # noqa: E402

HEAD = ["networks", "runtime", "run", "outputs", "different", "announced"]
FIRST = 20261126


@dataclass(slots=True)
class Tally:
    """Networks that both ran, their outputs, those that differ, and of these the announced."""

    run: int = 0
    outputs: int = 0
    different: int = 0
    announced: int = 0

    def cells(self) -> list[str]:
        """As the table shows them."""
        return [f"{n:,}" for n in (self.run, self.outputs, self.different, self.announced)]


def lite(like: str, seeds: range, *, wide: bool) -> Tally:
    """Random TensorFlow Lite models in one kernel set."""
    from support import tflite_outcomes
    from support.tflite_networks import network

    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            n, outputs = network(seed, wide=wide)
            path = Path(folder) / "m.tflite"
            found = tflite_outcomes.outcome(n, outputs, seed, like, path) if n.inputs else None
            if found is not None:
                tally.run += 1
                tally.outputs += found.codes
                tally.different += found.different
    return tally


def qdq(like: str, seeds: range) -> Tally:
    """Random QDQ files in one runtime."""
    tally, run = Tally(), runtime(like)
    for seed in seeds:
        found = outcome(seed, like, run)
        if isinstance(found, str):
            continue
        differ = found.differing()
        tally.run += 1
        tally.outputs += sum(value.size for value in found.expected.values())
        tally.different += differ
        tally.announced += differ if found.announced() and found.notes else 0
    return tally


def runtime(like: str) -> Run:
    """What runs a QDQ file."""
    if like == "tvm":
        from support.tvm_run import run_tvm

        return run_tvm
    if like == "openvino":
        from support.openvino_run import run_openvino

        return run_openvino
    from support.onnx_run import session_of

    def in_onnx_runtime(model: ModelProto, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        session, _ = session_of(model, optimize=True)
        names = [port.name for port in session.get_outputs()]
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))

    return in_onnx_runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A row: what it needs, and how it is counted."""

    networks: str
    runtime: str
    needs: tuple[str, ...]
    count: Callable[[range], Tally]


def lines() -> Iterator[Line]:
    """All rows."""
    needs = ("ai_edge_litert", "tflite_micro")
    for wide in (False, True):
        for like in ("tflm", "reference", "builtin", "xnnpack"):
            yield Line(
                networks=f"TensorFlow Lite, {'int16' if wide else 'int8'}",
                runtime=like,
                needs=needs,
                count=lambda seeds, like=like, wide=wide: lite(
                    like, seeds[: len(seeds) // 3] if wide else seeds, wide=wide
                ),
            )
    for like in ("onnxruntime", "tvm", "openvino"):
        yield Line(
            networks="QDQ",
            runtime=like,
            needs=(like,),
            count=lambda seeds, like=like: qdq(like, seeds),
        )


def main() -> int:
    """Measure, print a table, write JSON and page."""
    parser = options(__doc__)
    parser.add_argument("runtimes", nargs="*", metavar="RUNTIME", help="all where none is named")
    parser.add_argument("--count", type=int, default=2000, help="networks of a kind")
    parser.add_argument("--first", type=int, default=FIRST, help="the first one's seed")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    rows, silent = [], 0
    for line in lines():
        if args.runtimes and line.runtime not in args.runtimes:
            continue
        missing = [name for name in line.needs if importlib.util.find_spec(name) is None]
        if missing:
            print(f"left out: {line.networks} in {line.runtime} needs {', '.join(missing)}")
            continue
        found = line.count(range(args.first, args.first + args.count))
        rows.append([line.networks, line.runtime, *found.cells()])
        print(*rows[-1], sep=" | ", flush=True)
        silent += found.different - found.announced
    tell(
        args,
        "random_networks.py",
        HEAD,
        rows,
        {"provenance": provenance("numpy"), "seed": args.first},
    )
    return int(bool(silent))


if __name__ == "__main__":
    one_thread()
    sys.exit(main())
