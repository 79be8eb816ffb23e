"""Speed of planning and of writing Verilog on a ResNet-20 for ecp5-85k and on wide layers.

    python benchmarks/planning.py [--rounds N] [--json FILE]

Peers in the same run: planning against making the graph, which looks at every weight once; our
RTLIL against Amaranth's own writer, whose text must be the same. Seconds are of one thread.
Exit status 1 where the texts differ.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from amaranth.back import rtlil as amaranth_rtlil
from common import interleaved, one_thread, provenance, table, write_json
from networks import resnet20, wide_layers

from hwsim.graph import Graph
from rtl.build import Request, build, choose_plan
from rtl.design import Design
from rtl.flow import rtlil
from rtl.layers.requantize import requantizer_form
from rtl.plan import search

REQUEST = Request(target="ecp5-85k", rtl_only=True)


def seconds(run: Callable[[], object]) -> float:
    """Of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def planning(graph: Graph, rounds: int) -> dict[str, float]:
    """Medians: make the graph, plan for the target from nothing, and for one budget."""

    def plan() -> None:
        requantizer_form.cache_clear()
        choose_plan(graph, REQUEST)

    def make() -> None:
        Graph(graph.inputs, graph.nodes, graph.outputs)

    budget = search.least_multipliers(graph) + 20
    return interleaved(
        {
            "make_graph": make,
            "plan": plan,
            "plan_for_multipliers": lambda: search.plan_for_multipliers(graph, budget),
        },
        rounds,
    )


def writing(graph: Graph, rounds: int) -> dict[str, Any]:
    """RTLIL by both writers, and a whole build that stops at the Verilog."""
    design = Design(graph, choose_plan(graph, REQUEST))
    texts: dict[str, str] = {}

    def write(name: str, convert: Callable[..., str]) -> Callable[[], None]:
        def run() -> None:
            texts[name] = convert(design, name="hwsim_top")

        return run

    taken = interleaved(
        {
            "rtlil": write("hwsim", rtlil.convert),
            "rtlil_by_amaranth": write("amaranth", amaranth_rtlil.convert),
        },
        rounds,
    )
    with tempfile.TemporaryDirectory() as folder:
        whole = seconds(lambda: build(graph, Path(folder) / "out", REQUEST))
    return {
        **taken,
        "build_rtl_only": whole,
        "same_text": texts["hwsim"] == texts["amaranth"],
        "characters": len(texts["hwsim"]),
    }


def measure(rounds: int) -> dict[str, Any]:
    """All figures."""
    graphs = {"resnet20": resnet20(), "wide128": wide_layers(128)}
    plans = {name: planning(graph, rounds) for name, graph in graphs.items()}
    written = writing(graphs["resnet20"], max(1, rounds // 5))
    return {
        "rounds": rounds,
        "seconds": {**plans, "writing": written},
        "ratios": {
            **{
                f"{name}: plan / make the graph": found["plan"] / found["make_graph"]
                for name, found in plans.items()
            },
            "Amaranth's RTLIL / ours": written["rtlil_by_amaranth"] / written["rtlil"],
        },
        "same_text": written["same_text"],
        **provenance("numpy", "amaranth"),
    }


def main() -> int:
    """Measure, print and, where asked, write JSON."""
    one_thread()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    figures = measure(options.rounds)
    rows = [
        (f"{group}: {what}", f"{value:.3f} s")
        for group, found in figures["seconds"].items()
        for what, value in found.items()
        if isinstance(value, float)
    ]
    rows += [(name, f"{value:.2f}") for name, value in figures["ratios"].items()]
    print(table(("what", "median"), rows))
    if options.json:
        write_json(options.json, figures)
    return 0 if figures["same_text"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
