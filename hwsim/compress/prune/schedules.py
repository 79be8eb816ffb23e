"""How much is gone after each step: at once, in even steps, or ever more slowly."""

from __future__ import annotations

from collections.abc import Iterator

from hwsim.compress.prune.masks import check_amount
from hwsim.errors import HwsimError

SCHEDULES = ("one-shot", "iterative", "gradual")


def amounts(schedule: str, amount: float, steps: int = 1, first: float = 0.0) -> Iterator[float]:
    """The share that is gone after each of the steps, from above `first` up to `amount`.

    One-shot is one step. Iterative leaves the same share of what is left in each (Han et al. 2015,
    arXiv 1506.02626); gradual takes most at the start, `amount + (first - amount) (1 - t)**3`
    (Zhu and Gupta 2017, arXiv 1710.01878). Raises HwsimError for another schedule, an amount
    outside of 0 to 1 or below `first`, and no step.
    """
    check_amount(amount)
    check_amount(first)
    if schedule not in SCHEDULES:
        raise HwsimError(f"a schedule must be one of {', '.join(SCHEDULES)}, not {schedule!r}")
    if steps < 1:
        raise HwsimError(f"a schedule's steps must be 1 or more, not {steps}")
    if first > amount:
        raise HwsimError(f"a schedule's first amount must be at most {amount:g}, not {first:g}")
    return _amounts(schedule, amount, 1 if schedule == "one-shot" else steps, first)


def _amounts(schedule: str, amount: float, steps: int, first: float) -> Iterator[float]:
    for step in range(1, steps):
        if schedule == "gradual":
            yield amount + (first - amount) * (1 - step / steps) ** 3
        else:
            yield 1 - (1 - first) * ((1 - amount) / (1 - first)) ** (step / steps)
    yield amount
