"""The build folder: Verilog, memories, manifest, constraints, bitstream, and what it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from hwsim import defaults
from hwsim.build_folder import (
    MODEL,
    READABLE,
    README,
    BuildFacts,
    Cycles,
    Hashes,
    Implemented,
    Manifest,
    PlanRow,
    RealStep,
    RowOutput,
    SlowestNode,
    StreamPort,
    plain,
)
from hwsim.errors import HwsimError
from hwsim.graph import Graph
from hwsim.notices import warn
from rtl.design import AxisPort, Design, axis_ports
from rtl.flow import shell, synth, verilog
from rtl.flow.workplace import replacing
from rtl.layers import check_supported
from rtl.parts.axis import lane_bits
from rtl.plan import limits, search
from rtl.plan.constants import with_block_constants
from rtl.plan.cost import bottleneck, multiplier_cost, node_cycles
from rtl.plan.depths import with_depths
from rtl.plan.lanes import edge_lanes
from rtl.plan.latency import latency_bound
from rtl.plan.memories import memories
from rtl.plan.plan import Plan
from rtl.readme import NOT_CHOSEN, readme
from rtl.targets import Port, Target, find_target

Log = Callable[[str], None]
Streams = tuple[Sequence[AxisPort], Sequence[AxisPort]]  # inputs and outputs of a design


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to build: for which target and clock, how fast or how large, and how far to go.

    `name` is what people call the model; the report has it as its title.
    """

    target: str = defaults.TARGET
    clock_mhz: float = defaults.CLOCK_MHZ
    fps: float | None = None
    max_dsp: int | None = None
    rtl_only: bool = False
    pins: Path | None = None
    top: str = "hwsim_top"
    name: str | None = None


class PinsNotChosen(UserWarning):
    """A bitstream was written whose pins are no board's."""


def choose_plan(graph: Graph, request: Request) -> Plan:
    """The plan that a request asks for, FIFO depths and places of constants included.

    With `fps` the smallest that is fast enough, with `max_dsp` the fastest within it, otherwise
    `limits.default_plan`. Raises HwsimError where none is, and unless only RTL is wanted where the
    target cannot hold it.
    """
    target = find_target(request.target)
    plan = (
        _plan_for_rate(graph, request, target)
        if request.fps is not None
        else _plan_within(graph, request, target)
    )
    if not request.rtl_only:
        limits.check_fit(graph, plan, target, request.clock_mhz)
    return with_block_constants(graph, with_depths(graph, plan), target)


def _plan_within(graph: Graph, request: Request, target: Target) -> Plan:
    """The fastest within the multipliers that are asked for, or what is taken by default."""
    budget = request.max_dsp
    if budget is not None and not isinstance(budget, Integral):
        raise HwsimError(f"max-dsp must be a whole number, not {budget!r}")
    if budget is None:
        return limits.default_plan(graph, target)
    return search.plan_for_multipliers(graph, budget)


def _plan_for_rate(graph: Graph, request: Request, target: Target) -> Plan:
    assert request.fps is not None
    if not (isinstance(request.fps, Real) and 0 < request.fps < float("inf")):
        raise HwsimError(f"fps must be a number above 0, not {request.fps!r}")
    cycles = int(request.clock_mhz * 1e6 / request.fps)
    plan = search.plan_for_cycles(graph, max(cycles, 1), target.available.get("dsp"))
    bound = bottleneck(graph, plan)
    if bound.cycles > cycles:
        raise HwsimError(
            f"fps must be at most {request.clock_mhz * 1e6 / bound.cycles:.0f} at "
            f"{request.clock_mhz:g} MHz, where {bound.name!r} takes {bound.cycles} cycles fully "
            f"unfolded, not {request.fps:g}"
        )
    cost = multiplier_cost(graph, plan)
    if request.max_dsp is not None and cost > request.max_dsp:
        raise HwsimError(
            f"max-dsp must be at least {cost} for {request.fps:g} inferences a second, not "
            f"{request.max_dsp}"
        )
    return plan


def build(
    graph: Graph, out: Path, request: Request, *, plan: Plan | None = None, log: Log | None = None
) -> dict[str, Any]:
    """Build a folder for `graph` at `out`, whole or not at all; returns what `build.json` holds.

    `out` may be a folder that an earlier build wrote (it is replaced) or an empty one. Raises
    HwsimError for an unknown target, a folder that cannot be used, pins that do not fit the ports
    and a plan out of reach; and, with exit status 1, for a design that does not fit or does not
    meet the clock. Then the folder is there with all but a bitstream, and `build.json` says why.
    Warns (`PinsNotChosen`) of a bitstream whose pins nobody chose.
    """
    say = log or (lambda _: None)
    check_supported(graph)
    target = find_target(request.target)
    pins = _read_pins(request, target)
    unmet: synth.Unmet | None = None
    with replacing(out) as folder:
        started = time.monotonic()
        plan = plan or choose_plan(graph, request)
        bound = bottleneck(graph, plan)
        say(f"lowering {len(graph.nodes)} nodes, {plan.multipliers} multipliers")
        constraints = _constraints(axis_ports(graph, plan), target, request, pins)
        design = Design(graph, plan)
        files = _write_verilog(design, folder, request.top, say)
        graph.save(folder / MODEL)
        facts = BuildFacts(
            name=request.name or request.top,
            target=target.name,
            clock_mhz=request.clock_mhz,
            top=request.top,
            multipliers=plan.multipliers,
            planned_dsp=multiplier_cost(graph, plan),
            analytic_cycles=bound.cycles,
            fps=request.clock_mhz * 1e6 / bound.cycles,
            bottleneck=SlowestNode(name=bound.name, cycles=bound.cycles, why=bound.why),
            plan=tuple(plan_rows(graph, plan)),
            verilog=f"{request.top}.v",
        )
        manifest(design, files, request.top, plan, folder).write()
        for name, text in constraints.items():
            (folder / name).write_text(text, encoding="utf-8")
        if not request.rtl_only:
            try:
                used = _implement(design, folder, files, target, request, say)
            except synth.Unmet as error:
                unmet, used = error, error.used
            facts = replace(
                facts,
                implementation=_implementation(used),
                bitstream=used.bitstream.name if used.bitstream else None,
                met=None if used.estimate else bool(used.timing_met),
                problem=str(unmet) if unmet else None,
            )
        facts = replace(facts, seconds=round(time.monotonic() - started, 1))
        facts.write(folder)
        (folder / README).write_text(readme(design, facts), encoding="utf-8")
    if unmet is not None:
        raise HwsimError(f"{unmet} (all but a bitstream is in {str(out)!r})", exit_status=1)
    if facts.bitstream and facts.pins_not_chosen:
        warn(f"{facts.bitstream}: {NOT_CHOSEN}", PinsNotChosen)
    return facts.to_dict()


def _write_verilog(design: Design, folder: Path, top: str, say: Log) -> dict[str, list[str]]:
    """Write the flat netlist and, for waveforms, the readable one; file names by kind."""
    say("writing Verilog")
    found: dict[str, list[str]] = {}
    flat, readable = verilog.convert_both(design, name=top)
    for texts, place, suffix in ((flat, folder, ""), (readable, folder / READABLE, "_readable")):
        place.mkdir(exist_ok=True)
        for name, text in texts.items():
            (place / name).write_text(text, encoding="utf-8")
        relative = [str((place / name).relative_to(folder)) for name in texts]
        found[f"sources{suffix}"] = [n for n in relative if n.endswith(".v")]
        found[f"memories{suffix}"] = [n for n in relative if not n.endswith(".v")]
    return found


def manifest(
    design: Design, files: Mapping[str, list[str]], top: str, plan: Plan, folder: Path
) -> Manifest:
    """All that is needed to drive the design from any simulator."""
    listed: dict[str, Any] = {key: tuple(folder / f for f in names) for key, names in files.items()}
    return Manifest(
        folder=folder,
        top=top,
        **listed,
        clock="clk",
        reset="rst",
        cycles=Cycles(
            interval=bottleneck(design.graph, plan).cycles,
            latency=latency_bound(design.graph, plan),
        ),
        inputs=tuple(map(_port, design.inputs)),
        outputs=tuple(map(_port, design.outputs)),
        model=folder / MODEL,
        hashes=Hashes(graph=design.graph.hash(), plan=plan.hash()),
    )


def _port(port: AxisPort) -> StreamPort:
    kind = port.type
    return StreamPort(
        name=port.name,
        prefix=port.prefix,
        shape=kind.shape,
        bits=kind.format.width,
        signed=kind.format.signed,
        lanes=port.beat.lanes,
        lane_bits=lane_bits(port.beat),
        element=port.element or "real",
        scale=tuple(kind.scales()),
        zero_point=kind.zero_point,
        reals=port.reals,
        steps=tuple(RealStep(**asdict(step)) for step in port.steps),
    )


def _read_pins(request: Request, target: Target) -> str | None:
    """The text of the user's pins file, before any work is done."""
    if request.pins is None:
        return None
    constraints = target.family.constraints
    if constraints is None or constraints.read_pins is None:
        raise HwsimError(f"pins must be of a target with bitstreams, not of {target.name}")
    return constraints.read_pins(request.pins)


def _constraints(
    streams: Streams, target: Target, request: Request, pins: str | None
) -> dict[str, str]:
    """The file that tells the target's own tools the clock, and the pins that the user gave."""
    constraints = target.family.constraints
    if constraints is None:
        return {}
    ports: Sequence[Port] = _verilog_ports(streams)
    if not request.rtl_only and not target.estimate:  # what goes on pins may be the shell's ports
        ports = shell.placed(ports, target.available["io"])
    text = constraints.write(ports, "clk", request.clock_mhz, pins)
    return {f"{request.top}{constraints.suffix}": text}


def _verilog_ports(streams: Streams) -> list[Port]:
    ports = [Port("clk", 1, True), Port("rst", 1, True)]
    inputs, outputs = streams
    for p, inward in [(p, True) for p in inputs] + [(p, False) for p in outputs]:
        ports.append(Port(f"{p.prefix}_tdata", p.beat.lanes * lane_bits(p.beat), inward))
        ports += [Port(f"{p.prefix}_{name}", 1, inward) for name in ("tvalid", "tlast")]
        ports.append(Port(f"{p.prefix}_tready", 1, not inward))
    return ports


def _implement(
    design: Design,
    folder: Path,
    files: Mapping[str, list[str]],
    target: Target,
    request: Request,
    say: Log,
) -> synth.Utilization:
    """Synthesis for counts, and for a device with an open flow the bitstream."""
    sources = [folder / name for name in files["sources"] + files["memories"]]
    parts = design.names.parts()
    if target.estimate:
        return synth.synthesize(
            sources, request.top, target.name, out_dir=folder, parts=parts, log=say
        )
    return synth.bitstream(
        sources,
        request.top,
        target.name,
        clock_mhz=request.clock_mhz,
        out_dir=folder,
        pins=request.pins,
        parts=parts,
        log=say,
    )


def _implementation(used: synth.Utilization) -> Implemented:
    """What synthesis found out, as `build.json` has it; files by name, for the folder may move."""
    fmax = used.fmax_mhz
    same = {f.name for f in fields(Implemented)} & {f.name for f in fields(used)}
    facts: dict[str, Any] = {name: getattr(used, name) for name in same}
    facts |= {
        "constraints": used.constraints.name if used.constraints else None,
        "fmax_mhz": min(fmax.values()) if fmax else None,
        "fmax_by_clock": dict(fmax),
        "tool_seconds": dict(used.seconds),
    }
    return Implemented(**facts)


def plan_rows(graph: Graph, plan: Plan) -> Iterator[PlanRow]:
    """A row for each node: operator, output shape and format, plan, cycles, work and memory."""
    stored, lanes = memories(graph, plan), edge_lanes(graph, plan)
    for node in graph.nodes:
        chosen = plan.nodes[node.name]
        made = [
            RowOutput(name=edge, shape=kind.shape, format=str(kind.format))
            for edge, kind in zip(node.outputs, graph.output_types(node), strict=True)
        ]
        yield PlanRow(
            node=node.name,
            operator=node.op.kind,
            shape=made[0].shape,
            format=made[0].format,
            outputs=tuple(made) if len(made) > 1 else (),
            cycles=node_cycles(graph, node, chosen),
            macs=node.op.work(graph.input_types(node)).macs,
            memory_bits=sum(memory.bits for memory in stored.get(node.name, ())),
            **{"lanes": lanes[node.outputs[0]], **chosen.facts()},
            fifos={str(i): d for (n, i), d in plan.fifos.items() if n == node.name},
        )


def describe(graph: Graph, plan: Plan) -> list[dict[str, Any]]:
    """The rows of a plan as plain values."""
    return [plain(row) for row in plan_rows(graph, plan)]
