"""Networks that are integer up to a layer and float behind it: what each layer does to the output.

The first of them is the float model, the last one the integer network, so that the differences from
each to the next sum to the output's error, and somewhere between a lost sample changes its class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from hwsim.compress.attribution.float_graph import FloatGraph
from hwsim.compress.attribution.places import LayerPlace
from hwsim.compress.attribution.report import Decided, Decisions
from hwsim.compress.attribution.tally import Codes, Hybrid, Tensors

Classes = npt.NDArray[np.int64]


class OutputTally:
    """The output's error by layer, and classes, over the pieces of a batch."""

    def __init__(
        self, floats: FloatGraph, places: Sequence[LayerPlace], target: str, *, classes: bool
    ) -> None:
        self.places, self.target, self.classes = places, target, classes
        self._inputs = floats.model.inputs
        self._hybrids = []
        stops: set[str] = set()
        for place in places:
            stops.add(place.at.tensor)
            self._hybrids.append(Hybrid(floats, (target,), set(stops)))
        self._along = np.zeros(len(places))
        self._square = 0.0
        self._lost: list[tuple[int, int, int, int]] = []  # from, to, who decides, who is first
        self._right = np.zeros(4, np.int64)

    def add(self, codes: Codes, tensors: Tensors, labels: Classes | None) -> None:
        """Another piece, with its class numbers."""
        given = {name: np.asarray(tensors[name], np.float64) for name in self._inputs}
        outputs = [np.asarray(tensors[self.target], np.float64)]
        for place, hybrid in zip(self.places, self._hybrids, strict=True):
            given[place.at.tensor] = place.at.reals(codes)
            outputs.append(hybrid(given)[self.target])
        error = outputs[-1] - outputs[0]
        self._square += float((error * error).sum())
        steps = pairwise(outputs)
        self._along += [float(((after - before) * error).sum()) for before, after in steps]
        if self.classes:
            self._decide(np.stack([o.reshape(len(o), -1).argmax(axis=1) for o in outputs]), labels)

    def _decide(self, picked: Classes, labels: Classes | None) -> None:
        """Classes (networks, samples), the float model first."""
        wanted = picked[0] if labels is None else labels
        right = picked == wanted
        lost = np.flatnonzero(right[0] & ~right[-1])
        gained = int(np.count_nonzero(~right[0] & right[-1]))
        self._right += [right[0].sum(), right[-1].sum(), lost.size, gained]
        for sample in lost.tolist():
            column = right[:, sample]
            decides = len(column) - 2 - int(np.argmax(column[::-1][1:]))  # the last that is right
            first = int(np.argmin(column)) - 1
            ends = int(wanted[sample]), int(picked[-1, sample])
            self._lost.append((*ends, decides, first))

    def shares(self) -> list[float]:
        """Of the output's squared error by layer; they sum to 1."""
        return (self._along / self._square).tolist() if self._square else [0.0] * len(self.places)

    def decisions(self, *, labelled: bool) -> Decisions | None:
        """Counts by layer."""
        if not self.classes:
            return None
        whole, right, lost, gained = self._right.tolist()
        rows = [self._of_layer(place) for place in range(len(self.places))]
        return Decisions(
            labelled=labelled,
            float_right=whole,
            integer_right=right,
            lost=lost,
            gained=gained,
            layers=tuple(rows),
        )

    def _of_layer(self, place: int) -> Decided:
        own = [(a, b) for a, b, decides, _ in self._lost if decides == place]
        first = sum(one[3] == place for one in self._lost)
        changes = dict(Counter(own).most_common())
        return Decided(
            edge=self.places[place].at.edge, decided=len(own), first=first, changes=changes
        )
