"""Bounds that no choice meets: which, and what comes nearest, in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hwsim.compress.choice.target import ChoiceTarget, share_text
from hwsim.compress.choice.trials import ChoiceTrial
from hwsim.errors import HwsimError


def beyond(target: ChoiceTarget, tried: Sequence[ChoiceTrial], what: str, at: str) -> HwsimError:
    """No network that was tried is within the bits and cycles; `at` is how the smallest is made."""
    fewest = {
        "bits": min(trial.bits for trial in tried),
        "cycles": min((t.cycles for t in tried if t.cycles is not None), default=None),
    }
    told = []
    for name in ("bits", "cycles"):
        few, bound = fewest[name], target.bounds.get(name)
        if bound is None:
            continue
        if few is None:
            told.append("the device has room for none")
        elif few > bound:
            which = f" {name}" if target.bits is not None and target.cycles is not None else ""
            told.append(f"the fewest{which} are {few:,}")
    if not told:  # each alone is met
        nearest = min(tried, key=lambda trial: _excess(target, trial))
        told.append(f"the nearest has {nearest.bits:,} bits and {nearest.cycles:,} cycles")
    return HwsimError(
        f"no choice of {what} {_keeps(target)}: {' and '.join(told)}, {at}",
        exit_status=1,
    )


def best_inside(target: ChoiceTarget, tried: Sequence[ChoiceTrial]) -> ChoiceTrial:
    """The best that was tried within the bits and cycles; there must be one."""
    return max(filter(target.within, tried), key=lambda trial: trial.rank)


def below(target: ChoiceTarget, highest: ChoiceTrial, what: str, at: str) -> HwsimError:
    """No network has the accuracy, `highest` not either; `at` is how that is made."""
    assert target.accuracy is not None
    where = f" within {limits(target)}" if limits(target) else ""
    return HwsimError(
        f"no choice of {what} keeps an accuracy of {share_text(target.accuracy)}{where}: the "
        f"highest is {share_text(highest.accuracy or 0.0)}, {at}",
        exit_status=1,
    )


def limits(target: ChoiceTarget) -> str:
    """The bits and cycles that there may be."""
    pairs = (("bits", target.bits), ("cycles", target.cycles))
    return " and ".join(f"{value:,} {name}" for name, value in pairs if value is not None)


def _keeps(target: ChoiceTarget) -> str:
    if target.bits is None:
        return f"takes an inference to {limits(target)}"
    return f"fits {limits(target)}"


def _excess(target: ChoiceTarget, trial: ChoiceTrial) -> float:
    found = {"bits": trial.bits, "cycles": math.inf if trial.cycles is None else trial.cycles}
    return max(found[name] / bound for name, bound in target.bounds.items() if name in found)
