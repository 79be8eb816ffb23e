"""From Verilog to resource counts by Yosys, and to a bitstream by a family's nextpnr and packer.

Every file is made in a temporary folder; the folder that the caller names receives finished files
only, each by a rename, and nothing at all where a tool fails. Where the device is too small or too
slow for the design it receives the logs, and no bitstream.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hwsim.build_folder import LOGS
from hwsim.errors import HwsimError
from rtl.flow import cells, nextpnr, shell, tools, yosys
from rtl.flow.clock import check_clock
from rtl.flow.instances import Parts, by_node
from rtl.flow.workplace import Log, ToolLog, Workplace, deliver, logs_of, workplace
from rtl.targets import TARGETS, Target, find_target

SEEDS = (1, 2, 3)
NEAR = 0.85  # seeds differ by about a tenth: a design slower than this is not worth another try
MARGIN = 0.95  # of what was reached, as the clock that is proposed: another try may be as bad
UNCHOSEN = "_pins_not_chosen"  # in the name of a bitstream whose pins nobody chose
RESOURCES = ("lut", "ff", "dsp", "bram", "io")
_NETLIST = "netlist.json"
_NO_PARTS: Parts = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Utilization:
    """What a design takes of a target, and how fast it runs there.

    `lut`, `ff`, `dsp`, `bram` (each as the target's family has them) and `io` are counts, `other`
    the remaining cells by name, `available` the target's numbers (empty for a family). `estimate`
    marks counts of Yosys alone. `fmax_mhz` is by clock port, `timing_met` whether `clock_mhz` is
    met; they are empty or None without place and route, as are `seed`, `critical_path`,
    `bitstream`, `constraints` and `pins` ("given" or "not chosen"). `fits` is None for a family,
    `suggested_clock_mhz` there where the clock is missed. `shell` says that the pins are those of
    the byte-wide shell. `layers` counts by node, the rest under "". `logs` are files of `out_dir`.
    `tools` holds versions, `seconds` the time of each step.
    """

    target: str
    part: str
    estimate: bool
    lut: int
    ff: int
    dsp: int
    bram: int
    io: int
    other: Mapping[str, int]
    available: Mapping[str, int]
    tools: Mapping[str, str]
    seconds: Mapping[str, float]
    clock_mhz: float | None = None
    fmax_mhz: Mapping[str, float] = field(default_factory=dict)
    timing_met: bool | None = None
    critical_path: str = ""
    seed: int | None = None
    shell: bool = False
    bitstream: Path | None = None
    constraints: Path | None = None
    fits: bool | None = None
    suggested_clock_mhz: float | None = None
    pins: str | None = None
    layers: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    logs: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return a dict of plain values for JSON; paths as text."""
        return {key: str(v) if isinstance(v, Path) else v for key, v in asdict(self).items()}


class Unmet(HwsimError):
    """A sound design for which the device is too small or too slow; `used` says what it takes."""

    def __init__(self, message: str, used: Utilization) -> None:
        super().__init__(message, exit_status=1)
        self.used = used


class Missed(HwsimError):
    """The clock was missed by every seed; `best` is the fastest placement."""

    def __init__(self, message: str, best: nextpnr.Placement) -> None:
        super().__init__(message, exit_status=1)
        self.best = best


def synthesize(
    sources: Path | Sequence[Path],
    top: str,
    target: str,
    *,
    out_dir: Path | None = None,
    parts: Parts = _NO_PARTS,
    log: Log | None = None,
) -> Utilization:
    """Count what the design takes of a target, by synthesis alone; writes the log into `out_dir`.

    `sources` are Verilog files and the memory files that they read by bare name. Raises HwsimError
    for an unknown target or a source that cannot be read, and, with exit status 1, for a design
    that Yosys refuses or (TooLarge) that needs more of a resource than the target has.
    """
    device = find_target(target)
    with workplace(sources) as work:
        steps = ToolLog(log)
        ports = yosys.read_ports(work.folder, work.verilog, top)
        used = _synthesize(work, top, device, sum(port.width for port in ports), steps, parts)
        nextpnr.check_fit(device, _resources(used), used.layers)
        if out_dir is None:
            return used
        logs = logs_of(work)
        deliver(logs, out_dir)
    return replace(used, logs=_listed(logs))


def bitstream(
    sources: Path | Sequence[Path],
    top: str,
    target: str,
    *,
    clock_mhz: float,
    out_dir: Path,
    clock: str = "clk",
    reset: str = "rst",
    pins: Path | None = None,
    narrow: bool = False,
    seeds: Sequence[int] = SEEDS,
    parts: Parts = _NO_PARTS,
    log: Log | None = None,
) -> Utilization:
    """Build a bitstream that meets `clock_mhz` on the port `clock`.

    Writes the bitstream, the constraints and the tools' logs into the folder `out_dir`. `pins` is a
    file that locates every port; without one the ports take free pins in turn, and the bitstream's
    name says that nobody chose them. `parts` are the instances in `top`, for messages. Where ports
    are more than the package has, or `narrow` asks for it, the design is put into a shell of
    byte-wide AXI4-Streams (`rtl.flow.shell`), which is written too, as `<top>_shell.v`.
    Raises HwsimError as `synthesize` does, for a target without bitstreams, for a folder that
    cannot be written and for pins that do not fit the ports; and Unmet, when all but a bitstream is
    written, for a design that does not fit or for which none of `seeds` meets the clock.
    """
    device = find_target(target)
    check_clock(clock_mhz)
    route, constraints = device.family.route, device.family.constraints
    if route is None or constraints is None:
        able = dict.fromkeys(t.family.title for t in TARGETS.values() if not t.estimate)
        kinds = " or ".join(f"an {title} device" for title in able)
        raise HwsimError(f"a bitstream's target must be {kinds}, not {target!r}")
    if not (out_dir.is_dir() and os.access(out_dir, os.W_OK)):
        raise HwsimError(f"the output folder must exist and be writable, not {str(out_dir)!r}")
    located = constraints.read_pins(pins) if pins and constraints.read_pins else None
    steps = ToolLog(log)
    with workplace(sources) as work:
        inner = yosys.read_ports(work.folder, work.verilog, top)
        ports = shell.placed(inner, 0 if narrow else device.available["io"])
        mark = "" if located else UNCHOSEN
        results, outer = [f"{top}{mark}{route.bitstream}", f"{top}{constraints.suffix}"], top
        if narrow or ports != inner:
            outer = f"{top}_shell"
            text = shell.wrap(top, inner, name=outer, clock=clock, reset=reset)
            results.append(work.add(f"{outer}.v", text))
        work.add(results[1], constraints.write(ports, clock, clock_mhz, located))

        pin_count = sum(port.width for port in ports)
        used = _synthesize(work, outer, device, pin_count, steps, parts)
        used = replace(
            used,
            estimate=False,
            clock_mhz=clock_mhz,
            shell=outer != top,
            constraints=Path(results[1]),
            pins="given" if located else "not chosen",
        )
        try:
            nextpnr.check_fit(device, _resources(used), used.layers)
            placed = _meet(work, device, results[1], clock_mhz, seeds, steps, parts)
        except (nextpnr.TooLarge, Missed) as error:
            logs = logs_of(work)
            deliver([work.folder / result for result in results[1:]] + logs, out_dir)
            short = replace(_fallen_short(used, error), logs=_listed(logs))
            raise Unmet(str(error), _from_facts(short.to_dict(), out_dir)) from None
        with steps.step(lambda: tools.find(route.packer), "writing the bitstream") as packer:
            files = (nextpnr.CONFIG, results[0])
            tools.run(packer, *route.packing, *files, cwd=work.folder, timeout=900)
        logs = logs_of(work)
        built = replace(
            _with_placement(used, placed),
            timing_met=True,
            bitstream=Path(results[0]),
            logs=_listed(logs),
        )
        deliver([work.folder / result for result in results] + logs, out_dir)
    return _from_facts(built.to_dict(), out_dir)


def _listed(logs: Sequence[Path]) -> tuple[str, ...]:
    return tuple(f"{LOGS}/{path.name}" for path in logs)


def _resources(used: Utilization) -> dict[str, int]:
    return {name: getattr(used, name) for name in RESOURCES}


def _as_fields(counts: Mapping[str, int]) -> dict[str, Any]:
    """Counts by resource as fields of `Utilization`."""
    return {name: counts[name] for name in RESOURCES if name in counts}


def _with_placement(used: Utilization, placed: nextpnr.Placement) -> Utilization:
    """With nextpnr's own counts, and the timing."""
    return replace(
        used,
        **_as_fields(placed.used),
        fits=True,
        fmax_mhz=placed.fmax_mhz,
        critical_path=placed.critical_path,
        seed=placed.seed,
    )


def _fallen_short(used: Utilization, error: nextpnr.TooLarge | Missed) -> Utilization:
    """What there is to say about a design without a bitstream."""
    if isinstance(error, nextpnr.TooLarge):
        return replace(used, **_as_fields(error.used), fits=False)
    slower = suggestion(error.best.slowest_mhz)
    return replace(_with_placement(used, error.best), timing_met=False, suggested_clock_mhz=slower)


def suggestion(reached_mhz: float) -> float:
    """A clock that a design that reached so much will meet, in whole MHz where it is above 1."""
    safe = MARGIN * reached_mhz
    return float(math.floor(safe)) if safe >= 1 else math.floor(100 * safe) / 100


def _from_facts(facts: Mapping[str, Any], out_dir: Path) -> Utilization:
    """The result of which `facts` are the dict, with its files in `out_dir`."""
    names = [name for name in ("bitstream", "constraints") if facts[name]]
    paths: dict[str, Any] = {name: out_dir / facts[name] for name in names}
    return Utilization(**(dict(facts) | paths))


def _synthesize(
    work: Workplace, top: str, device: Target, pin_count: int, steps: ToolLog, parts: Parts
) -> Utilization:
    """What Yosys counts of the netlist."""
    with steps.step(tools.yosys, f"synthesizing {top} for {device.name}"):
        found = yosys.synthesize(work.folder, work.verilog, top, device.family, _NETLIST)
    used, other = cells.count(found, device.family)
    return Utilization(
        target=device.name,
        part=device.part,
        estimate=True,
        **_as_fields(used),
        io=pin_count,
        other=other,
        available=dict(device.available),
        tools=steps.versions,
        seconds=steps.seconds,
        layers=by_node(work.folder / _NETLIST, top, device.family, parts) if parts else {},
    )


def _meet(
    work: Workplace,
    device: Target,
    constraints: str,
    clock_mhz: float,
    seeds: Sequence[int],
    steps: ToolLog,
    parts: Parts = _NO_PARTS,
) -> nextpnr.Placement:
    """Place and route with one seed after another until the clock is met; else raises Missed."""
    route, tried = device.family.route, list[nextpnr.Placement]()
    assert route is not None
    for seed in seeds:
        again = f" again, seed {seed}" if tried else ""
        with steps.step(
            lambda: tools.find(route.nextpnr), f"placing and routing at {clock_mhz:g} MHz{again}"
        ):
            placed = nextpnr.run(work.folder, _NETLIST, constraints, device, seed=seed, parts=parts)
        if placed.slowest_mhz >= clock_mhz:
            return placed
        tried.append(placed)
        if placed.slowest_mhz < NEAR * clock_mhz:
            break
    best = max(tried, key=lambda placed: placed.slowest_mhz)
    raise Missed(
        f"the design must run at {clock_mhz:g} MHz on {device.name}, not at {best.slowest_mhz:.1f},"
        f" {clock_mhz - best.slowest_mhz:.1f} MHz too slow (best of {len(tried)}"
        f" {'try' if len(tried) == 1 else 'tries'}; slowest path: {best.critical_path});"
        f" {suggestion(best.slowest_mhz):g} MHz should fit",
        best,
    )
