"""Sums over a batch of what is compared, and the stages of each layer from its pieces."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.attribution.chain import PARTS, CodeEnds, SplitError, split, undivided
from hwsim.compress.attribution.counterparts import Counterpart, Reals, reals
from hwsim.compress.attribution.float_graph import FloatGraph
from hwsim.compress.attribution.places import LayerPlace
from hwsim.compress.attribution.report import LayerError, PartError
from hwsim.compress.calibration import Histogram

Codes = Mapping[str, npt.NDArray[np.int64]]
Tensors = Mapping[str, npt.NDArray[Any]]


class Hybrid:
    """A part of the float model, on whatever is put in the place of some of its tensors."""

    def __init__(self, floats: FloatGraph, targets: tuple[str, ...], stops: set[str]) -> None:
        self.targets = targets
        computed = [name for name in targets if name not in stops]
        self._leaves = floats.leaves(computed, stops)
        self._run: Callable[..., Any] | None = None
        if computed:
            self._run = floats.part(computed, stops).runner(computed)

    def __call__(self, given: Mapping[str, Reals]) -> dict[str, Reals]:
        """The targets in float64, from tensors in the float model's order."""
        found = {name: given[name] for name in self.targets if name in given}
        if self._run is not None:
            feeds = {name: given[name].astype(np.float32) for name in self._leaves}
            found |= {name: np.asarray(a, np.float64) for name, a in self._run(feeds).items()}
        return found


class LayerTally:
    """The error of one layer over the pieces of a batch."""

    def __init__(self, floats: FloatGraph, place: LayerPlace) -> None:
        self.place, self.name = place, place.at.tensor
        self.ends = code_ends(place.at, place.codes)
        sources = {one.tensor for one in place.inputs}
        inner = {one.at.tensor for one in place.sums}
        self._plain = Hybrid(floats, tuple(dict.fromkeys((self.name, *inner))), sources)
        self._behind = Hybrid(floats, (self.name,), sources | inner)
        self.seen = Histogram(self.name)
        self.sums = {name: _PartSums() for name in ("total", "own", *PARTS)}
        self.signal, self.at_low, self.at_high, self.beyond = 0.0, 0, 0, 0

    def add(self, codes: Codes, tensors: Tensors) -> None:
        """Another piece: codes by edge, the float model's tensors by name."""
        made = codes[self.place.at.edge]
        found = self.split(codes, tensors)
        self.seen.add(tensors[self.name])
        self.signal += float((np.asarray(tensors[self.name], np.float64) ** 2).sum())
        self.at_low += int(np.count_nonzero(made == self.place.codes[0]))
        self.at_high += int(np.count_nonzero(made == self.place.codes[-1]))
        self.beyond += int(np.count_nonzero(found.beyond))
        own = found.total - found.parts.get("input", 0.0)
        named = {"total": found.total, "own": own, **found.parts}
        for name, part in named.items():
            self.sums[name].add(part, found.total, own)

    def split(self, codes: Codes, tensors: Tensors) -> SplitError:
        """The error of a piece, element by element."""
        made = self.place.at.reals(codes)
        stages = self._stages(codes, np.asarray(tensors[self.name], np.float64))
        if self.place.notes:
            return undivided(stages, made)
        place = self.place
        return split(stages, made, self.ends, tables=place.tables, slack=place.slack)

    def _stages(self, codes: Codes, plain: Reals) -> dict[str, Reals]:
        place = self.place
        if not place.inputs:
            return {"float": plain}
        given = {one.tensor: one.reals(codes) for one in place.inputs}
        ours = self._plain(given)
        stages = {"float": plain, "input": ours[self.name]}
        if not place.sums or place.notes:
            return stages
        exact = {one: one.sums(codes) for one in place.sums}
        with_weights = {o.at.tensor: o.at.view(s - o.bias_error()) for o, s in exact.items()}
        stages["weights"] = self._behind({**given, **with_weights})[self.name]
        with_bias = {one.at.tensor: one.at.view(s) for one, s in exact.items()}
        stages["bias"] = self._behind({**given, **with_bias})[self.name]
        if any(one.stepwise for one in place.sums):
            kept = {o.at.tensor: o.at.reals(codes) for o in place.sums}
            stages["sums"] = self._behind({**given, **kept})[self.name]
        return stages

    def result(self, share_of_output: float | None) -> LayerError:
        """What was found."""
        place, total, own = self.place, self.sums["total"], self.sums["own"]
        steps = [place.codes.step * scale for scale in place.at.kind.scales()]
        return LayerError(
            edge=place.at.edge,
            tensor=self.name,
            format=str(place.at.kind.format),
            ends=(float(self.ends.low.min()), float(self.ends.high.max())),
            steps=(min(steps), max(steps)),
            codes=total.count,
            sqnr_db=decibels(self.signal, total.square),
            own_sqnr_db=decibels(self.signal, own.square),
            mean=total.absolute / total.count,
            largest=total.largest,
            at_low=self.at_low,
            at_high=self.at_high,
            saturated=self.beyond,
            parts={
                name: self.sums[name].result(total, None if name == "input" else own)
                for name in PARTS
            },
            share_of_output=share_of_output,
            notes=place.notes,
            histogram=self.seen,
        )


class _PartSums:
    """Sums over the elements of one part of an error."""

    def __init__(self) -> None:
        self.count, self.square, self.along, self.along_own = 0, 0.0, 0.0, 0.0
        self.absolute, self.largest = 0.0, 0.0

    def add(self, part: Reals, total: Reals, own: Reals) -> None:
        self.count += part.size
        self.square += float((part * part).sum())
        self.along += float((part * total).sum())
        self.along_own += float((part * own).sum())
        self.absolute += float(np.abs(part).sum())
        self.largest = max(self.largest, float(np.abs(part).max(initial=0.0)))

    def result(self, total: _PartSums, own: _PartSums | None) -> PartError:
        of_own = None
        if own is not None:
            of_own = self.along_own / own.square if own.square else 0.0
        return PartError(
            rms=math.sqrt(self.square / total.count),
            mean=self.absolute / total.count,
            largest=self.largest,
            share=self.along / total.square if total.square else 0.0,
            share_of_own=of_own,
        )


def code_ends(at: Counterpart, codes: range) -> CodeEnds:
    """The first and the last of an edge's codes, and their step, for each element of its tensor."""
    kind, ends = at.kind, (codes[0], codes[-1])
    low, high = (at.view(reals(kind, np.full((1, *kind.shape), end)) + at.added) for end in ends)
    step = at.view(np.broadcast_to(codes.step * np.array(kind.scales()), (1, *kind.shape)))
    return CodeEnds(low, high, step)


def decibels(signal: float, noise: float) -> float | None:
    """Signal over noise; None where there is no noise, or no signal."""
    return 10 * math.log10(signal / noise) if signal and noise else None
