"""A network in training whose weights go by and by: masks of `GradualPruning` on its layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.prune.gradual import GradualPruning, ShrinkingMasks
from hwsim.compress.training.layers import LearnedLayer, Reals
from hwsim.compress.training.network import TrainableGraph
from hwsim.fixed import Array


class ShrinkingNetwork:
    """The layers of a network, and which of their weights still stay."""

    def __init__(self, network: TrainableGraph, how: GradualPruning, steps: int) -> None:
        learned = network.learned.items()
        self.network = network
        self.layers = {name: one for name, one in learned if isinstance(one, LearnedLayer)}
        kept = {name: _numbers(one.kept) != 0 for name, one in self.layers.items()}
        self.masks = ShrinkingMasks(how, steps, kept)

    @property
    def done(self) -> bool:
        """Whether all that shall go has gone."""
        return self.masks.done

    def before_step(self) -> None:
        """Take weights away where a round is due."""
        self._keep(self.masks.begin(self._weights()) if self.masks.due else None)
        self.masks.step += 1

    def after_gradients(self) -> None:
        """Let the scores see the gradients of a step, before weights move by them."""
        if self.masks.looks:
            gradients = {
                name: np.zeros(tuple(one.weights.shape))
                if one.weights.grad is None
                else _numbers(one.weights.grad)
                for name, one in self.layers.items()
            }
            self.masks.see(self._weights(), gradients)

    def state(self) -> tuple[dict[str, npt.NDArray[Any]], int]:
        """Arrays, and the number of steps done."""
        return self.masks.state(), self.masks.step

    def restore(self, arrays: Mapping[str, Any], step: int) -> None:
        """Go on from a state."""
        self.masks.restore(step, arrays)
        self._keep(self.masks.masks)

    def _keep(self, masks: Mapping[str, npt.NDArray[np.bool_]] | None) -> None:
        for name, mask in (masks or {}).items():
            self.network.keep(name, mask)

    def _weights(self) -> dict[str, Reals]:
        return {name: _numbers(one.weights) for name, one in self.layers.items()}


def _numbers(tensor: Array) -> Reals:
    return np.asarray(tensor.detach().cpu().double().numpy())
