"""Place and route with a family's nextpnr, and read what it reports."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hwsim.errors import HwsimError
from rtl.flow import tools
from rtl.flow.instances import REST, Parts, path_in_words
from rtl.targets import TARGETS, PlaceAndRoute, Target

CONFIG = "placed.config"  # the routed design, for the packer
_LOG, _REPORT = "nextpnr.log", "report.json"
_MOST = 3  # nodes that a message about a design that is too large names
_TIMEOUT = 7200.0


@dataclass(frozen=True, slots=True)
class Placement:
    """A routed design: counts as in `Utilization`, MHz by clock port, the slowest path in words."""

    seed: int
    used: Mapping[str, int]
    fmax_mhz: Mapping[str, float]
    critical_path: str

    @property
    def slowest_mhz(self) -> float:
        """The frequency of the slowest clock."""
        return min(self.fmax_mhz.values())


class TooLarge(HwsimError):
    """The target has too little of something; `used` counts what the design needs."""

    def __init__(self, message: str, used: Mapping[str, int]) -> None:
        super().__init__(message, exit_status=1)
        self.used = dict(used)


def run(
    folder: Path,
    netlist: str,
    constraints: str,
    target: Target,
    *,
    seed: int,
    parts: Parts = MappingProxyType({}),
) -> Placement:
    """Place and route `folder / netlist` under constraints; the result is `folder / CONFIG`.

    The log and the report of timing stay as `nextpnr-<seed>.log` and `.json`. Timing that is missed
    is reported, not raised. Raises TooLarge for a design that does not fit, and HwsimError, with
    exit status 1, for one that nextpnr refuses.
    """
    route = target.family.route
    assert route is not None
    arguments = [*target.place, "--json", netlist, route.constraints, constraints]
    arguments += ["--seed", str(seed), "--timing-allow-fail", route.result, CONFIG]
    arguments += ["--report", _REPORT, "-q", "-l", _LOG]
    try:
        tools.run(tools.find(route.nextpnr), *arguments, cwd=folder, timeout=_TIMEOUT)
    except HwsimError as error:
        log = folder / _LOG
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        used = _used(_printed(text), route)
        check_fit(target, used)
        if "legal placement" in text or "Unable to place" in text:
            raise TooLarge(
                f"the design must leave {target.name} room to place its cells, and"
                f" fills it too far: {_share(used, target)}",
                used,
            ) from error
        raise
    (folder / _LOG).rename(folder / f"nextpnr-{seed}.log")
    report = json.loads((folder / _REPORT).read_text(encoding="utf-8"))
    (folder / _REPORT).rename(folder / f"nextpnr-{seed}.json")
    return _read(report, seed, parts, route)


def check_fit(
    target: Target,
    used: Mapping[str, int],
    nodes: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
) -> None:
    """Raise TooLarge, which names each resource that `target` has too little of.

    `nodes` is what each node takes; those that take most of these resources are named too.
    """
    over = [
        f"{used[name]} {name} of {target.available[name]} ({excess} too many)"
        for name, excess in _excess(target, used).items()
    ]
    if not over:
        return
    roomy = [t.name for t in TARGETS.values() if not t.estimate and not _excess(t, used)]
    hint = f"; {roomy[0]} has enough" if roomy else ""
    raise TooLarge(
        f"the design must fit {target.name} ({target.part}), not need {' and '.join(over)}{hint}"
        + "".join(_most(nodes, name) for name in _excess(target, used)),
        used,
    )


def _most(nodes: Mapping[str, Mapping[str, int]], resource: str) -> str:
    """The nodes that take most of a resource."""
    taken = {node: counts.get(resource, 0) for node, counts in nodes.items() if node != REST}
    first = sorted(taken, key=lambda node: -taken[node])[:_MOST]
    named = [f"{node!r} {taken[node]}" for node in first if taken[node]]
    return f"; most {resource}: {', '.join(named)}" if named else ""


def _excess(target: Target, used: Mapping[str, int]) -> dict[str, int]:
    return {
        name: used[name] - have
        for name, have in target.available.items()
        if used.get(name, 0) > have
    }


def _read(report: Mapping[str, Any], seed: int, parts: Parts, route: PlaceAndRoute) -> Placement:
    fmax = {_port(net, route): float(clock["achieved"]) for net, clock in report["fmax"].items()}
    if not fmax:
        raise HwsimError(
            "the design must have a path from register to register to time, not none", exit_status=1
        )
    bels = {bel: counts["used"] for bel, counts in report["utilization"].items()}
    used = _used(bels, route)
    slowest = min(report["fmax"], key=lambda net: float(report["fmax"][net]["achieved"]))
    paths = [p["path"] for p in report["critical_paths"] if _is_inside(p, slowest)]
    return Placement(seed, used, fmax, _in_words(paths[0], parts, route) if paths else "")


def _is_inside(path: Mapping[str, Any], net: str) -> bool:
    return bool(path["from"].endswith(f" {net}") and path["to"].endswith(f" {net}"))


def _in_words(steps: list[Mapping[str, Any]], parts: Parts, route: PlaceAndRoute) -> str:
    total = sum(step["delay"] for step in steps)
    wires = sum(step["delay"] for step in steps if step["type"] == "routing")
    on_it = [steps[0]["from"]["cell"], *(step["to"]["cell"] for step in steps)]
    ends = [route.added.sub("", name) for name in (on_it[0], on_it[-1])]
    where = path_in_words(on_it, parts) or " to ".join(ends)
    return f"{where}, {total:.1f} ns, {wires:.1f} ns of it wires"


def _port(net: str, route: PlaceAndRoute) -> str:
    """The port that feeds a clock net."""
    match = route.clock_net.fullmatch(net)
    return match[1] if match else net


def _printed(log: str) -> dict[str, int]:
    """The counts of the table that nextpnr prints before it places."""
    return {
        match[1]: int(match[2]) for match in re.finditer(r"\s(\w+):\s+(\d+)/\s*\d+\s+\d+%", log)
    }


def _used(bels: Mapping[str, int], route: PlaceAndRoute) -> dict[str, int]:
    return {
        resource: sum(weight * bels.get(bel, 0) for bel, weight in weights.items())
        for resource, weights in route.bels.items()
    }


def _share(used: Mapping[str, int], target: Target) -> str:
    return ", ".join(f"{used[name]} of {have} {name}" for name, have in target.available.items())
