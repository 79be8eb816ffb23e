"""Bits that are chosen for a bound: what the command is asked, and what it found, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hwsim.cli.console import console
from hwsim.cli.sheet import table
from hwsim.compress.choice.judges import Judges, Say
from hwsim.compress.choice.target import ChoiceTarget, share_text
from hwsim.data import Labelled
from hwsim.errors import HwsimError
from hwsim.evaluation.measure import batch_size, read_labels

SHOWN = 12
"""Networks of the trade-off that are shown."""


def judges_of(target: ChoiceTarget, given: Labelled, tested: Labelled, say: Say) -> Judges:
    """On which samples choices are judged; labels that are none of a classifier are left alone."""
    names = given.names
    own = None if not with_classes(given) else (given.arrays, given.labels)
    test = None if tested is given or not with_classes(tested) else (tested.arrays, tested.labels)
    return Judges.of(target, own, test, names=names, say=say)


def with_classes(data: Labelled) -> bool:
    """Whether there are labels, and they are those of a classifier."""
    if data.labels is None:
        return False
    try:
        read_labels(data.labels, batch_size(data.arrays), data.names)
    except HwsimError:
        return False
    return True


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
