"""Which plan keeps a rate or a budget: a menu for every node, and a choice from each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwsim.errors import HwsimError
from hwsim.graph import Graph, InputPort
from rtl.layers.base import Implementation, Option, divisors
from rtl.layers.table import check_supported, implementations
from rtl.plan.cost import bottleneck, multiplier_cost
from rtl.plan.plan import Plan

SLOWEST = 1 << 62  # cycles that any hardware keeps


def plan_for_cycles(graph: Graph, cycles: int) -> Plan:
    """The cheapest hardware that takes at most `cycles` an inference, as far as folds reach."""
    return menu(graph).plan(cycles)


def plan_for_multipliers(graph: Graph, budget: int, *, at_least: bool = False) -> Plan:
    """The fastest hardware whose estimated multipliers, requantizers too, are within `budget`.

    With `at_least` the budget grows to what the smallest hardware takes, where it is less.
    """
    choices = menu(graph)
    smallest = choices.plan(SLOWEST)
    least = choices.multipliers(smallest)
    if at_least:
        budget = max(budget, least)
    if least > budget:
        raise HwsimError(
            f"max-dsp must be at least {least}, which this network needs fully folded, not {budget}"
        )
    low, high = 0, bottleneck(graph, smallest).cycles  # `low` is over the budget or out of reach
    while high - low > 1:
        middle = (low + high) // 2
        if choices.multipliers(choices.plan(middle)) <= budget:
            high = middle
        else:
            low = middle
    return choices.plan(high)


def least_multipliers(graph: Graph) -> int:
    """The estimated multipliers of the smallest hardware for a graph."""
    return multiplier_cost(graph, plan_for_cycles(graph, SLOWEST))


@dataclass(frozen=True, slots=True)
class Menu:
    """What every node and input of a graph can be built as, from the cheapest on, each faster.

    `ways` holds each node's implementations by name: their costly questions (is the order of sums
    free, which form has a requantizer) are asked once.
    """

    nodes: Mapping[str, tuple[Option, ...]]
    inputs: Mapping[str, Mapping[int, int]]
    ways: Mapping[str, Mapping[str, Implementation[Any]]]

    def plan(self, cycles: int) -> Plan:
        """The cheapest option of each that takes at most `cycles`, or its fastest."""
        if cycles < 1:
            raise HwsimError(f"cycles for one inference must be at least 1, not {cycles}")
        return Plan(
            nodes={name: _cheapest(options, cycles) for name, options in self.nodes.items()},
            inputs={name: _narrowest(lanes, cycles) for name, lanes in self.inputs.items()},
        )

    def cycles(self) -> list[int]:
        """All counts of cycles at which the plan changes, the fastest first."""
        found = {option.cycles for options in self.nodes.values() for option in options}
        found = found.union(*(lanes.values() for lanes in self.inputs.values()))
        return sorted(found - {0})  # wires take none

    def multipliers(self, plan: Plan) -> int:
        """Hard multipliers of a plan."""
        return sum(
            self.ways[name][chosen.implementation].multipliers(chosen)
            for name, chosen in plan.nodes.items()
        )


def menu(graph: Graph) -> Menu:
    """The options of every node and input of a graph."""
    check_supported(graph)
    ways = {node.name: implementations(graph, node) for node in graph.nodes}
    return Menu(
        {name: ranked(each) for name, each in ways.items()},
        {port.name: _port_lanes(port) for port in graph.inputs},
        {name: {way.name: way for way in each} for name, each in ways.items()},
    )


def ranked(ways: Sequence[Implementation[Any]]) -> tuple[Option, ...]:
    """The options that no cheaper one of any implementation equals in speed."""
    every = [option for way in ways for option in way.options()]
    every.sort(key=lambda option: option.cost)
    found: list[Option] = []
    for option in every:
        if not found or option.cycles < found[-1].cycles:
            found.append(option)
    return tuple(found)


def _cheapest(options: Sequence[Option], cycles: int) -> Any:
    fits = (option.plan for option in options if option.cycles <= cycles)
    return next(fits, options[-1].plan)


def _port_lanes(port: InputPort) -> dict[int, int]:
    """The cycles of an input by its lanes, the least first."""
    return {lanes: port.type.size // lanes for lanes in divisors(port.type.channels)}


def _narrowest(lanes: Mapping[int, int], cycles: int) -> int:
    fits: Iterable[int] = (number for number, taken in lanes.items() if taken <= cycles)
    return next(iter(fits), max(lanes))
