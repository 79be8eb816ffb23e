"""How far pruning in rounds is, in a file from which the same call goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.prune.masks import Mask
from hwsim.compress.prune.prune import Pruned
from hwsim.compress.training.checkpoint import read_checkpoint, write_checkpoint
from hwsim.compress.training.layers import Reals
from hwsim.errors import HwsimError
from hwsim.graph import Graph

Behind = Mapping[str, Mapping[str, Reals]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stand:
    """What so many rounds came to: the graph and its masks, and the reals behind its codes."""

    number: int
    found: Pruned
    behind: Behind | None


class RoundsCheckpoint:
    """A file for what is between two rounds, and beside it one for the epochs of a round.

    `of` says which pruning it belongs to.
    """

    def __init__(self, path: Path, of: str) -> None:
        self.path, self._of = path, of

    def of_round(self, number: int) -> Path:
        """The file of the training in a round."""
        return self.path.with_name(f"{self.path.stem}.round{number}{self.path.suffix}")

    def read(self) -> Stand | None:
        """How far an earlier call came; None where there is no file.

        Raises HwsimError for a file that is none, and for one of another pruning.
        """
        held = read_checkpoint(self.path, self._of)
        if held is None:
            return None
        arrays, facts = held
        parts = _parts(arrays)
        try:
            number, whole = int(facts["number"]), dict(facts["whole"])
            graph = Graph.of_document(facts["graph"], parts["graph"].__getitem__, str(self.path))
            behind: dict[str, dict[str, Reals]] | None = None
            if facts["behind"] is not None:
                behind = {name: {} for name in facts["behind"]}
            for name, array in parts["behind"].items():
                part, _, node = name.partition("/")
                (behind or {})[node][part] = array
        except (KeyError, TypeError, ValueError) as error:
            raise HwsimError(
                f"{self.path} must be a checkpoint of pruning in rounds ({error!r})"
            ) from None
        for done in range(1, number + 1):
            self.of_round(done).unlink(missing_ok=True)
        masks: dict[str, Mask] = {n: parts["mask"][n].astype(bool) for n in facts["masks"]}
        return Stand(number=number, found=Pruned(graph, masks, whole), behind=behind)

    def write(self, stand: Stand) -> None:
        """Put this in the place of what was between the rounds before."""
        document, weights = stand.found.graph.document()
        arrays: dict[str, npt.NDArray[Any]] = {f"graph/{n}": a for n, a in weights.items()}
        arrays |= {f"mask/{n}": m.astype(np.uint8) for n, m in stand.found.masks.items()}
        for node, held in (stand.behind or {}).items():
            arrays |= {f"behind/{part}/{node}": array for part, array in held.items()}
        facts = {
            "number": stand.number,
            "graph": document,
            "whole": dict(stand.found.whole),
            "masks": list(stand.found.masks),
            "behind": None if stand.behind is None else list(stand.behind),
        }
        write_checkpoint(self.path, self._of, arrays, facts)
        self.of_round(stand.number).unlink(missing_ok=True)


def _parts(arrays: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Arrays by the first word of their names."""
    found: dict[str, dict[str, Any]] = {"graph": {}, "mask": {}, "behind": {}}
    for name, array in arrays.items():
        kind, _, rest = name.partition("/")
        found[kind][rest] = array
    return found
