"""Results for people: rich tables of what the commands return as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim.cli.console import console
from hwsim.cli.sheet import table
from hwsim.reporting.facts import made_text, rate_text, shape_text

if TYPE_CHECKING:
    from hwsim.doctor.checks import Check

Facts = Mapping[str, Any]
WAYS = {"input": "before it is quantized", "output": "its reals are then"}
"""Where the float steps of a port stand."""
RESOURCES = {"lut": "LUT", "ff": "FF", "dsp": "DSP", "bram": "BRAM", "io": "IO"}


def show_model(facts: Facts) -> None:
    """What `hwsim inspect` found out."""
    out = console()
    ports = [
        (
            f"{way} {port['name']}",
            _scale(port["scale"]),
            shape_text(port["user_shape"]),
            port["layout"] if len(port["shape"]) > 1 else "",
            port["element"],
            port["format"],
            str(port["zero_point"]),
        )
        for way, found in (("input", facts["inputs"]), ("output", facts["outputs"]))
        for port in found
    ]
    names = (("port", "scale"), ("shape", "layout"), ("type", "format"), "zero point")
    out.print(table(str(facts["model"]), names, ports, ("zero point",)))
    for way, found in (("input", facts["inputs"]), ("output", facts["outputs"])):
        for port in (port for port in found if "steps" in port):
            told = f"{way} {port['name']}: {WAYS[way]} {', then '.join(port['steps'])} in float32"
            out.print(told, markup=False, soft_wrap=True)
    if facts["state"]:
        _show_state(facts["state"])
    rows = [
        (
            node["name"],
            node["summary"],
            made_text(node, key="shape"),
            made_text(node, key="format"),
            f"{node['macs']:,}" if node["macs"] else "",
            f"{node['weights']:,}" if node["weights"] else "",
            node["carrier"] or "none",
            f"{node['range'][0]:,} to {node['range'][1]:,}",
        )
        for node in facts["nodes"]
    ]
    totals = facts["totals"]
    rows.append(("total", "", "", "", f"{totals['macs']:,}", f"{totals['weights']:,}", "", ""))
    columns = (
        ("node", "operator"), ("shape", "format"), ("MACs", "weights"), ("emulated in", "codes"),
    )  # fmt: skip
    out.print(table("", columns, rows, ("MACs", "weights")))
    sums = [_accumulator(node) for node in facts["nodes"] if node["accumulator"]]
    if sums:
        counts = ("exact", "rounded", "stepped", "overflow")
        heads = (("node", "accumulator"), counts[:2], counts[2:])
        out.print(table("channels by how they add up", heads, sums, counts))
    if facts["emulator"]["trouble"]:
        out.print(f"not emulated: {facts['emulator']['trouble']}", markup=False)
    out.print(f"hash {facts['hash']}", markup=False, soft_wrap=True)


def _show_state(states: Sequence[Facts]) -> None:
    """A row for each state: what a step reads, what the next will read, where it begins."""
    rows = [
        (
            one["name"],
            one["reads"],
            one["next"],
            shape_text(one["shape"]),
            one["format"],
            _between(one["initial"]),
            _between(one["range"]),
        )
        for one in states
    ]
    heads = (("state",), ("edge", "holds next"), ("shape", "format"), ("initial", "codes"))
    console().print(table("", heads, rows))


def _between(ends: Sequence[int]) -> str:
    low, high = ends
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _accumulator(node: Facts) -> tuple[str, ...]:
    acc = node["accumulator"]
    kind = f"{acc['format']} {acc['rounding']} {acc['overflow']}"
    return (node["name"], kind, *(f"{n:,}" for n in acc["channels"].values()))


def show_plans(facts: Facts) -> None:
    """What `hwsim plan` found: plans from the smallest to the fastest, and what to type next."""
    have = facts["available"]
    rows = [
        (
            rate_text(option["fps"]),
            f"{option['cycles']:,}",
            f"{option['multipliers']:,}",
            f"{option['memory_bits'] / 1000:,.0f}",
            "" if option["block_rams"] is None else f"{option['block_rams']:,}",
            option["bottleneck"],
            _room(option),
        )
        for option in facts["options"]
    ]
    counts = ("frames/s", "cycles", "DSP", "kbit", "BRAM")
    title = f"plans for {facts['target']} at {facts['clock_mhz']:g} MHz"
    if have:
        title += f" ({have['dsp']} DSP, {have['bram']} BRAM)"
    out = console()
    out.print(table(title, (*counts, "node", "room"), rows, counts))
    out.print(
        "DSP and kbit are counted, block RAMs estimated; the node bounds the rate.", markup=False
    )
    if have and facts["fastest"] is None:
        out.print(f"no plan fits {facts['target']}", markup=False)
    out.print(f"next: {facts['next']}", markup=False, soft_wrap=True)


def _room(option: Facts) -> str:
    """What the target has too little of, or that it is the plan of `build` alone."""
    over = ", ".join(RESOURCES[kind] for kind in option["over"] or ())
    marks = (["default"] if option["default"] else []) + ([f"too few {over}"] if over else [])
    return "; ".join(marks)


def show_layers(facts: Facts) -> None:
    """What `hwsim to-hls4ml` wrote."""
    rows = [(one["name"], one["layer"], one["result"]) for one in facts["layers"]]
    title = f"{facts['folder']}: a project of hls4ml for {facts['backend']}"
    console().print(table(title, ("node", "layer", "result"), rows))


def show_onnx(facts: Facts) -> None:
    """What `hwsim to-onnx` wrote, and by what it was run."""
    rows = [
        (way, port["name"], port["type"], "×".join(map(str, port["shape"])))
        for way, found in (("input", facts["inputs"]), ("output", facts["outputs"]))
        for port in found
    ]
    title = f"{facts['file']}: {sum(facts['nodes'].values()):,} nodes, {facts['bytes']:,} bytes"
    out = console()
    out.print(table(title, ("port", "name", "type", "shape"), rows))
    found = facts["check"]
    if found is not None:
        by = " and ".join(found["by"])
        out.print(f"the same {found['compared']:,} numbers in {by}", markup=False)
    if facts["in_integers"]:
        told = f"in operators on whole numbers: {', '.join(facts['in_integers'])}"
        out.print(told, markup=False, soft_wrap=True)


def show_build(facts: Facts) -> None:
    """What `hwsim build` made."""
    bottleneck = facts["bottleneck"]
    rows = [
        ("target", f"{facts['target']} {facts.get('part', '')}".strip()),
        ("multiplications", f"{facts['multipliers']:,} a cycle"),
        ("bottleneck", f"{bottleneck['name']}: {bottleneck['cycles']:,} cycles an inference"),
        ("frames per second", f"{rate_text(facts['fps'])} at {facts['clock_mhz']:g} MHz"),
    ]
    if "dsp" not in facts:
        rows.append(("DSP", f"{facts['planned_dsp']:,} planned"))
    for key, label in RESOURCES.items():
        if key in facts:
            have = facts.get("available", {}).get(key)
            of = f" of {have:,} ({100 * facts[key] / have:.0f} %)" if have else ""
            rows.append((label, f"{facts[key]:,}{of}{_estimate(facts)}"))
    if facts.get("fmax_mhz") is not None:
        rows.append(("Fmax", f"{facts['fmax_mhz']:.1f} MHz (asked {facts['clock_mhz']:g} MHz)"))
    rows.append(("Verilog", str(facts["verilog"])))
    if facts.get("pins") == "not chosen" and facts.get("bitstream"):
        rows.append(("pins", "CHOSEN BY NOBODY: not for a board (give yours with --pins)"))
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
            str(run["seed"]),
            f"{run['samples']:,}",
            "" if run["latency"] is None else f"{run['latency']:,}",
            "" if run["cycles_per_inference"] is None else f"{run['cycles_per_inference']:,.1f}",
            f"{run['compared']:,}",
            f"{run['different']:,}",
            f"{len(run['violations']):,}",
        )
        for run in facts["runs"]
    ]
    columns = (
        ("run", "seed"), ("samples", "latency"), "cycles each", ("compared", "differ"),
        "violations",
    )  # fmt: skip
    title = "emulator and RTL in Verilator: " + ("equal" if facts["ok"] else "NOT EQUAL")
    numbers = ("samples", "latency", "cycles each", "compared", "differ", "violations")
    console().print(table(title, columns, rows, numbers))
    if facts.get("waveform"):
        size = Path(facts["waveform"]).stat().st_size / 1e6
        text = f"waveform: {facts['waveform']} ({size:,.1f} MB)"
        console().print(text, markup=False, soft_wrap=True)


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
    console().print(table("", ("tool", ("for", "version"), "", "what it did"), rows))


def _scale(scales: Sequence[float]) -> str:
    return f"{scales[0]:.6g}" if len(scales) == 1 else f"{len(scales)}, by channel"


def show_quantized(facts: Facts) -> None:
    """What `hwsim quantize` made: a row for each place, accuracies, and what to type next."""
    rows = [
        (
            row["name"],
            row["op"],
            _weight_bits(row),
            _power(row.get("weight_scales")),
            _decibels(row.get("weight_sqnr")),
            _code(row),
            _power(None if "scale" not in row else [row["scale"]]),
            _decibels(row.get("sqnr")),
        )
        for row in facts["layers"]
    ]
    columns = (
        ("node", "operator"),
        ("weights", "w scale", "w SQNR dB"),
        ("activations", "a scale", "a SQNR dB"),
    )
    numbers = ("weights", "w SQNR dB", "a SQNR dB")
    title = f"{facts['file']}: {facts['form']}, {facts['bits']}, {facts['scheme']} scales"
    out = console()
    out.print(table(title, columns, rows, numbers))
    if facts["output_sqnr"] is not None:
        out.print(f"outputs: {facts['output_sqnr']:.1f} dB SQNR against the float model's")
    found = facts["accuracy"]
    if found is not None:
        scores = [
            (name, f"{found['samples']:,}", f"{one['right']:,}", f"{100 * one['top1']:.2f} %")
            for name, one in (("float", found["float"]), ("integer", found["integer"]))
        ]
        heads = ("", "samples", "right", "top-1")
        out.print(table("accuracy", heads, scores, heads[1:]))
    for row in facts["layers"]:
        if row["op"] == "input":
            ends = f"{row['least']:g} to {row['most']:g}"
            out.print(f"input {row['name']}: {ends} on the calibration data", markup=False)
    if facts["prepared"]:
        out.print(f"data: {facts['prepared']}", markup=False)
    out.print(f"next: {facts['next']}", markup=False, soft_wrap=True)


def _weight_bits(row: Facts) -> str:
    """`4`, or by channel the average and both ends, `3.0 of 2 to 6`."""
    each = row.get("channel_bits")
    if each is None:
        return str(row.get("weight_bits", ""))
    return f"{sum(each) / len(each):.1f} of {min(each)} to {max(each)}"


def _code(row: Facts) -> str:
    """`u8`, `s8`, with a zero point where there is one."""
    if "bits" not in row:
        return ""
    zero = f" zero {row['zero_point']}" if row["zero_point"] else ""
    return f"{'s' if row['signed'] else 'u'}{row['bits']}{zero}"


def _power(scales: Sequence[float] | None) -> str:
    """`2^-5`, `2^-7..2^-5` of channels; other numbers as they are."""
    if scales is None:
        return ""
    ends = [f"2^{math.frexp(x)[1] - 1}" if math.frexp(x)[0] == 0.5 else f"{x:.3g}" for x in scales]
    return "..".join(dict.fromkeys(ends))


def _decibels(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
