"""What `hazards` found, for people."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hwsim.cli.console import console, print_json, print_note
from hwsim.cli.sheet import table

if TYPE_CHECKING:
    from hwsim.losses.suggestion import Suggestion

Facts = Mapping[str, Any]
OUT = ("wrapped", "saturated", "zeroed", "clamped")


def show_hazards(facts: Facts, found: int) -> None:
    """A row a place, the largest effect first, then what is known by name."""
    out = console()
    rows = [_row(one) for one in facts["hazards"]]
    if rows:
        columns = (
            ("node", "what"),
            ("format", "modes"),
            ("out of range", "rounded", "largest loss"),
            ("reaches", "worst case"),
            ("needs", "at worst"),
            ("outputs changed", "argmax"),
        )
        numbers = ("out of range", "rounded", "largest loss", "outputs changed", "argmax")
        out.print(table(_title(facts, found), columns, rows, numbers))
        for one in facts["hazards"]:
            if one["not_measured"]:
                out.print(f"{one['name']}: no effect measured: {one['not_measured']}", markup=False)
    else:
        out.print(
            f"nothing is lost: {facts['sites']} places, {facts['samples']:,} samples", markup=False
        )
    for sentence in facts["named"]:
        out.print(sentence, markup=False, soft_wrap=True)
    if facts["not_looked_into"]:
        kinds = ", ".join(facts["not_looked_into"])
        out.print(f"not looked into: operators of kind {kinds}", markup=False, soft_wrap=True)


def show_suggestion(model: str, made: Suggestion, *, as_json: bool) -> None:
    """Precisions as YAML on stdout, what they leave as notes; or all of it as JSON."""
    if as_json:
        print_json({"model": model, "suggestion": made.config, "left": made.left})
        return
    sys.stdout.write(made.yaml)
    for sentence in made.left:
        print_note(sentence)


def _title(facts: Facts, found: int) -> str:
    shown = len(facts["hazards"])
    some = f", {shown} shown" if shown < found else ""
    return (
        f"{found} of {facts['sites']} places lose something on {facts['samples']:,} samples{some}"
    )


def _row(one: Facts) -> tuple[str, ...]:
    effect = one["effect"]
    changed = picked = ""
    if effect is not None:
        changed = f"{effect['changed']:,} of {effect['codes']:,}"
        picked = "" if effect["picked"] is None else f"{effect['picked']:,}/{effect['samples']:,}"
    return (
        one["name"],
        one["what"],
        one["format"],
        f"{one['rounding']} {one['overflow']}",
        _out_of_range(one),
        f"{one['rounded']:,}" if one["rounded"] else "",
        f"{one['largest_loss']:.3g}" if one["largest_loss"] else "",
        _ends(one["reaches"]),
        _ends(one["worst_case"]),
        one["needed"] or "",
        one["worst_case_needed"] or "",
        changed,
        picked,
    )


def _out_of_range(one: Facts) -> str:
    """`12 wrapped`, with their share of all codes where that says more."""
    for kind in OUT:
        if one[kind]:
            share = 100 * one[kind] / one["codes"]
            return f"{one[kind]:,} {kind} ({share:{'.2g' if share < 99.5 else '.3g'}} %)"
    return ""


def _ends(ends: Facts | None) -> str:
    return "" if ends is None else f"{ends['low']:.6g} to {ends['high']:.6g}"
