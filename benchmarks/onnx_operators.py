"""Each ONNX operator alone, between quantizers, in hwsim and in a runtime: are the codes equal?

    python benchmarks/onnx_operators.py [--like RUNTIME] [--outputs N] [--only WORD] [--json FILE]
                                        [--page FILE]

RUNTIME is onnxruntime (where it is left out) or tvm.

Settings: uint8 and int8 activations; scales that are powers of two (ties), random, or of one
decimal digit; zero points in the middle or anywhere and odd; weights per tensor and per channel.
At least N outputs of each operator in each setting. Exit status 1 where codes differ and no
warning said so.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402
import onnx  # noqa: E402
from common import one_thread, options, provenance, tell  # noqa: E402
from operator_models import OPERATORS, Array, Maker, Setting  # noqa: E402
from support.onnx_run import session_of  # noqa: E402
from support.tvm_run import run_tvm  # noqa: E402

import hwsim  # noqa: E402
from hwsim.frontends.shared.builder import RuntimeDifference  # noqa: E402

SEED = 20261126
HEAD = ["operator", "compared", "powers of two", "random", "decimal", "settings that warn"]
Row = dict[str, Any]


def settings() -> Iterator[Setting]:
    """All that an operator is tried in."""
    for dtype, scales, odd in itertools.product(
        ("uint8", "int8"), ("powers", "random", "decimal"), (False, True)
    ):
        yield Setting(dtype, scales, odd, odd != (dtype == "int8"))


def ran(model: onnx.ModelProto, feeds: dict[str, Array], *, optimize: bool = True) -> list[Array]:
    """ONNX Runtime's outputs, all optimizations on or none."""
    session, _ = session_of(model, optimize=optimize)
    return [np.asarray(value) for value in session.run(None, feeds)]


def _in_tvm(model: onnx.ModelProto, feeds: dict[str, Array]) -> list[Array]:
    found = run_tvm(model, feeds)
    return [found[port.name] for port in model.graph.output]


RUNS = {"onnxruntime": ran, "tvm": _in_tvm}
"""What gives the outputs, by the name that `load` takes."""
PACKAGES = {"onnxruntime": "onnxruntime", "tvm": "apache-tvm"}


def drawn(maker: Maker, batch: int) -> dict[str, Array]:
    """Reals over the range of the inputs' quantizers, and a tenth beyond it."""
    feeds = {}
    for port in maker.inputs:
        shape = (batch, *(d.dim_value for d in port.type.tensor_type.shape.dim[1:]))
        lo, hi = maker.ranges[port.name]
        reach = 0.1 * (hi - lo)
        feeds[port.name] = maker.rng.uniform(lo - reach, hi + reach, shape).astype(np.float32)
    return feeds


def measured(name: str, setting: Setting, outputs: int, like: str = "onnxruntime") -> Row:
    """Outputs compared and different, or the sentence of a refusal."""
    row: Row = {"setting": str(setting), "compared": 0, "different": 0, "warned": False}
    seed = zlib.crc32(f"{name}|{setting}".encode()) ^ SEED
    maker = Maker(setting, np.random.default_rng(seed))
    made = OPERATORS[name](maker)
    ends = (made,) if isinstance(made, str) else made
    spans = ran(maker.model(ends), drawn(maker, 32), optimize=False)
    finals = []
    for end, values in zip(ends, spans, strict=True):
        lo, hi = (float(v) for v in np.quantile(values[np.isfinite(values)], (0.01, 0.99)))
        finals.append(maker.quantized(end, min(lo, 0.0), max(hi, 1e-3)))
    model = maker.model(finals)
    each = sum(values[0].size for values in spans)
    feeds = drawn(maker, -(-outputs // each))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        path = Path(folder) / "operator.onnx"
        onnx.save(model, path)
        try:
            graph = hwsim.load(path, like=like)
        except hwsim.HwsimError as error:
            return row | {"refused": str(error).replace(str(path), "operator.onnx")}
        row["warned"] = any(issubclass(w.category, RuntimeDifference) for w in said)
    want = RUNS[like](model, feeds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # inputs beyond the range saturate: they are meant to
        got = hwsim.emulate(graph, feeds)
    found = list(got.values()) if isinstance(got, dict) else [got]
    for ours, theirs in zip(found, want, strict=True):
        row["compared"] += theirs.size
        row["different"] += int((ours != theirs).sum())
    return row


def main() -> int:
    """Measure, print a table, write the JSON."""
    parser = options(__doc__)
    parser.add_argument("--like", choices=RUNS, default="onnxruntime", help="the runtime")
    parser.add_argument("--outputs", type=int, default=5000, help="of each operator and setting")
    parser.add_argument("--only", default="", help="operators whose names hold this word")
    args = parser.parse_args()
    rows: dict[str, list[Row]] = {}
    for name in OPERATORS:
        if args.only.lower() in name.lower():
            rows[name] = [measured(name, one, args.outputs, args.like) for one in settings()]
            print("  ".join(_cells(name, rows[name])), flush=True)
    lines = [_cells(name, found) for name, found in rows.items()]
    option = "" if args.like == "onnxruntime" else f" --like {args.like}"
    facts = {
        "provenance": provenance(PACKAGES[args.like], "numpy"),
        "seed": SEED,
        "outputs": args.outputs,
    }
    tell(args, f"onnx_operators.py{option}", HEAD, lines, facts)
    silent = {n for n, found in rows.items() for r in found if r["different"] and not r["warned"]}
    if silent:
        print(f"different without a warning: {', '.join(sorted(silent))}")
    return 1 if silent else 0


def _cells(name: str, found: list[Row]) -> list[str]:
    """What the table says of one operator."""
    refusals = {row["refused"] for row in found if "refused" in row}
    if refusals:
        return [name, "0", *["refused"] * 3, ""]
    counts = [
        sum(row["different"] for row in found if f", {kind} scales" in row["setting"])
        for kind in ("powers", "random", "decimal")
    ]
    warned = sum(row["warned"] for row in found)
    compared = sum(row["compared"] for row in found)
    return [name, f"{compared:,}", *(f"{n:,}" for n in counts), f"{warned} of {len(found)}"]


if __name__ == "__main__":
    one_thread()
    sys.exit(main())
