"""What is asked of a choice: a bound, and between how many bits."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwsim.compress.quantize.options import Widths
from hwsim.errors import HwsimError

if TYPE_CHECKING:
    from hwsim.compress.choice.trials import ChoiceTrial

COSTS = ("operations", "bits")
"""What `accuracy` is to be had for least of: bit operations, or bits of weights."""
TRIES = 60
STORED = 2
"""The fewest bits that a weight is stored in."""
FEWEST = Widths(weights=2, activations=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceTarget:
    """Bounds: an accuracy at least, bits of all weights at most, cycles at most; one or more.

    Without an accuracy what is best within the others is wanted, with it what costs least.
    `least` are the fewest bits of a place, `cost` what is kept small for an accuracy, `tries` how
    many networks are tried at most once the knapsack's own are; for an accuracy, how many bits are
    taken one by one.
    """

    accuracy: float | None = None
    bits: int | None = None
    cycles: int | None = None
    least: Widths = FEWEST
    cost: str = "operations"
    tries: int = TRIES

    def __post_init__(self) -> None:
        if not self.bounds:
            raise HwsimError("there must be a target, of accuracy, bits or cycles, not none")
        if self.accuracy is not None and not 0 < self.accuracy <= 1:
            raise HwsimError(
                "the target accuracy must be above 0 and at most 1, as 0.915 or 91.5%, not "
                f"{self.accuracy:g}"
            )
        for name in ("bits", "cycles"):
            value = self.bounds.get(name, 1)
            if value < 1:
                raise HwsimError(f"the target {name} must be at least 1, not {value}")
        check_cost(self.cost)
        if self.least.weights < STORED:
            raise HwsimError(
                f"the least bits of weights must be at least {STORED}, which a sign takes too, not "
                f"{self.least.weights}"
            )

    @property
    def bounds(self) -> dict[str, float]:
        """By what they are of."""
        every = {"accuracy": self.accuracy, "bits": self.bits, "cycles": self.cycles}
        return {name: value for name, value in every.items() if value is not None}

    @property
    def kind(self) -> str:
        """Which bounds there are."""
        return " and ".join(self.bounds)

    @property
    def counts(self) -> str:
        """What costs: bits where they are bounded, or else what an accuracy is to cost least of."""
        return "bits" if self.bits is not None else self.cost

    def within(self, trial: ChoiceTrial) -> bool:
        """Whether a network has no more bits and cycles than there may be."""
        cycles = math.inf if trial.cycles is None else trial.cycles
        return (self.bits is None or trial.bits <= self.bits) and (
            self.cycles is None or cycles <= self.cycles
        )

    def holds(self, trial: ChoiceTrial) -> bool:
        """Whether a network keeps all bounds."""
        right = trial.accuracy or 0.0
        return self.within(trial) and (self.accuracy is None or right >= self.accuracy)

    def check_most(self, most: Widths) -> None:
        """Raise HwsimError unless the fewest bits are within those of all."""
        pairs = {
            "weights": (self.least.weights, most.weights),
            "activations": (self.least.activations, most.activations),
        }
        for what, (least, most_bits) in pairs.items():
            if self.counts == "bits" and what == "activations":
                continue
            if least > most_bits:
                raise HwsimError(
                    f"the least bits of {what} must be at most {most_bits}, which --bits gives, "
                    f"not {least}"
                )


def check_cost(cost: str) -> None:
    """Raise HwsimError for what nothing is counted by."""
    if cost not in COSTS:
        raise HwsimError(f"the cost must be one of {', '.join(COSTS)}, not {cost!r}")


def parse_target(
    accuracy: str | float | None,
    bits: int | None,
    cycles: int | None,
    *,
    least: str,
    cost: str,
    accumulator: str | None = None,
) -> ChoiceTarget | None:
    """The target of a call, None where it has none.

    Raises HwsimError for values that are none, and for narrow sums beside it: what is tried and
    counted has exact ones.
    """
    fewest = Widths.parse(least)
    check_cost(cost)
    if accuracy is None and bits is None and cycles is None:
        return None
    target = ChoiceTarget(
        accuracy=parse_accuracy(accuracy),
        bits=bits,
        cycles=cycles,
        least=fewest,
        cost=cost,
    )
    if accumulator is not None:
        raise HwsimError(
            f"an accumulator must not be given with a target {target.kind}, whose networks are "
            f"tried with exact sums, not as {accumulator!r} (finetune narrows sums afterwards)"
        )
    return target


def parse_accuracy(given: str | float | None) -> float | None:
    """A share, from 0.915 or 91.5%; HwsimError for what is no number."""
    if given is None or isinstance(given, float | int):
        return given
    match = re.fullmatch(r"\s*([0-9.]+)\s*(%?)\s*", given)
    try:
        number = float(match[1]) if match else math.nan
    except ValueError:
        number = math.nan
    if match is None or math.isnan(number):
        raise HwsimError(f"the target accuracy must be like 0.915 or 91.5%, not {given!r}")
    return number / 100 if match[2] else number


def share_text(share: float) -> str:
    """A share in percent, with as many digits as it has up to three."""
    return f"{100 * share:.3f}".rstrip("0").rstrip(".") + " %"
