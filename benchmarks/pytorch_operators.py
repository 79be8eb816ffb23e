"""Exported programs in hwsim, in ExecuTorch and in PyTorch: are the codes equal?

    python benchmarks/pytorch_operators.py [--least N] [--json FILE] [--page FILE] [NAME ...]

Each operator between quantizers, in several forms: scales that are powers of two (ties) or
random, zero points anywhere; and whole networks, quantized by PT2E with ExecuTorch's own
quantizer. Both are lowered for the XNNPACK delegate and run, as they are run by PyTorch. A `.pt2`
is compared with both, the `.pte` with ExecuTorch. Needs executorch, torch and torchao. Exit
status 1 where a code differs and the load has not said so.
"""

from __future__ import annotations

import math
import sys
import tempfile
import warnings
import zlib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from common import one_thread, options, provenance, tell  # noqa: E402
from support.executorch_run import lowered, ran  # noqa: E402
from support.exported import Maker, saved  # noqa: E402
from support.exported_networks import NETWORKS, quantized  # noqa: E402
from support.exported_operators import BY_ITSELF, OPERATORS  # noqa: E402

import hwsim  # noqa: E402

SEED = 20261126
WAYS = ("executorch, .pt2", "executorch, .pte", "torch, .pt2")
HEAD = ["operator or network", "compared", *(f"different, {way}" for way in WAYS), "announced"]
Arrays = list[np.ndarray[Any, Any]]


def by_torch(program: Any, feeds: Arrays) -> Arrays:
    """The program run as it is, one sample at a time."""
    module, rows = program.module(), []
    with torch.no_grad():
        for k in range(len(feeds[0])):
            out = module(*(torch.from_numpy(x[k : k + 1]) for x in feeds))
            rows.append(out if isinstance(out, tuple) else (out,))
    return [np.concatenate([part.numpy() for part in parts]) for parts in zip(*rows, strict=True)]


class Line:
    """Counts of one operator or network."""

    def __init__(self, name: str) -> None:
        self.name, self.compared = name, 0
        self.different = dict.fromkeys(WAYS, 0)
        self.announced: set[str] = set()
        self.refused: set[str] = set()
        self.silent = False

    def add(self, program: Any, feeds: Arrays, folder: Path) -> None:
        """One more program."""
        model = lowered(program)
        (folder / "m.pt2").write_bytes(saved(program))
        (folder / "m.pte").write_bytes(model)
        delegate, eager = ran(model, feeds), by_torch(program, feeds)
        self.compared += sum(out.size for out in delegate)
        for way in WAYS:
            like, suffix = way.split(", ")
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                try:
                    graph = hwsim.load(folder / f"m{suffix}", like=like)
                except hwsim.HwsimError:
                    self.refused.add(way)
                    continue
            got = hwsim.emulate(
                graph, {p.name: x for p, x in zip(graph.inputs, feeds, strict=True)}
            )
            found = list(got.values()) if isinstance(got, dict) else [got]
            wanted = delegate if like == "executorch" else eager
            count = sum(int((a != b).sum()) for a, b in zip(found, wanted, strict=True))
            self.different[way] += count
            self.announced |= {way} if said else set()
            self.silent |= bool(count and not said)

    def cells(self) -> list[str]:
        """The line of the table."""
        counts = [
            f"{self.different[way]:,}" + (", some refused" if way in self.refused else "")
            for way in WAYS
        ]
        told = "; ".join(way for way in WAYS if way in self.announced)
        return [self.name, f"{self.compared:,}", *counts, told or "nothing"]


def operator(name: str, least: int, folder: Path) -> Line:
    """One operator in all its forms."""
    line = Line(name)
    builds = {**OPERATORS, **BY_ITSELF}[name]
    for number, build in enumerate(builds):
        for powers in (True, False):
            key = zlib.crc32(f"{name}|{number}|{powers}".encode()) ^ SEED
            maker = Maker(np.random.default_rng(key), powers=powers)
            program = maker.exported(build(maker))
            size = sum(
                math.prod(meta.meta["val"].shape)
                for meta in next(iter(reversed(program.graph.nodes))).args[0]
            )
            samples = math.ceil(least / (2 * len(builds) * size))
            line.add(program, maker.feeds(samples), folder)
    return line


def main() -> int:
    """Measure, print a table, write JSON and page."""
    parser = options(__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of an operator or a network")
    parser.add_argument("--least", type=int, default=50_000, help="outputs of each operator")
    parser.add_argument("--samples", type=int, default=2000, help="inputs of each network")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for name in [*OPERATORS, *BY_ITSELF, *NETWORKS]:
            if args.names and name not in args.names:
                continue
            if name in NETWORKS:
                line = Line(name)
                program, feeds = quantized(*NETWORKS[name], seed=SEED, samples=args.samples)
                line.add(program, feeds, Path(folder))
            else:
                line = operator(name, args.least, Path(folder))
            print(*line.cells(), sep=" | ", flush=True)
            lines.append(line)
    rows = [line.cells() for line in lines]
    facts = {"provenance": provenance("torch", "executorch", "numpy"), "seed": SEED}
    tell(args, "pytorch_operators.py", HEAD, rows, facts)
    return int(any(line.silent for line in lines))


if __name__ == "__main__":
    one_thread()
    sys.exit(main())
