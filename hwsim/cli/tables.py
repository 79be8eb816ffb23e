"""Results for people: rich tables of what the commands return as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hwsim.cli.console import console
from hwsim.reporting.facts import shape_text

if TYPE_CHECKING:
    from rich.table import Table

    from hwsim.doctor import Check

Facts = Mapping[str, Any]
WIDE = 110  # columns of a terminal that has room for all columns of a model's table
FOLDED = ("node", "port", "", "what it did")  # columns that may take several lines
RESOURCES = {"lut": "LUT", "ff": "FF", "dsp": "DSP", "bram": "BRAM", "io": "IO"}


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()
) -> Table:
    """A plain table; names of models are text and never markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(title=Text(title), box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for column in columns:
        made.add_column(
            column,
            justify="right" if column in right else "left",
            no_wrap=column not in FOLDED,
            overflow="fold" if column in FOLDED else "ellipsis",
        )
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return made


def show_model(facts: Facts) -> None:
    """What `hwsim inspect` found out."""
    out = console()
    ports = [
        (
            f"{way} {port['name']}",
            shape_text(port["user_shape"]),
            port["layout"] if len(port["shape"]) > 1 else "",
            port["format"],
            _scale(port["scale"]),
            str(port["zero_point"]),
        )
        for way, found in (("input", facts["inputs"]), ("output", facts["outputs"]))
        for port in found
    ]
    names = ("port", "shape", "layout", "format", "scale", "zero point")
    out.print(table(str(facts["model"]), names, ports, ("zero point",)))
    rows = [
        (
            node["name"],
            node["summary"],
            shape_text(node["shape"]),
            node["format"],
            f"{node['macs']:,}" if node["macs"] else "",
            f"{node['weights']:,}" if node["weights"] else "",
            node["carrier"] or "none",
            f"{node['range'][0]:,} to {node['range'][1]:,}",
        )
        for node in facts["nodes"]
    ]
    totals = facts["totals"]
    rows.append(("total", "", "", "", f"{totals['macs']:,}", f"{totals['weights']:,}", "", ""))
    columns = ("node", "operator", "shape", "format", "MACs", "weights", "emulated in", "codes")
    shown = len(columns) if out.width >= WIDE else columns.index("emulated in")
    out.print(table("", columns[:shown], [row[:shown] for row in rows], ("MACs", "weights")))
    sums = [_accumulator(node) for node in facts["nodes"] if node["accumulator"]]
    if sums:
        counts = ("exact", "rounded", "stepped", "overflow")
        heads = ("node", "accumulator", *counts)
        out.print(table("channels by how they add up", heads, sums, counts))
    if facts["emulator"]["trouble"]:
        out.print(f"not emulated: {facts['emulator']['trouble']}", markup=False)
    out.print(f"hash {facts['hash']}", markup=False)


def _accumulator(node: Facts) -> tuple[str, ...]:
    acc = node["accumulator"]
    kind = f"{acc['format']} {acc['rounding']} {acc['overflow']}"
    return (node["name"], kind, *(str(n) for n in acc["channels"].values()))


def show_build(facts: Facts) -> None:
    """What `hwsim build` made."""
    bottleneck = facts["bottleneck"]
    rows = [
        ("target", f"{facts['target']} {facts.get('part', '')}".strip()),
        ("multipliers", f"{facts['multipliers']:,}"),
        ("bottleneck", f"{bottleneck['name']}: {bottleneck['cycles']:,} cycles an inference"),
    ]
    for key, label in RESOURCES.items():
        if key in facts:
            have = facts.get("available", {}).get(key)
            of = f" of {have:,} ({100 * facts[key] / have:.0f} %)" if have else ""
            rows.append((label, f"{facts[key]:,}{of}{_estimate(facts)}"))
    if facts.get("fmax_mhz") is not None:
        rows.append(("Fmax", f"{facts['fmax_mhz']:.1f} MHz (asked {facts['clock_mhz']:g} MHz)"))
    rows.append(("Verilog", str(facts["verilog"])))
    if facts.get("bitstream"):
        rows.append(("bitstream", str(facts["bitstream"])))
    console().print(table("built", ("", ""), rows))


def _estimate(facts: Facts) -> str:
    return " (estimate of an open flow)" if facts.get("estimate") else ""


def show_outcome(facts: Facts) -> None:
    """What `hwsim verify` found."""
    rows = [
        (
            run["name"],
            str(run["samples"]),
            f"{run['compared']:,}",
            f"{run['different']:,}",
            str(len(run["violations"])),
            "" if run["cycles_per_inference"] is None else f"{run['cycles_per_inference']:,.1f}",
            "" if run["latency"] is None else f"{run['latency']:,}",
            str(run["seed"]),
        )
        for run in facts["runs"]
    ]
    columns = (
        "run", "samples", "compared", "different", "broken rules", "cycles/inference", "latency",
        "seed",
    )  # fmt: skip
    title = "emulator and RTL in Verilator: " + ("equal" if facts["ok"] else "NOT EQUAL")
    console().print(table(title, columns, rows, columns[1:]))


def show_checks(checks: Sequence[Check]) -> None:
    """What `hwsim doctor` found."""
    rows = [
        (
            check.name,
            check.group,
            check.version or "",
            "works" if check.works else "MISSING" if check.version is None else "FAILS",
            check.detail if check.works else f"{check.detail}; {check.install}",
        )
        for check in checks
    ]
    console().print(table("", ("tool", "for", "version", "", "what it did"), rows))


def _scale(scales: Sequence[float]) -> str:
    return f"{scales[0]:.6g}" if len(scales) == 1 else f"{len(scales)}, by channel"
