"""The devices that a design can be built or counted for: one file a family.

A family is known by its place in `TARGETS`; one of an installed package, by an entry point of the
group `hwsim.targets`; and one of a program's own, by `register`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

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

GROUP = "hwsim.targets"

TARGETS = {target.name: target for target in (*ecp5.TARGETS, *xilinx.TARGETS)}
"""All that are known, by name."""

assert ecp5.FAMILY.primitives is not None
REFERENCE: Primitives = ecp5.FAMILY.primitives
"""What designs are cut to and plans count in, whatever the target."""


def register(*targets: Target) -> None:
    """Make devices known by their names; HwsimError where another has the name already."""
    for target in targets:
        if TARGETS.get(target.name, target) != target:
            raise HwsimError(f"a target's name must be new, not {target.name!r} again")
    TARGETS.update((target.name, target) for target in targets)


def _installed() -> Iterator[Target]:
    """The devices of packages that are installed beside hwsim."""
    from importlib.metadata import entry_points  # takes a while, and is seldom needed

    for point in entry_points(group=GROUP):
        what = f"the entry point {point.name!r}"
        try:
            found = point.load()
        except Exception as error:
            raise HwsimError(
                f"{what} of {GROUP} must name something that can be imported, not {point.value!r} "
                f"({type(error).__name__}: {error})"
            ) from error
        if not isinstance(found, Iterable):
            raise HwsimError(f"{what} must name a list of targets, not {found!r}")
        for target in found:
            if not isinstance(target, Target):
                raise HwsimError(f"{what} must name a list of targets, not one with {target!r}")
            yield target


def find_target(name: str) -> Target:
    """Return the target of that name; HwsimError names the known ones, and the nearest."""
    if name not in TARGETS:
        register(*_installed())
    target = TARGETS.get(name)
    if target is not None:
        return target

    def likeness(known: str) -> float:
        return difflib.SequenceMatcher(None, str(name).lower(), known).ratio()

    nearest = max(TARGETS, key=likeness)
    hint = f" (did you mean {nearest}?)" if likeness(nearest) >= 0.5 else ""
    raise HwsimError(f"target must be one of {', '.join(TARGETS)}, not {name!r}{hint}")
