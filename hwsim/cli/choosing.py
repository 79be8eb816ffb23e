"""Bits that are chosen for a bound: what the command is asked, and what it found, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hwsim.cli.console import console
from hwsim.cli.sheet import table
from hwsim.compress.choice.judges import Judges, Say, own_pair, tested_pair
from hwsim.compress.choice.target import ChoiceTarget, share_text
from hwsim.data import Labelled
from hwsim.errors import HwsimError

SHOWN = 12
"""Networks of the trade-off that are shown."""


def judges_of(
    target: ChoiceTarget, given: Labelled, tested: Labelled | None, files: str, say: Say
) -> Judges:
    """On which samples choices are judged; labels that are none of a classifier are left alone.

    Not those of samples to test an accuracy with, in `files`, which must be classes.
    """
    try:
        test = None if tested is None or target.accuracy is None else tested_pair(tested)
        return Judges.of(target, own_pair(given), test, names=given.names, say=say)
    except HwsimError as error:
        raise HwsimError(f"{files}: {error}") from None


def show_choice(facts: Mapping[str, Any]) -> None:
    """What was chosen for each place, and the trade-off that was found on the way."""
    out, best = console(), facts["best"]
    rows = []
    for row in facts["rows"]:
        at = row["values"].index(row["chosen"])
        ends = f"{row['values'][0]} to {row['values'][-1]}"
        rows.append((row["name"], row["of"], str(row["chosen"]), ends, f"{row['losses'][at]:.3g}"))
    out.print(table("chosen", ("name", "of", "chosen", "among", "loses alone"), rows, ("chosen",)))
    curve = facts["curve"]
    near = max(0, min(len(curve) - SHOWN, _place(curve, best) - SHOWN // 2))
    cycles = best["cycles"] is not None
    lines = [
        (
            f"{one['bits']:,}",
            "" if one["operations"] is None else f"{one['operations']:,}",
            f"{one['loss']:.4f}",
            "" if one["accuracy"] is None else share_text(one["accuracy"]),
            *([f"{one['cycles']:,}" if one["cycles"] else "no room"] if cycles else []),
            "chosen" if one == best else "",
        )
        for one in curve[near : near + SHOWN]
    ]
    heads = ["bits of weights", "bit operations", "loss", "accuracy", *(["cycles"] * cycles)]
    out.print(table("trade-off found", (*heads, ""), lines, heads))
    out.print(f"{len(facts['tried'])} networks tried, judged on {facts['judged']}", markup=False)


def _place(curve: Any, best: Mapping[str, Any]) -> int:
    return next((k for k, one in enumerate(curve) if one == best), 0)
