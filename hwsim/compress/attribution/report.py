"""What `attribute` found: plain data that a command prints, a page and a notebook show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from hwsim.compress.attribution.page import body
from hwsim.compress.calibration import Histogram
from hwsim.compress.calibration.shown import binned


@dataclass(frozen=True, slots=True, kw_only=True)
class PartError:
    """A part of a layer's error, in reals.

    `share` is its share of the squared error of the layer, `share_of_own` of what the layer adds
    itself (None of the input): the parts' shares sum to 1, and one that works against the others is
    below 0.
    """

    rms: float
    mean: float
    largest: float
    share: float
    share_of_own: float | None

    def to_dict(self) -> dict[str, float | None]:
        """Plain values for JSON."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerError:
    """One edge against the float tensor that it stands for, in reals.

    `sqnr_db` is the signal over the whole error, `own_sqnr_db` over what the layer adds to what it
    is given; None where there is no error. `mean` and `largest` are of the error's magnitude.
    `at_low` and `at_high` count codes at the ends of the format, `saturated` numbers that were
    beyond them. `share_of_output` is how much of the output's squared error goes away where the
    float model takes over ahead of this layer instead of behind it; all layers' sum to 1.
    """

    edge: str
    tensor: str
    format: str
    ends: tuple[float, float]
    steps: tuple[float, float]
    codes: int
    sqnr_db: float | None
    own_sqnr_db: float | None
    mean: float
    largest: float
    at_low: int
    at_high: int
    saturated: int
    parts: Mapping[str, PartError]
    share_of_output: float | None
    notes: tuple[str, ...]
    histogram: Histogram

    @property
    def blamed(self) -> str | None:
        """The part that adds most to the layer's own error; None where it adds none."""
        own = {name: part.share_of_own or 0.0 for name, part in self.parts.items()}
        name = max(own, key=lambda part: own[part])
        return name if own[name] > 0 else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain = (
            "edge", "tensor", "format", "codes", "sqnr_db", "own_sqnr_db", "mean", "largest",
            "at_low", "at_high", "saturated", "share_of_output",
        )  # fmt: skip
        return {
            **{name: getattr(self, name) for name in plain},
            "ends": list(self.ends),
            "steps": list(self.steps),
            "blamed": self.blamed,
            "parts": {name: part.to_dict() for name, part in self.parts.items()},
            "notes": list(self.notes),
            "histogram": binned(self.histogram),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightRange:
    """Float weights of a layer against the format of the integer ones.

    `ends` are the least and the largest real of the format (of all channels), `steps` its least and
    largest step, `at_ends` and `zeros` count codes.
    """

    node: str
    tensor: str
    format: str
    ends: tuple[float, float]
    steps: tuple[float, float]
    weights: int
    at_ends: int
    zeros: int
    histogram: Histogram

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain = ("node", "tensor", "format", "weights", "at_ends", "zeros")
        return {
            **{name: getattr(self, name) for name in plain},
            "ends": list(self.ends),
            "steps": list(self.steps),
            "histogram": binned(self.histogram),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A layer's part in the samples that are lost.

    `decided` counts those that are right where the float model takes over ahead of the layer, and
    wrong with the layer and any more in integers; `first` those that are wrong for the first time
    with it, the layers taken from the input on. `changes` counts the decided ones by the class
    that they should have and the one that they get.
    """

    edge: str
    decided: int
    first: int
    changes: Mapping[tuple[int, int], int]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        changes = [{"from": a, "to": b, "samples": n} for (a, b), n in self.changes.items()]
        return {
            "edge": self.edge,
            "decided": self.decided,
            "first": self.first,
            "changes": changes,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """Samples by class: right in the float model and in the integer one, and who decides.

    Without labels the float model's classes are the right ones. `lost` are right in the float model
    alone, `gained` in the integer one alone.
    """

    labelled: bool
    float_right: int
    integer_right: int
    lost: int
    gained: int
    layers: tuple[Decided, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        names = ("labelled", "float_right", "integer_right", "lost", "gained")
        layers = [one.to_dict() for one in self.layers]
        return {**{name: getattr(self, name) for name in names}, "layers": layers}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """Where an integer network's accuracy went, layer by layer.

    `output` is the one that the decisions and shares of the output are of. `edges` and `tensors`
    have no counterpart and are not compared. `decisions` is None for an output that does not
    classify or has no counterpart.
    """

    reference: str
    output: str
    samples: int
    layers: tuple[LayerError, ...]
    weights: tuple[WeightRange, ...]
    decisions: Decisions | None
    edges: tuple[str, ...]
    tensors: tuple[str, ...]

    @property
    def worst(self) -> LayerError | None:
        """The layer with the largest share of the output's error, or of the lowest own SQNR."""
        shared = [one for one in self.layers if one.share_of_output is not None]
        if shared:
            return max(shared, key=lambda one: one.share_of_output or 0.0)
        noisy = [one for one in self.layers if one.own_sqnr_db is not None]
        return min(noisy, key=lambda one: one.own_sqnr_db or 0.0) if noisy else None

    def __repr__(self) -> str:
        worst, told = self.worst, ""
        if worst is not None and worst.blamed is not None:
            told = f"; most at {worst.edge!r}, {worst.blamed}"
        lost = "" if self.decisions is None else f"; {self.decisions.lost:,} samples lost"
        return f"Attribution({len(self.layers)} layers on {self.samples:,} samples{lost}{told})"

    def _repr_html_(self) -> str:
        return body(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        worst = self.worst
        return {
            "reference": self.reference,
            "output": self.output,
            "samples": self.samples,
            "worst": None if worst is None else {"edge": worst.edge, "part": worst.blamed},
            "layers": [one.to_dict() for one in self.layers],
            "weights": [one.to_dict() for one in self.weights],
            "decisions": None if self.decisions is None else self.decisions.to_dict(),
            "no_counterpart": {"edges": list(self.edges), "tensors": list(self.tensors)},
        }
