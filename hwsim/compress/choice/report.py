"""What a choice came to, as plain values: each place, what was tried, and the trade-off found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class BitChoice:
    """The bounds that were asked for (`kind` names them, `bounds` has each), and what was chosen.

    `bound` is the first of them. `rows` has a dict for each place: its `name`, `of` what (bits of
    weights or activations, channels or other parts that stay), what was `chosen` of which `values`,
    and what each of these loses alone (`losses`). `tried` are the networks in their order: `choice`
    by place, `bits` of weights, bit `operations`, `predicted` and real `loss` against the first
    model, `agreement` with its classes, `accuracy` (None without labels) and `cycles`. `curve` are
    those of them that none beats at less `cost`, the cheapest first. `best` is the one chosen,
    `judged` on what accuracy was counted.
    """

    kind: str
    bound: float
    bounds: dict[str, float]
    cost: str
    rows: tuple[dict[str, Any], ...]
    best: dict[str, Any]
    tried: tuple[dict[str, Any], ...]
    curve: tuple[dict[str, Any], ...]
    judged: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def __repr__(self) -> str:
        told = ", ".join(f"{row['name']} {row['chosen']}" for row in self.rows if not row["same"])
        bounds = " and ".join(f"{name} {value:g}" for name, value in self.bounds.items())
        return f"BitChoice({bounds}: {told or 'all as they were'})"


def front(tried: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
    """Those that no other is better than at the same cost or less, the cheapest first."""
    found: list[dict[str, Any]] = []
    for one in sorted(tried, key=lambda t: (t["cost"], *(-part for part in rank(t)))):
        if not found or rank(one) > rank(found[-1]):
            found.append(one)
    return tuple(found)


def rank(trial: dict[str, Any]) -> tuple[float, float]:
    """More is better."""
    right = trial["agreement"] if trial["accuracy"] is None else trial["accuracy"]
    return (right or 0.0, -trial["loss"])
