"""Compressed networks in hardware: built, verified in Verilator, and counted by Yosys.

    python benchmarks/compressed_designs.py FLOAT.onnx [--set fashion-mnist] [--data FOLDER]
        [--case w4a4 blocks ...] [--cycles N] [--images N] [--keep FOLDER] [--json FILE]

A float model is compressed in each way that there is, without any training, since the integers
matter here and no accuracy. Each design is the smallest that takes at most so many cycles an image
(`half, same DSP`: the fastest within the multipliers of `w8a8`). `codes` are compared with the
emulator's in all runs of `hwsim verify`: without pause, stalled, with a reset in mid-stream.
`plan` stands before what is known without synthesis: cycles beside those of the simulation, look-up
tables by which plans are ranked, multipliers and block RAMs that `hwsim plan` names.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from common import one_thread, options, provenance, tell  # noqa: E402

import hwsim  # noqa: E402
from hwsim.compress.prune.masks import parse_pattern  # noqa: E402
from hwsim.compress.prune.prune import Pruning, prune  # noqa: E402
from hwsim.compress.quantize.nonlinear import WeightSet, encoded  # noqa: E402
from hwsim.data.sets import load  # noqa: E402
from hwsim.fixed import Format, Overflow, Rounding  # noqa: E402
from hwsim.graph import Graph  # noqa: E402
from hwsim.ops import Stepwise, Weighted  # noqa: E402
from rtl.build import Request, build, choose_plan  # noqa: E402
from rtl.flow import cells, yosys  # noqa: E402
from rtl.layers.plans import FoldPlan, LanePlan  # noqa: E402
from rtl.plan.cost import bottleneck, multiplier_cost  # noqa: E402
from rtl.plan.memories import memories  # noqa: E402
from rtl.plan.plan import Plan  # noqa: E402
from rtl.plan.search import NODE, menu  # noqa: E402
from rtl.targets import ecp5, find_target  # noqa: E402

HEAD = [
    *("network", "codes", "different", "cycles", "plan", "LUT", "plan LUT", "FF"),
    *("DSP", "plan DSP", "EBR", "plan EBR", "kbit"),
]
TARGET, CLOCK_MHZ, TOP = "ecp5-85k", 50.0, "hwsim_top"
CALIBRATION = 1024
Make = Callable[[Any, Any], Graph]


def quantized(bits: str, **more: Any) -> Make:
    """Post-training, with scales that are powers of two."""
    return lambda model, x: hwsim.quantize(model, x, bits=bits, **more).graph


def with_set(name: str) -> Make:
    """8-bit weights encoded."""
    return lambda model, x: encoded(quantized("w8a8")(model, x), WeightSet.parse(name))


def pruned(bits: str, pattern: str, amount: float) -> Make:
    """By magnitude."""
    how = Pruning(amount=amount, pattern=parse_pattern(pattern))
    return lambda model, x: prune(quantized(bits)(model, x), how).graph


def with_steps(bits: int, overflow: Overflow, drop: int = 0) -> Make:
    """Accumulators of so many bits, of which each product loses `drop` below."""

    def make(model: Any, x: Any) -> Graph:
        graph = quantized("w4a4")(model, x)
        for node in graph.nodes:
            if isinstance(node.op, Weighted):
                frac = node.op.aligned(graph.input_types(node)[0])[2] - drop
                fmt = Format(True, bits - frac, frac)
                acc = Stepwise(format=fmt, rounding=Rounding.RND, overflow=overflow)
                graph = graph.with_op(node.name, replace(node.op, accumulator=acc))
        return graph

    return make


CASES: Mapping[str, Make] = {
    "w8a8": quantized("w8a8"),
    "w4a8": quantized("w4a8", rounding="adaptive"),
    "w4a4": quantized("w4a4"),
    "ternary": with_set("ternary"),
    "pot4": with_set("pot4"),
    "apot4": with_set("apot4"),
    "codebook3": with_set("codebook3"),
    "75 %": pruned("w4a4", "unstructured", 0.75),
    "75 % in 2:8": pruned("w4a4", "2:8", 0.75),
    "75 % in 4x8": pruned("w4a4", "4x8", 0.75),
    "half": pruned("w8a8", "channels", 0.5),
    "half, same DSP": pruned("w8a8", "channels", 0.5),
    "wrap 14": with_steps(14, Overflow.WRAP),
    "saturate 14": with_steps(14, Overflow.SAT, drop=1),
}


def counted(folder: Path, files: list[str]) -> dict[str, int]:
    """What Yosys makes of a build folder's Verilog for an ECP5."""
    with tempfile.TemporaryDirectory() as place:
        for path in folder.iterdir():
            if path.name in files or path.suffix == ".mem":
                (Path(place) / path.name).write_bytes(path.read_bytes())
        found = yosys.synthesize(Path(place), files, TOP, ecp5.FAMILY, "netlist.json")
    return cells.count(found, ecp5.FAMILY)[0]


def tables(graph: Graph, plan: Plan) -> int:
    """Look-up tables as plans are ranked by them, roughly."""
    total = 0
    for name, ways in menu(graph).ways.items():
        chosen = plan.nodes[name]
        if isinstance(chosen, LanePlan | FoldPlan):
            chosen = replace(chosen, block_constants=False)
        (found,) = (o for way in ways.values() for o in way.options() if o.plan == chosen)
        total += NODE + found.tables
    return total


def measured(name: str, graph: Graph, images: Any, request: Request, folder: Path) -> list[str]:
    """A row: the design built, verified and synthesized."""
    plan = choose_plan(graph, request)
    facts = build(graph, folder, request, plan=plan)
    found = hwsim.verify(folder, images)
    if found.failure:
        print(f"{name}: {found.failure}", file=sys.stderr)
    used = counted(folder, [facts["verilog"]])
    held = [m for each in memories(graph, plan).values() for m in each]
    real = found.outcome.cycles_per_inference
    return [
        *(name, f"{found.compared:,}", f"{found.different:,}"),
        "" if real is None else f"{real:,.0f}",
        f"{bottleneck(graph, plan).cycles:,}",
        f"{used['lut']:,}",
        f"{tables(graph, plan):,}",
        *(f"{used[kind]:,}" for kind in ("ff", "dsp")),
        f"{multiplier_cost(graph, plan):,}",
        f"{used['bram']:,}",
        f"{sum(m.blocks for m in held):,}",
        f"{sum(m.bits for m in held) / 1000:,.0f}",
    ]


def main() -> None:
    """Run the script."""
    parser = options(__doc__)
    parser.add_argument("model", type=Path, help="the float model")
    parser.add_argument("--set", default="fashion-mnist", help="the data set's name")
    parser.add_argument("--data", type=Path, help="the folder of the data set")
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--cycles", type=int, default=60_000, help="of an image")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--keep", type=Path, help="where the build folders stay")
    args = parser.parse_args()
    one_thread()
    find_target(TARGET)
    found = load(args.set, args.data)
    x, images = found.train.reals()[:CALIBRATION], found.test.reals()[: args.images]
    request = Request(
        target=TARGET, clock_mhz=CLOCK_MHZ, fps=CLOCK_MHZ * 1e6 / args.cycles, rtl_only=True
    )
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for name in args.case:
            graph = CASES[name](args.model, x)
            ask = request
            if name.endswith("same DSP"):
                whole = CASES["w8a8"](args.model, x)
                budget = multiplier_cost(whole, choose_plan(whole, request))
                ask = replace(request, fps=None, max_dsp=budget)
            folder = (args.keep or Path(place)) / name.replace(" ", "_")
            rows.append(measured(name, graph, images, ask, folder))
            print(*rows[-1], sep="  ", file=sys.stderr, flush=True)
    facts = {"set": args.set, "images": args.images, "target": TARGET, "clock_mhz": CLOCK_MHZ}
    tell(args, Path(__file__).name, HEAD, rows, {**facts, **provenance("numpy", "amaranth")})
    if any(row[HEAD.index("different")] != "0" for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
