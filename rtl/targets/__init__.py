"""The devices that a design can be built or counted for: one file a family.

A family is known by its line in `_KNOWN`; a family of one's own, by `register`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from hwsim.errors import HwsimError
from rtl.targets import ecp5, xilinx
from rtl.targets.base import (
    BlockRam,
    Constraints,
    Family,
    PlaceAndRoute,
    Port,
    Primitives,
    Program,
    Target,
)

__all__ = [
    "REFERENCE",
    "TARGETS",
    "BlockRam",
    "Constraints",
    "Family",
    "PlaceAndRoute",
    "Port",
    "Primitives",
    "Program",
    "Target",
    "find_target",
    "register",
]

_KNOWN = {target.name: target for target in (*ecp5.TARGETS, *xilinx.TARGETS)}

TARGETS: Mapping[str, Target] = MappingProxyType(_KNOWN)
"""All that are known, by name."""

assert ecp5.FAMILY.primitives is not None
REFERENCE: Primitives = ecp5.FAMILY.primitives
"""What designs are cut to and plans count in, whatever the target."""


def register(*targets: Target) -> None:
    """Make devices known by their names; HwsimError where another has the name already."""
    for target in targets:
        if _KNOWN.get(target.name, target) != target:
            raise HwsimError(f"a target's name must be new, not {target.name!r} again")
    _KNOWN.update((target.name, target) for target in targets)


def find_target(name: str) -> Target:
    """Return the target of that name; HwsimError names the known ones, and the nearest."""
    target = TARGETS.get(name)
    if target is not None:
        return target

    def likeness(known: str) -> float:
        return difflib.SequenceMatcher(None, str(name).lower(), known).ratio()

    nearest = max(TARGETS, key=likeness)
    hint = f" (did you mean {nearest}?)" if likeness(nearest) >= 0.5 else ""
    raise HwsimError(f"target must be one of {', '.join(TARGETS)}, not {name!r}{hint}")
