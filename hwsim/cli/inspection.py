"""What `hwsim inspect` finds out: of a model that is read, and of one that is not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwsim.cli.console import console
from hwsim.cli.sheet import table
from hwsim.cli.tables import show_model
from hwsim.errors import HwsimError
from hwsim.extras import hardware
from hwsim.frontends import load, operators_of
from hwsim.graph import Graph

Facts = Mapping[str, Any]


def facts_of(model: Path, like: str | None) -> dict[str, Any]:
    """Everything about a model, with what has no hardware."""
    from hwsim.reporting.facts import describe

    graph = load(model, like=like)
    return {"model": str(model), **describe(graph), "hardware": hardware_of(graph)}


def hardware_of(graph: Graph) -> dict[str, Any]:
    """What has no hardware, each with its reason; or what must be installed to know it."""
    try:
        lacking = hardware("rtl.layers.table").unsupported(graph)
    except HwsimError as error:
        return {"unsupported": None, "unknown": str(error)}
    return {"unsupported": [{"name": u.name, "kind": u.kind, "why": u.why} for u in lacking]}


def outline_of(model: Path, error: HwsimError) -> dict[str, Any]:
    """The operators of a file that cannot be read, and why; the error again if it has none."""
    listed = operators_of(model)
    if not listed:
        raise error
    rows = [{"name": one.name, "operator": one.op, "why": one.why} for one in listed]
    return {"model": str(model), "unread": str(error), "operators": rows}


def show(facts: Facts) -> None:
    """For people: the tables of a model, or the operators of one that cannot be read."""
    if "unread" in facts:
        _show_outline(facts)
        return
    show_model(facts)
    rounds = [(n["name"], n["rounding"]) for n in facts["nodes"] if n["rounding"]]
    if rounds:
        console().print(table("how numbers are rounded", ("node", "rounding"), rounds))
    totals, lacking = facts["totals"], facts["hardware"]["unsupported"]
    told = (
        f"weights: {totals['weights']:,}; those of sums of products: {totals['weight_bits']:,} bits"
    )
    if totals["state_bits"]:
        told += f"; state: {totals['state_bits']:,} bits"
    console().print(told, markup=False, soft_wrap=True)
    if lacking:
        rows = [(one["kind"], one["name"], one["why"]) for one in lacking]
        console().print(table("without hardware", ("operator", "node", "why"), rows))
    else:
        unknown = facts["hardware"].get("unknown")
        told = f"hardware: not known, {unknown}" if unknown else "hardware: for every node"
        console().print(told, markup=False, soft_wrap=True)


def _show_outline(facts: Facts) -> None:
    """Each operator once with its nodes, those that are not read first."""
    counts: dict[tuple[str, str], list[str]] = {}
    for row in facts["operators"]:
        counts.setdefault((row["operator"], row["why"] or ""), []).append(row["name"])
    found = sorted(counts.items(), key=lambda pair: (not pair[0][1], pair[0]))
    rows = [
        (op, f"{len(names):,}", names[0] + (", …" if len(names) > 1 else ""), why or "")
        for (op, why), names in found
    ]
    heads = ("operator", "nodes", "such as", "why it is not read")
    title = f"{facts['model']} cannot be read; its operators"
    console().print(table(title, heads, rows, ("nodes",)))
