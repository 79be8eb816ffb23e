"""A model as hardware: plans, builds and their reports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hwsim import defaults
from hwsim.extras import hardware
from hwsim.frontends import as_graph
from hwsim.graph import Graph
from hwsim.reporting.facts import rate_text
from hwsim.reporting.tradeoff import Plans


def plan(model: Any, *, target: str = defaults.TARGET, clock: str = defaults.CLOCK) -> Plans:
    """What can be had on a target: plans from the smallest to the fastest, without synthesis.

    `model` is a Graph or what `load` takes. A notebook shows the result as a picture and a table.
    Raises HwsimError for an unknown target, for a clock that is no
    frequency or period, and for operators without hardware.
    """
    targets, explore = hardware("rtl.targets"), hardware("rtl.plan.explore")
    mhz = hardware("rtl.flow.clock").parse_clock(clock)
    known = targets.find_target(target).name
    return Plans(explore.explore(as_graph(model), known, mhz).to_dict())


def fewest_cycles(target: str) -> Callable[[Graph], int | None]:
    """A function from a Graph to the cycles of the fastest plan that a target has room for.

    It gives None where there is room for none. Raises HwsimError for an unknown target.
    """
    known = hardware("rtl.targets").find_target(target).name
    explore = hardware("rtl.plan.explore")

    def count(graph: Graph) -> int | None:
        found: int | None = explore.fewest_cycles(graph, known)
        return found

    return count


class Built(dict[str, Any]):
    """What `build.json` holds, as a dict that a notebook shows in one line."""

    def __repr__(self) -> str:
        counted = "dsp" in self
        dsp = f"{self['dsp']:,} DSP" if counted else f"{self['planned_dsp']:,} DSP planned"
        return (
            f"Built({self['name']} for {self['target']}: {rate_text(self['fps'])} frames/s at "
            f"{self['clock_mhz']:g} MHz, {dsp}; {self['bitstream'] or self['verilog']})"
        )


def build(
    model: Any,
    out: str | Path,
    *,
    target: str = defaults.TARGET,
    clock: str = defaults.CLOCK,
    fps: float | None = None,
    max_dsp: int | None = None,
    rtl_only: bool = False,
    pins: str | Path | None = None,
    name: str | None = None,
    log: Callable[[str], None] | None = None,
) -> Built:
    """Write Verilog, memories and manifest into the folder `out`, and make the bitstream.

    `model` is a Graph or what `load` takes. `fps` asks for the smallest design that reaches so many
    inferences a second, `max_dsp` for the fastest within so many multipliers. Returns a dict,
    what `build.json` holds. Raises HwsimError as `hwsim build` ends: for a request out of reach,
    and with exit status 1 for a design that does not fit or misses its clock.
    """
    targets, rtl_build = hardware("rtl.targets"), hardware("rtl.build")
    named = name or (Path(model).stem if isinstance(model, str | Path) else None)
    request = rtl_build.Request(
        target=targets.find_target(target).name,
        clock_mhz=hardware("rtl.flow.clock").parse_clock(clock),
        fps=fps,
        max_dsp=max_dsp,
        rtl_only=rtl_only,
        pins=None if pins is None else Path(pins),
        name=named,
    )
    return Built(rtl_build.build(as_graph(model), Path(out), request, log=log))


def report(folder: str | Path) -> Path:
    """Write `report.html` into a folder that `build` wrote; gives its path."""
    from hwsim.reporting import write_report

    return write_report(Path(folder))
