"""What `attribute` found as HTML: tables, and histograms as pictures against their formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hwsim.compress.attribution.chain import PARTS
from hwsim.reporting.histograms import draw
from hwsim.reporting.markup import esc, scrolling, table
from hwsim.reporting.page import section, sheet

Facts = Mapping[str, Any]
HEADS = ("Layer", "Format", "SQNR (dB)", "Own (dB)", "Mean", "Largest")
NOTE = (
    '<p class="note">Errors in reals against the float model. The parts are shares of a layer\'s'
    " squared error and sum to 100 %: what it inherits, then what each thing of the integer layer"
    " changes, put in the place of the float one in this order. A part that works against the"
    " others is below 0. The last column is the layer's share of the output's error.</p>"
)


def whole(facts: Facts, model: str) -> str:
    """A page that opens from disk, of what `Attribution.to_dict` gives."""
    lead = f"{model} against {facts['reference']} on {facts['samples']:,} samples"
    return sheet("Where accuracy went", lead, [body(facts)])


def body(facts: Facts) -> str:
    """The sections, for a page or a notebook."""
    parts = [section("Errors by layer", NOTE + _layers(facts["layers"]))]
    if facts["decisions"] is not None:
        parts.append(section("Lost samples", _decisions(facts["decisions"])))
    shown = "".join(_figure(one, one["edge"]) for one in facts["layers"])
    parts.append(section("Activations against their formats", _figures(shown)))
    shown = "".join(_figure(one, one["node"]) for one in facts["weights"])
    if shown:
        parts.append(section("Weights against their formats", _figures(shown)))
    lacking = facts["no_counterpart"]
    if lacking["edges"] or lacking["tensors"]:
        names = ", ".join((*lacking["edges"], *lacking["tensors"]))
        parts.append(section("Not compared", f'<p class="note">{esc(names)}</p>'))
    return "".join(parts)


def _layers(layers: Sequence[Facts]) -> str:
    used = [part for part in PARTS if any(one["parts"][part]["rms"] for one in layers)]
    columns = (*HEADS, *(part.capitalize() for part in used), "Of the output")
    rows = [_row(one, used) for one in layers]
    return table(columns, rows, caption="Errors by layer", numbers=columns[2:])


def _row(one: Facts, used: Sequence[str]) -> tuple[str, ...]:
    ratios = (one["sqnr_db"], one["own_sqnr_db"])
    return (
        esc(one["edge"]),
        esc(one["format"]),
        *("exact" if ratio is None else f"{ratio:.1f}" for ratio in ratios),
        f"{one['mean']:.3g}",
        f"{one['largest']:.3g}",
        *(_percent(one["parts"][part]["share"]) for part in used),
        "" if one["share_of_output"] is None else _percent(one["share_of_output"]),
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _decisions(facts: Facts) -> str:
    told = (
        f'<p class="note">{facts["float_right"]:,} right in float, {facts["integer_right"]:,} in'
        f" integers: {facts['lost']:,} lost, {facts['gained']:,} gained. A lost sample belongs to"
        " the layer from which on the network must be float to get it right; first is the layer"
        " with which it goes wrong, counted from the input.</p>"
    )
    rows = [
        (
            esc(one["edge"]),
            f"{one['decided']:,}",
            f"{one['first']:,}",
            esc(", ".join(f"{c['from']} as {c['to']}: {c['samples']:,}" for c in one["changes"])),
        )
        for one in facts["layers"]
        if one["decided"] or one["first"]
    ]
    columns = ("Layer", "Decides", "First", "Classes")
    return told + table(columns, rows, caption="Lost samples", numbers=columns[1:3])


def _figures(shown: str) -> str:
    key = (
        '<p class="note">Numbers of the float model; the dashed lines are the ends of the integer'
        " format, and what lies beyond them is orange.</p>"
    )
    return f'{key}<div class="samples">{shown}</div>'


def _figure(facts: Facts, name: str) -> str:
    label = f"Histogram of {facts['tensor']} against {facts['format']}"
    steps = facts["steps"]
    step = f"{steps[0]:.4g}" if steps[0] == steps[1] else f"{steps[0]:.4g} to {steps[1]:.4g}"
    drawn = scrolling(draw(facts["histogram"], facts["ends"], label), label, hint=False)
    return (
        f"<figure>{drawn}"
        f"<figcaption>{esc(name)} <small>{esc(facts['format'])}, step {esc(step)}</small>"
        "</figcaption></figure>"
    )
