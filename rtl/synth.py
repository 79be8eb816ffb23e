"""From Verilog to resource counts by Yosys, and to an ECP5 bitstream by nextpnr and ecppack.

Every file is made in a temporary folder; the folder that the caller names receives finished files
only, each by a rename, and nothing at all where a step fails.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hwsim.errors import HwsimError
from rtl import bitcache, cells, lpf, place, shell, targets, tools, yosys
from rtl.targets import Target, check_clock, find_target
from rtl.workplace import Log, Steps, Work, publish, workplace

SEEDS = (1, 2, 3)
NEAR = 0.85  # seeds differ by about a tenth: a design slower than this is not worth another try
_NETLIST = "netlist.json"


@dataclass(frozen=True, slots=True)
class Utilization:
    """What a design takes of a target, and how fast it runs there.

    `lut` (LUT4 for ECP5, LUT6 for Xilinx), `ff`, `dsp`, `bram` (18 kbit for ECP5, 36 kbit for
    Xilinx) and `io` are counts, `other` the remaining cells by name, `available` the target's
    numbers (empty for a family). `estimate` marks counts of Yosys alone. `fmax_mhz` is by clock
    port, `timing_met` whether `clock_mhz` is met; they are empty or None without place and route,
    as are `seed`, `critical_path`, `bitstream` and `constraints`. `shell` says that the pins are
    those of the byte-wide shell. `tools` holds versions, `seconds` the time of each step.
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

    def to_dict(self) -> dict[str, Any]:
        """Return a dict of plain values for JSON; paths as text."""
        return {key: str(v) if isinstance(v, Path) else v for key, v in asdict(self).items()}


def synthesize(
    sources: Path | Sequence[Path], top: str, target: str, *, log: Log | None = None
) -> Utilization:
    """Count what the design takes of a target, by synthesis alone; writes no file.

    `sources` are Verilog files and the memory files that they read by bare name. Raises HwsimError
    for an unknown target or a source that cannot be read, and, with exit status 1, for a design
    that Yosys refuses or that needs more of a resource than the target has.
    """
    device = find_target(target)
    with workplace(sources) as work:
        steps = Steps(log)
        ports = yosys.read_ports(work.folder, work.verilog, top)
        used, other = _synthesize(work, top, device, sum(port.width for port in ports), steps)
    return _counted(device, used, other, steps)


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
    cache: Path | None = None,
    log: Log | None = None,
) -> Utilization:
    """Build a bitstream that meets `clock_mhz` on the port `clock`.

    Writes `<top>.bit` and `<top>.lpf` into the folder `out_dir`. `pins` is an LPF file that locates
    every port; without one the ports take free pins in turn. Where they are more than the package
    has, or `narrow` asks for it, the design is put into a shell of byte-wide AXI4-Streams
    (`rtl.shell`), which is written too, as `<top>_shell.v`. In the folder `cache` results are kept
    and found again by a hash of all that makes them; `seconds` are then those of the first time.
    Raises HwsimError as `synthesize` does, for a target without bitstreams, for a folder that
    cannot be written, for pins that do not fit the ports, and, with exit status 1, where none of
    `seeds` meets the clock.
    """
    device = find_target(target)
    check_clock(clock_mhz)
    if device.estimate:
        raise HwsimError(f"a bitstream's target must be an ECP5 device, not {target!r}")
    if not (out_dir.is_dir() and os.access(out_dir, os.W_OK)):
        raise HwsimError(f"the output folder must exist and be writable, not {str(out_dir)!r}")
    located = lpf.read_pins(pins) if pins else None
    steps = Steps(log)
    with workplace(sources) as work:
        inner = yosys.read_ports(work.folder, work.verilog, top)
        ports = shell.placed(inner, 0 if narrow else device.available["io"])
        results, outer = [f"{top}.bit", f"{top}.lpf"], top
        if narrow or ports != inner:
            outer = f"{top}_shell"
            text = shell.wrap(top, inner, name=outer, clock=clock, reset=reset)
            results.append(work.add(f"{outer}.v", text))
        work.add(results[1], lpf.write(ports, clock, clock_mhz, located))

        name = _key(work, outer, device, clock_mhz, seeds)
        kept = bitcache.load(cache, name) if cache else None
        if kept is not None:
            steps.say("taking the bitstream that was built from the same before")
            publish(kept[1], out_dir)
            return _from_facts(kept[0], out_dir)

        pin_count = sum(port.width for port in ports)
        _, other = _synthesize(work, outer, device, pin_count, steps)
        placed = _meet(work, device, results[1], clock_mhz, seeds, steps)
        with steps.step(tools.ecppack, "writing the bitstream") as packer:
            tools.run(packer, "--compress", place.CONFIG, results[0], cwd=work.folder, timeout=900)
        built = replace(
            _counted(device, placed.used, other, steps),
            estimate=False,
            clock_mhz=clock_mhz,
            fmax_mhz=placed.fmax_mhz,
            timing_met=True,
            critical_path=placed.critical_path,
            seed=placed.seed,
            shell=outer != top,
            bitstream=Path(results[0]),
            constraints=Path(results[1]),
        )
        files = [work.folder / result for result in results]
        if cache:
            bitcache.store(cache, name, built.to_dict(), files)
        publish(files, out_dir)
    return _from_facts(built.to_dict(), out_dir)


def _from_facts(facts: Mapping[str, Any], out_dir: Path) -> Utilization:
    """The result of which `facts` are the dict, with its files in `out_dir`."""
    paths = {name: out_dir / facts[name] for name in ("bitstream", "constraints")}
    return Utilization(**(dict(facts) | paths))


def _key(work: Work, top: str, device: Target, clock_mhz: float, seeds: Sequence[int]) -> str:
    """A hash of the files to build from, of what is asked, and of the tools and code that build."""
    code = [Path(str(module.__file__)) for module in (cells, place, targets, yosys)]
    used = [find() for find in (tools.yosys, tools.nextpnr_ecp5, tools.ecppack)]
    parts: list[str | bytes] = [top, device.name, repr(clock_mhz), repr(list(seeds))]
    parts += [f"{tool.name} {tool.version} {tool.origin.value}" for tool in used]
    for path in [*sorted(work.folder.iterdir()), Path(__file__), *code]:
        if path.name not in yosys.SCRATCH:
            parts += [path.name, path.read_bytes()]
    return bitcache.key(*parts)


def _counted(
    device: Target, used: Mapping[str, int], other: Mapping[str, int], steps: Steps
) -> Utilization:
    return Utilization(
        target=device.name,
        part=device.part,
        estimate=True,
        lut=used["lut"],
        ff=used["ff"],
        dsp=used["dsp"],
        bram=used["bram"],
        io=used["io"],
        other=other,
        available=dict(device.available),
        tools=steps.versions,
        seconds=steps.seconds,
    )


def _synthesize(
    work: Work, top: str, device: Target, pin_count: int, steps: Steps
) -> tuple[dict[str, int], dict[str, int]]:
    """Return what the netlist takes, and its other cells."""
    with steps.step(tools.yosys, f"synthesizing {top} for {device.name}"):
        found = yosys.synthesize(work.folder, work.verilog, top, device.family, _NETLIST)
    used, other = cells.count(found, device.family)
    used["io"] = pin_count
    place.check_fit(device, used)
    return used, other


def _meet(
    work: Work,
    device: Target,
    preferences: str,
    clock_mhz: float,
    seeds: Sequence[int],
    steps: Steps,
) -> place.Placement:
    """Place and route with one seed after another until the clock is met."""
    tried: list[place.Placement] = []
    for seed in seeds:
        again = f" again, seed {seed}" if tried else ""
        with steps.step(tools.nextpnr_ecp5, f"placing and routing at {clock_mhz:g} MHz{again}"):
            placed = place.run(work.folder, _NETLIST, preferences, device, seed=seed)
        if placed.slowest_mhz >= clock_mhz:
            return placed
        tried.append(placed)
        if placed.slowest_mhz < NEAR * clock_mhz:
            break
    best = max(tried, key=lambda placed: placed.slowest_mhz)
    raise HwsimError(
        f"the design must run at {clock_mhz:g} MHz on {device.name}, not at {best.slowest_mhz:.1f},"
        f" {clock_mhz - best.slowest_mhz:.1f} MHz too slow (best of {len(tried)}"
        f" {'try' if len(tried) == 1 else 'tries'}; slowest path: {best.critical_path})",
        exit_status=1,
    )
