"""What each layer costs, as a table: cycles, multipliers, memory, and where the time goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hwsim.build_folder import BuildFacts, PlanRow, RowOutput
from hwsim.graph import Graph
from hwsim.reporting.facts import describe, shape_text
from hwsim.reporting.markup import esc, table

COSTS = ("Layer", "Cycles", "Multi-pliers", "Memory", "Lanes", "Fold")
SYNTHESIZED = {"lut": "Logic (LUT)", "ff": "Registers (FF)", "dsp": "DSP", "bram": "BRAM"}
REST = ("Operator", "Built as", "Output", "Codes", "Multiply-adds", "Weights")
TEXTS = ("Layer", "Fold", "Operator", "Built as", "Output", "Codes")
KIB = 1024


def cost_table(graph: Graph, build: BuildFacts) -> str:
    """A row for each node of the plan, with a bar for its share of the slowest's time."""
    model = {node["name"]: node for node in describe(graph)["nodes"]}
    slowest = max((row.cycles for row in build.plan), default=0)
    counts = build.implementation.layers if build.implementation else {}
    columns = (*COSTS, *(SYNTHESIZED.values() if counts else ()), *REST)
    bound = build.bottleneck.name
    rows = [
        (
            *_costs(row, model.get(row.node, {}), slowest, bound=bound),
            *_synthesized(counts, row.node),
            *_rest(row, model.get(row.node, {})),
        )
        for row in build.plan
    ]
    quiet = [not row.multipliers for row in build.plan]
    if left := _left_over(counts, {row.node for row in build.plan}):
        rows.append(
            ("ports, FIFOs and the rest", *[""] * (len(COSTS) - 1), *left, *[""] * len(REST))
        )
        quiet.append(True)
    numbers = [name for name in columns if name not in TEXTS]
    return table(columns, rows, caption="Cost by layer", numbers=numbers, quiet=quiet)


def memory_bits(row: PlanRow, known: Mapping[str, Any]) -> int:
    """Bits that a layer stores: as the plan counted them, or its weights and its inputs' FIFOs.

    A FIFO holds beats of as many codes as the layer's lanes, taken as wide as its output's.
    """
    if row.memory_bits is not None:
        return row.memory_bits
    fifos: int = sum(row.fifos.values()) * row.lanes * known.get("bits", 0)
    return fifos + int(known.get("weight_bits", 0))


def bytes_text(bits: int) -> str:
    """`72 B`, `4.5 KiB`; nothing for no memory."""
    size = bits / 8
    if not bits:
        return ""
    return f"{size:,.0f} B" if size < 10 * KIB else f"{size / KIB:,.1f} KiB"


def _costs(row: PlanRow, known: Mapping[str, Any], slowest: int, *, bound: str) -> tuple[str, ...]:
    share = 100 * row.cycles / slowest if slowest else 0.0
    style = "share slowest" if row.node == bound else "share"
    return (
        esc(row.node),
        f'{row.cycles:,}<i class="{style}" style="width:{share:.1f}%"></i>',
        _count(row.multipliers),
        esc(bytes_text(memory_bits(row, known))),
        _count(row.lanes),
        f"{row.pe:,} × {row.simd:,}" if row.pe and row.simd else "",
    )


def _synthesized(counts: Mapping[str, Any], node: str) -> tuple[str, ...]:
    """What synthesis counted for a node; nothing where it counted none by node."""
    return tuple(_count(counts.get(node, {}).get(key)) for key in SYNTHESIZED) if counts else ()


def _left_over(counts: Mapping[str, Any], nodes: set[str]) -> tuple[str, ...]:
    """What synthesis counted that belongs to no node."""
    others = [found for name, found in counts.items() if name not in nodes]
    sums = {key: sum(found.get(key, 0) for found in others) for key in SYNTHESIZED}
    return tuple(_count(n) for n in sums.values()) if any(sums.values()) else ()


def _rest(row: PlanRow, known: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        esc(known.get("summary", row.operator)),
        esc(_built_as(row)),
        esc(_made(row, lambda made: shape_text(made.shape))),
        esc(_made(row, lambda made: made.format)),
        _count(row.macs),
        _count(known.get("weights")),
    )


def _built_as(row: PlanRow) -> str:
    """The implementation that the plan chose, how serial it is, and where its constants lie."""
    found = [row.implementation] if row.implementation else []
    found += [f"{row.bits} bit{'s' if row.bits > 1 else ''} a cycle"] if row.bits else []
    found += [f"constants in {row.constants}"] if row.constants else []
    return ", ".join(found)


def _made(row: PlanRow, text: Callable[[PlanRow | RowOutput], str]) -> str:
    """What is to say of each output that differs from the others."""
    return ", ".join(dict.fromkeys(text(made) for made in row.outputs or (row,)))


def _count(value: Any) -> str:
    return f"{value:,}" if value else ""
