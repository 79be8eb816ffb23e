"""What can be had: plans of one network from the smallest to the fastest, without any synthesis."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from hwsim import defaults
from hwsim.errors import HwsimError
from hwsim.graph import Graph
from rtl.flow.clock import check_clock
from rtl.plan.constants import with_block_constants
from rtl.plan.cost import Bottleneck, bottleneck, least_adder_bits, multiplier_cost
from rtl.plan.depths import with_depths
from rtl.plan.limits import default_plan
from rtl.plan.memories import memories
from rtl.plan.plan import Plan
from rtl.plan.search import menu
from rtl.targets import Target, find_target

COUNT = 12  # options that a table shows


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignPoint:
    """One plan in numbers.

    `fps` are inferences a second at the clock and `cycles` those of one; `multipliers` the hard
    multipliers that Yosys will build, `products` those of one cycle, constants too; `memory_bits`
    all memories, exactly; `block_rams` an estimate (None where the family has none). `over` names
    what the target has too little of, and is None for a family without a device. `default` marks
    what `build` takes where it is asked for neither a rate nor a budget.
    """

    fps: float
    cycles: int
    multipliers: int
    products: int
    memory_bits: int
    block_rams: int | None
    bottleneck: str
    why: str
    over: tuple[str, ...] | None
    default: bool = False

    @property
    def fits(self) -> bool | None:
        """Whether the target has room, as far as is known; None for a family."""
        return None if self.over is None else not self.over

    @property
    def rate(self) -> str:
        """What to ask `build --fps` for to get this plan."""
        digits = max(0, 6 - len(str(int(self.fps))))
        return f"{math.floor(self.fps * 10**digits) / 10**digits:.12g}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "fits": self.fits, "rate": self.rate}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Plans of one network for a target and a clock, the smallest first."""

    target: str
    clock_mhz: float
    available: dict[str, int]
    options: tuple[DesignPoint, ...]

    @property
    def fastest(self) -> DesignPoint | None:
        """The fastest that the target has room for; None where none is, or for a family."""
        return next((option for option in reversed(self.options) if option.fits), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "options": [option.to_dict() for option in self.options]}


def explore(
    graph: Graph,
    target: str = defaults.TARGET,
    clock_mhz: float = defaults.CLOCK_MHZ,
    count: int = COUNT,
) -> Options:
    """About `count` plans from the smallest to the fastest, those past the target among them.

    The smallest, the fastest that fits, the one that `build` takes by default and the fastest of
    all are always there. Raises HwsimError for an unknown target, a clock out of range, and for
    operators without hardware, all of which it names.
    """
    device, clock_mhz = find_target(target), check_clock(clock_mhz)
    if count < 2:
        raise HwsimError(f"the number of plans must be at least 2, not {count}")
    choices = menu(graph)
    within = choices.choices(device.available.get("dsp"))
    steps = {cycles: choice.plan for cycles, choice in within.items()}
    default = bottleneck(graph, default_plan(graph, device)).cycles
    shown = {*_spread(list(steps), count), default}
    fastest = _fastest_fit(graph, steps, device, clock_mhz)
    shown |= set() if fastest is None else {fastest}
    found = {c: _option(graph, steps[c], device, clock_mhz) for c in shown}
    found[default] = replace(found[default], default=True)
    return Options(
        target=device.name,
        clock_mhz=clock_mhz,
        available=dict(device.available),
        options=tuple(found[cycles] for cycles in sorted(found, reverse=True)),
    )


def fewest_cycles(graph: Graph, target: str = defaults.TARGET) -> int | None:
    """Cycles of the fastest plan that a target has room for, as `explore` finds it.

    None where it has room for none; of a family, the fewest that there are.
    """
    device, choices = find_target(target), menu(graph)
    within = choices.choices(device.available.get("dsp"))
    steps = {cycles: choice.plan for cycles, choice in within.items()}
    if not device.available:
        return min(steps)
    return _fastest_fit(graph, steps, device, defaults.CLOCK_MHZ)


def _spread(cycles: list[int], count: int) -> list[int]:
    """So many of `cycles`, in even ratios as far as there are any, both ends among them."""
    if len(cycles) <= count:
        return cycles
    slow, fast = math.log(cycles[0]), math.log(cycles[-1])
    wanted = [slow + (fast - slow) * k / (count - 1) for k in range(count)]
    return sorted({min(cycles, key=lambda c: abs(math.log(c) - at)) for at in wanted}, reverse=True)


def _fastest_fit(
    graph: Graph, steps: dict[int, Plan], device: Target, clock_mhz: float
) -> int | None:
    """Cycles of the fastest plan that the device has room for; the multipliers decide first."""
    if not device.available:
        return None
    for cycles in sorted(steps):
        if multiplier_cost(graph, steps[cycles]) <= device.available["dsp"]:
            option = _option(graph, steps[cycles], device, clock_mhz)
            if option.fits:
                return cycles
    return None


def _option(graph: Graph, plan: Plan, device: Target, clock_mhz: float) -> DesignPoint:
    bound: Bottleneck = bottleneck(graph, plan)
    cost = multiplier_cost(graph, plan)
    whole = with_block_constants(graph, with_depths(graph, plan), device)
    every = [m for each in memories(graph, whole).values() for m in each]
    blocks = sum(m.blocks for m in every) if device.family.primitives else None
    need = {"dsp": cost, "bram": blocks or 0, "lut": least_adder_bits(graph, plan)}
    over = tuple(kind for kind, number in need.items() if number > device.available.get(kind, 0))
    return DesignPoint(
        fps=clock_mhz * 1e6 / bound.cycles,
        cycles=bound.cycles,
        multipliers=cost,
        products=plan.multipliers,
        memory_bits=sum(m.bits for m in every),
        block_rams=blocks,
        bottleneck=bound.name,
        why=bound.why,
        over=over if device.available else None,
    )
