"""What `hazards` found: plain data that a command prints and a notebook shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hwsim.fixed import Format
from hwsim.losses.count import Count, Extent, Into


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What changes in the outputs where one site alone loses nothing.

    `codes` is how many outputs were compared, `changed` how many of them differ, and `picked` in
    how many of `samples` the largest output is another one (None where that means nothing).
    """

    samples: int
    codes: int
    changed: int
    picked: int | None

    def to_dict(self) -> dict[str, int | None]:
        """Plain values for JSON."""
        names = ("samples", "codes", "changed", "picked")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hazard:
    """One site on the data: what happened, what it needs, what intervals prove, what it does.

    `name` is that of the node, or of the input; `needed` loses nothing on the data and `proven` on
    any data (None where nothing bounds it). `effect` is None where `unmeasured` says why.
    """

    name: str
    edge: str
    what: str
    into: Into
    count: Count
    needed: Format | None
    proven: Extent | None
    effect: Effect | None
    unmeasured: str | None

    @property
    def weight(self) -> tuple[int, int, int, int]:
        """By what rows are sorted: the largest harm first."""
        done = self.effect
        picked, changed = (0, 0) if done is None else (done.picked or 0, done.changed)
        return picked, changed, self.count.overflows, self.count.rounded

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        count, proven = self.count, self.proven
        return {
            "name": self.name,
            "edge": self.edge,
            "what": self.what,
            "format": precision_text(self.into.format),
            "rounding": self.into.rounding.value,
            "overflow": self.into.overflow.value,
            "codes": count.codes,
            "wrapped": count.wrapped,
            "saturated": count.saturated,
            "zeroed": count.zeroed,
            "clamped": count.clamped,
            "rounded": count.rounded,
            "largest_loss": count.loss,
            "reaches": _ends(count.extent),
            "needed": None if self.needed is None else precision_text(self.needed),
            "worst_case": _ends(proven),
            "worst_case_needed": None if proven is None else precision_text(proven.format()),
            "effect": None if self.effect is None else self.effect.to_dict(),
            "not_measured": self.unmeasured,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Hazards:
    """What gets lost in a model on some data, the largest effect on the output first.

    `sites` is how many places were looked at, `rows` are those where something happened, `named`
    are sentences about traps that are known by name, `unknown` kinds of operators that nobody looks
    into.
    """

    samples: int
    sites: int
    rows: tuple[Hazard, ...]
    named: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def __repr__(self) -> str:
        worst = f"; most at {self.rows[0].name!r}" if self.rows else ""
        lost = sum(row.count.overflows for row in self.rows)
        cut = sum(row.count.rounded for row in self.rows)
        return (
            f"Hazards({len(self.rows)} of {self.sites} places on {self.samples:,} samples: "
            f"{lost:,} out of range, {cut:,} rounded{worst})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "samples": self.samples,
            "sites": self.sites,
            "hazards": [row.to_dict() for row in self.rows],
            "named": list(self.named),
            "not_looked_into": list(self.unknown),
        }


def precision_text(fmt: Format) -> str:
    """A format as hls4ml and ap_fixed write it: width, then integer bits."""
    return f"{'fixed' if fmt.signed else 'ufixed'}<{fmt.width},{fmt.int_bits}>"


def _ends(extent: Extent | None) -> Mapping[str, float] | None:
    return None if extent is None else {"low": float(extent.low), "high": float(extent.high)}
