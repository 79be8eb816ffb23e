"""Weights that go while a graph is trained: more of them now and then, none of which comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.prune.masks import (
    SCOPES,
    Mask,
    Pattern,
    Score,
    Unstructured,
    WholeChannels,
    check_amount,
    masks_of,
)
from hwsim.compress.prune.schedules import amounts
from hwsim.errors import HwsimError

Reals = npt.NDArray[np.float64]
SEEN = ("magnitude", "taylor", "movement")
"""Scores that a training has at hand: of its weights, or of them and their gradients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GradualPruning:
    """How weights go during a training.

    An `amount` of them is gone after `rounds`, spread evenly over the share `until` of all steps,
    each round taking what `schedule` says (`amounts`). What a weight is worth, `by`, is its
    magnitude, or the mean of |gradient x weight| (`taylor`) or sum of -gradient x weight
    (`movement`) since the round before. `layers` are nodes' names (None: all with weights).
    """

    amount: float
    by: str = "magnitude"
    pattern: Pattern = field(default_factory=Unstructured)
    scope: str = "layer"
    schedule: str = "gradual"
    rounds: int = 20
    until: float = 0.5
    layers: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        check_amount(self.amount)
        amounts(self.schedule, self.amount, self.rounds)
        if isinstance(self.pattern, WholeChannels):
            raise HwsimError("channels must go before a training, not in the midst of it")
        for what, value, known in (
            ("scores of a training", self.by, SEEN),
            ("a scope", self.scope, SCOPES),
        ):
            if value not in known:
                raise HwsimError(f"{what} must be one of {', '.join(known)}, not {value!r}")
        if not 0 < self.until <= 1:
            raise HwsimError(f"until must be a share of the steps up to 1, not {self.until:g}")

    def plan(self, steps: int) -> dict[int, float]:
        """The share that is gone from a step on, by the number of steps done before it.

        A round that falls on the step of a later one is that one's.
        """
        shares = list(amounts(self.schedule, self.amount, self.rounds))
        last = min(steps - 1, int(steps * self.until))
        return {last * (k + 1) // len(shares): share for k, share in enumerate(shares)}


class ShrinkingMasks:
    """Where weights still stay in a training of so many steps, and scores since the last round."""

    def __init__(self, how: GradualPruning, steps: int, masks: Mapping[str, Mask]) -> None:
        names = list(masks) if how.layers is None else how.layers
        for name in names:
            if name not in masks:
                raise HwsimError(f"a layer to prune must be one of {list(masks)}, not {name!r}")
        self.how, self.plan, self.step = how, how.plan(steps), 0
        self.masks = {name: masks[name] for name in masks if name in names}
        self.scores = {name: np.zeros(mask.shape) for name, mask in self.masks.items()}

    @property
    def done(self) -> bool:
        """Whether all that shall go has gone."""
        return self.step > max(self.plan)

    @property
    def due(self) -> bool:
        """Whether a round is due before the next step."""
        return self.step in self.plan

    def begin(self, weights: Mapping[str, Reals]) -> dict[str, Mask]:
        """The masks of a round that is due, for weights as they are now."""
        share = self.plan[self.step]
        found = masks_of(self._worth(weights), self.how.pattern, amount=share, scope=self.how.scope)
        self.masks |= {name: mask & self.masks[name] for name, mask in found.items()}
        for score in self.scores.values():
            score.fill(0.0)
        return self.masks

    def _worth(self, weights: Mapping[str, Reals]) -> dict[str, Score]:
        """What is gone is worth least of all, so it goes again."""
        found = {}
        for name, mask in self.masks.items():
            plain = self.how.by == "magnitude" or self.step == 0  # no step has made gradients
            score = np.abs(weights[name]) if plain else self.scores[name]
            found[name] = np.where(mask, score, -np.inf)
        return found

    def see(self, weights: Mapping[str, Reals], gradients: Mapping[str, Reals]) -> None:
        """Weights and their gradients of a step."""
        for name, score in self.scores.items():
            product = gradients[name] * weights[name]
            score += np.abs(product) if self.how.by == "taylor" else -product

    @property
    def looks(self) -> bool:
        """Whether it wants to see gradients."""
        return self.how.by != "magnitude"

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """What the next round depends on, but for the number of steps."""
        found: dict[str, npt.NDArray[Any]] = {}
        for name, mask in self.masks.items():
            found |= {f"mask/{name}": mask, f"score/{name}": self.scores[name]}
        return found

    def restore(self, step: int, arrays: Mapping[str, Any]) -> None:
        """Go on after so many steps from what `state` gave."""
        self.step = step
        for name in self.masks:
            self.masks[name] = np.array(arrays[f"mask/{name}"], bool)
            self.scores[name] = np.array(arrays[f"score/{name}"])
