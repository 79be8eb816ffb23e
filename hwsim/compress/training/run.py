"""A training under way: the network, its optimizer, where it is, and the best that it was."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.training.namespace import to_numpy, torch
from hwsim.compress.training.network import TrainableGraph
from hwsim.compress.training.shrinking import ShrinkingNetwork
from hwsim.errors import HwsimError
from hwsim.fixed import Array

Arrays = dict[str, npt.NDArray[Any]]
RISING = 0.1  # of all steps, in which the rate grows
FEWEST = 20  # steps of a schedule: PyTorch's divides by those that rise, less one


class TrainingRun:
    """What changes while a network is trained, with its way into a file and back.

    `best` holds the highest figure so far and the parameters that had it, None for those of the
    start. `shrinking` says which weights go meanwhile, if any do.
    """

    def __init__(
        self,
        network: TrainableGraph,
        rate: float,
        decay: float,
        seed: int,
        steps: int,
        shrinking: ShrinkingNetwork | None = None,
    ) -> None:
        self.shrinking = shrinking
        self.network, self.epoch, self.stale = network, 0, 0
        self.rng = np.random.default_rng(seed)
        self.moved = network.parameters()
        self.best: tuple[float, Arrays | None] | None = None
        optim = torch().optim
        self.optimizer = optim.AdamW(self.moved.values(), lr=rate, weight_decay=decay)
        self.schedule = optim.lr_scheduler.OneCycleLR(
            self.optimizer, max_lr=rate, total_steps=max(steps, FEWEST), pct_start=RISING
        )

    def begin(self) -> None:
        """What comes before a step's forward pass."""
        if self.shrinking is not None:
            self.shrinking.before_step()

    @property
    def settled(self) -> bool:
        """Whether no more weights will go, so that what is now can be what is kept."""
        return self.shrinking is None or self.shrinking.done

    def move(self, loss: Array) -> float:
        """One step against a loss, which it gives; HwsimError where that is no number."""
        found = float(loss.detach())
        if not math.isfinite(found):
            raise HwsimError(f"the loss must stay finite, not {found}; a lower rate may help")
        self.optimizer.zero_grad()
        loss.backward()
        if self.shrinking is not None:
            self.shrinking.after_gradients()
        self.optimizer.step()
        self.network.pull()
        self.schedule.step()
        return found

    def keep_if_best(self, score: float) -> bool:
        """Keep the parameters of now where their figure is the highest so far."""
        better = self.best is None or score > self.best[0]
        if better:
            self.best = (score, self._parameters() if self.epoch else None)
        self.stale = 0 if better else self.stale + 1
        return better

    def waited(self, patience: int | None) -> bool:
        """Whether so many epochs went by without a better one."""
        return patience is not None and self.stale >= patience

    def go_to_best(self) -> bool:
        """Take the best parameters again; False where those of the start were the best."""
        held = None if self.best is None else self.best[1]
        if held is None:
            return False
        self._set(held)
        return True

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """Everything that the next epoch depends on: arrays, and facts for JSON."""
        arrays = {f"now/{name}": array for name, array in self._parameters().items()}
        optimizer = self.optimizer.state_dict()
        for place, held in optimizer["state"].items():
            arrays.update({f"adam/{place}/{k}": to_numpy(v).copy() for k, v in held.items()})
        score, kept = (None, None) if self.best is None else self.best
        arrays.update({f"best/{name}": array for name, array in (kept or {}).items()})
        facts = {
            "epoch": self.epoch,
            "stale": self.stale,
            "score": score,
            "rng": self.rng.bit_generator.state,
            "groups": optimizer["param_groups"],
            "schedule": self.schedule.state_dict(),
        }
        if self.shrinking is not None:
            masks, facts["shrinking"] = self.shrinking.state()
            arrays.update({f"shrinking/{name}": array for name, array in masks.items()})
        return arrays, facts

    def restore(self, path: Path, held: tuple[Mapping[str, Any], Mapping[str, Any]] | None) -> None:
        """Go on from a state that was read from a file, if there is one."""
        if held is None:
            return
        try:
            self._restore(*held)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise HwsimError(
                f"{path} must hold the state of this training, not one without {error}"
            ) from None

    def _restore(self, arrays: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        self._set({name: arrays[f"now/{name}"] for name in self.moved})
        adam: dict[int, dict[str, Any]] = {}
        for name, array in arrays.items():
            if name.startswith("adam/"):
                _, place, key = name.split("/")
                adam.setdefault(int(place), {})[key] = torch().from_numpy(np.array(array))
        self.optimizer.load_state_dict({"state": adam, "param_groups": facts["groups"]})
        self.schedule.load_state_dict(facts["schedule"])
        self.rng.bit_generator.state = facts["rng"]
        self.epoch, self.stale = int(facts["epoch"]), int(facts["stale"])
        if self.shrinking is not None:
            held = {n.removeprefix("shrinking/"): array for n, array in arrays.items()}
            self.shrinking.restore(held, int(facts["shrinking"]))
        if facts["score"] is not None:
            kept = {n: arrays[f"best/{n}"] for n in self.moved if f"best/{n}" in arrays}
            self.best = (float(facts["score"]), kept or None)

    def _parameters(self) -> Arrays:
        return {name: to_numpy(tensor).copy() for name, tensor in self.moved.items()}

    def _set(self, arrays: Mapping[str, Any]) -> None:
        with torch().no_grad():
            for name, tensor in self.moved.items():
                tensor.copy_(torch().from_numpy(np.array(arrays[name])))
