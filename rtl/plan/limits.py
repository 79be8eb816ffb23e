"""How much of a target a design takes by default, and what cannot fit, said before any work."""

from __future__ import annotations

from hwsim.errors import HwsimError
from hwsim.graph import Graph
from rtl.plan.cost import bottleneck, least_adder_bits, multiplier_cost
from rtl.plan.plan import Plan
from rtl.plan.search import least_multipliers, plan_by_default, plan_for_multipliers
from rtl.targets import Target

DEFAULT_SHARE = 0.75  # of a target's multipliers at most, where the user asks for nothing
DEFAULT_MULTIPLIERS = 16  # for a family without a chosen device


def default_plan(graph: Graph, target: Target) -> Plan:
    """What is taken where the user asks for no rate and no budget."""
    dsp = target.available.get("dsp")
    share = DEFAULT_MULTIPLIERS if dsp is None else int(dsp * DEFAULT_SHARE)
    return plan_by_default(graph, share, dsp)


def check_fit(graph: Graph, plan: Plan, target: Target, clock_mhz: float) -> None:
    """Raise HwsimError where a plan cannot fit its target, whatever synthesis makes of it.

    The sentence says what bounds the design, and what would fit. A family has no limits.
    """
    dsp, lut = target.available.get("dsp"), target.available.get("lut")
    cost = multiplier_cost(graph, plan)
    if dsp is not None and cost > dsp:
        raise HwsimError(
            f"the design must take at most the {dsp} multipliers of {target.name}, not {cost}: "
            f"{_within(graph, dsp, clock_mhz)}"
        )
    adders = least_adder_bits(graph, plan)
    if lut is not None and adders > lut:
        raise HwsimError(
            f"the design must take at most the {lut} look-up tables of {target.name}, not more "
            f"than {adders} for the adders of its unrolled layers alone; ask for fewer inferences "
            "a second"
        )


def _within(graph: Graph, dsp: int, clock_mhz: float) -> str:
    """What can be had for so many multipliers."""
    least = least_multipliers(graph)
    if least > dsp:
        return f"this network needs at least {least}, fully folded"
    bound = bottleneck(graph, plan_for_multipliers(graph, dsp))
    rate = clock_mhz * 1e6 / bound.cycles
    return f"there, {bound.name!r} bounds it to {rate:.6g} inferences a second at {clock_mhz:g} MHz"
