"""Which plan keeps a rate or a budget: a menu for every node, and a choice from each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwsim.errors import HwsimError
from hwsim.graph import Graph, InputPort
from rtl.layers.base import MULTIPLIER, Implementation, Option, divisors
from rtl.layers.table import check_supported, implementations
from rtl.plan.plan import Plan

SLOWEST = 1 << 62  # cycles that any hardware keeps
PRICES = (MULTIPLIER, 3 * MULTIPLIER, 9 * MULTIPLIER, 1 << 40)
"""Look-up tables that a multiplier is worth: more where they are scarce, at last all there are."""
NODE = 100
"""Look-up tables of counters, gathered lanes, FIFOs and small constants of a node, roughly."""


def plan_for_cycles(graph: Graph, cycles: int, budget: int | None = None) -> Plan:
    """The smallest hardware that takes at most `cycles` an inference, as far as folds reach.

    Where it takes more multipliers than `budget`, larger hardware with fewer of them.
    """
    return menu(graph).plan(cycles, budget)


def plan_for_multipliers(graph: Graph, budget: int) -> Plan:
    """The fastest hardware whose estimated multipliers, requantizers too, are within `budget`."""
    choices = menu(graph)
    least = choices.multipliers(choices.thrifty(SLOWEST))
    if least > budget:
        raise HwsimError(
            f"max-dsp must be at least {least}, which this network needs fully folded, not {budget}"
        )
    return choices.plan(choices.fastest(budget), budget)


def plan_by_default(graph: Graph, share: int, budget: int | None) -> Plan:
    """Where nobody asks for a rate or multipliers: the last speed that is worth its area.

    Of the plans that `plan_for_cycles` makes with this budget, those within `share` multipliers,
    the one with the least look-up tables x cycles: a faster one is taken where it is faster by more
    than it is larger. Products of unrolled layers count as multipliers here. Where `share` is too
    little, the plan with the fewest.
    """
    choices = menu(graph)
    least = choices.multipliers(choices.thrifty(SLOWEST))
    every = [
        (max(choice.products, choices.multipliers(choice.plan)), choice)
        for choice in choices.choices(budget, choices.fastest(max(share, least))).values()
    ]
    within = [choice for needed, choice in every if needed <= share]
    if not within:
        return min(every, key=lambda entry: (entry[0], entry[1].cycles))[1].plan
    return min(within, key=lambda choice: (choice.tables * choice.cycles, choice.cycles)).plan


def least_multipliers(graph: Graph) -> int:
    """The estimated multipliers of the hardware that has fewest for a graph."""
    choices = menu(graph)
    return choices.multipliers(choices.thrifty(SLOWEST))


@dataclass(frozen=True, slots=True)
class Selection:
    """One option for each node, and the lanes of each input with the cycles that they take."""

    nodes: Mapping[str, Option]
    inputs: Mapping[str, tuple[int, int]]

    @property
    def plan(self) -> Plan:
        """What is chosen, as a plan."""
        return Plan(
            nodes={name: option.plan for name, option in self.nodes.items()},
            inputs={name: lanes for name, (lanes, _) in self.inputs.items()},
        )

    @property
    def cycles(self) -> int:
        """Those of the slowest."""
        nodes = max((option.cycles for option in self.nodes.values()), default=0)
        return max(nodes, *(cycles for _, cycles in self.inputs.values()))

    @property
    def products(self) -> int:
        """Multipliers as plans are ranked by them: unrolled products too, which adders make."""
        return sum(option.multipliers for option in self.nodes.values())

    @property
    def tables(self) -> int:
        """Look-up tables, roughly, without what multipliers are worth."""
        return sum(NODE + option.tables for option in self.nodes.values())


@dataclass(frozen=True, slots=True)
class Menu:
    """What every node and input of a graph can be built as, from the cheapest on, each faster.

    `priced` has them by the price of a multiplier. `ways` holds each node's implementations by
    name: their costly questions (is the order of sums free, which form has a requantizer) are asked
    once.
    """

    priced: Mapping[int, Mapping[str, tuple[Option, ...]]]
    inputs: Mapping[str, Mapping[int, int]]
    ways: Mapping[str, Mapping[str, Implementation[Any]]]

    @property
    def nodes(self) -> Mapping[str, tuple[Option, ...]]:
        """The options where a multiplier has its usual price."""
        return self.priced[MULTIPLIER]

    def plan(self, cycles: int, budget: int | None = None) -> Plan:
        """The smallest option of each that takes at most `cycles`, or its fastest, as a plan.

        Multipliers get dearer until the plan is within `budget` or has as few as can be.
        """
        return self.choice(cycles, budget).plan

    def choice(self, cycles: int, budget: int | None = None) -> Selection:
        """As `plan`, with what is known of each option."""
        if cycles < 1:
            raise HwsimError(f"cycles for one inference must be at least 1, not {cycles}")
        for price in self.priced:
            found = self._at(price, cycles)
            if budget is None or self.multipliers(found.plan) <= budget:
                break
        return found

    def choices(self, budget: int | None, fewest: int = 1) -> dict[int, Selection]:
        """All that `choice` gives of `fewest` cycles or more, by them, the slowest first."""
        asked = (cycles for cycles in reversed(self.cycles()) if cycles >= fewest)
        every = ((cycles, self.choice(cycles, budget)) for cycles in asked)
        return {cycles: found for cycles, found in every if found.cycles == cycles}

    def thrifty(self, cycles: int) -> Plan:
        """The plan with the fewest multipliers that takes at most `cycles`, whatever its area."""
        return self._at(max(self.priced), cycles).plan

    def _at(self, price: int, cycles: int) -> Selection:
        return Selection(
            {name: _smallest(each, cycles) for name, each in self.priced[price].items()},
            {name: _narrowest(lanes, cycles) for name, lanes in self.inputs.items()},
        )

    def fastest(self, budget: int) -> int:
        """The fewest cycles that can be had for so many multipliers, whatever else it takes."""
        low, high = 0, max(self.cycles())  # `low` is over the budget or out of reach
        while high - low > 1:
            middle = (low + high) // 2
            if self.multipliers(self.thrifty(middle)) <= budget:
                high = middle
            else:
                low = middle
        return high

    def cycles(self) -> list[int]:
        """All counts of cycles at which a plan changes, the fastest first."""
        menus = self.priced.values()
        found = {option.cycles for nodes in menus for each in nodes.values() for option in each}
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
    every = {name: _undominated(each) for name, each in ways.items()}
    return Menu(
        {
            price: {name: _ranked(options, price) for name, options in every.items()}
            for price in PRICES
        },
        {port.name: _port_lanes(port) for port in graph.inputs},
        {name: {way.name: way for way in each} for name, each in ways.items()},
    )


def ranked(ways: Sequence[Implementation[Any]]) -> tuple[Option, ...]:
    """The options that no cheaper one of any implementation equals in speed."""
    return _staircase(_undominated(ways))


def _undominated(ways: Sequence[Implementation[Any]]) -> list[Option]:
    """The options that no cheaper one equals in speed with as few multipliers; by their cost."""
    every = [option for way in ways for option in way.options()]
    every.sort(key=lambda option: option.cost)
    fastest: dict[int, int] = {}  # cycles of the fastest so far, by multipliers
    found: list[Option] = []
    for option in every:
        few = (cycles for needed, cycles in fastest.items() if needed <= option.multipliers)
        if option.cycles < min(few, default=SLOWEST):
            fastest[option.multipliers] = option.cycles
            found.append(option)
    return found


def _ranked(options: Sequence[Option], price: int) -> tuple[Option, ...]:
    """The options that no cheaper one equals in speed, where a multiplier has this price."""
    return _staircase(sorted(options, key=lambda option: option.ranks(price)))


def _staircase(options: Iterable[Option]) -> tuple[Option, ...]:
    """Each option that is faster than all before it."""
    found: list[Option] = []
    for option in options:
        if not found or option.cycles < found[-1].cycles:
            found.append(option)
    return tuple(found)


def _smallest(options: Sequence[Option], cycles: int) -> Option:
    return next((option for option in options if option.cycles <= cycles), options[-1])


def _port_lanes(port: InputPort) -> dict[int, int]:
    """The cycles of an input by its lanes, the least first."""
    return {lanes: port.type.size // lanes for lanes in divisors(port.type.channels)}


def _narrowest(lanes: Mapping[int, int], cycles: int) -> tuple[int, int]:
    fits: Iterable[tuple[int, int]] = (entry for entry in lanes.items() if entry[1] <= cycles)
    return next(iter(fits), max(lanes.items()))
