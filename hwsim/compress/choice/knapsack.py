"""One option of each question, with the least loss within a budget: a multiple-choice knapsack.

Solved to the optimum as a mixed integer program by SciPy (`scipy.optimize.milp`, HiGHS).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.extras import library

SIZE = 1e4
"""The largest loss as the solver sees it, whose gaps are absolute (1e-6)."""
OPTIONS = {"mip_rel_gap": 0.0, "presolve": False}
"""HiGHS writes to the process's output where it mends what it presolved (1.12, in SciPy 1.17)."""


Answers = tuple[int, ...]
"""The place of the chosen option, by question."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be chosen: options from the cheapest on, with the loss and the cost of each.

    `values` are what the options mean, `of` what they are (weights, activations, channels), and
    `name` is what messages call the question.
    """

    name: str
    of: str
    values: tuple[int, ...]
    losses: tuple[float, ...]
    costs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Together:
    """What two questions cost together: `costs[i][j]` for option i of `first` and j of `second`."""

    first: int
    second: int
    costs: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Knapsack:
    """Questions, pairs of them that cost something together, and what is spent in any case.

    Costs are whole numbers of 0 or more. With a `price`, which knows what a choice costs, it can be
    gone through but not solved.
    """

    questions: tuple[Question, ...]
    pairs: tuple[Together, ...] = ()
    fixed: int = 0
    price: Callable[[Answers], int] | None = None

    def cost(self, answers: Answers) -> int:
        """Of one option each."""
        if self.price is not None:
            return self.price(answers)
        alone = sum(q.costs[a] for q, a in zip(self.questions, answers, strict=True))
        return (
            self.fixed
            + alone
            + sum(p.costs[answers[p.first]][answers[p.second]] for p in self.pairs)
        )

    def loss(self, answers: Answers) -> float:
        """Of one option each."""
        return sum(q.losses[a] for q, a in zip(self.questions, answers, strict=True))

    @property
    def cheapest(self) -> Answers:
        """The first option of each."""
        return tuple(0 for _ in self.questions)

    @property
    def dearest(self) -> Answers:
        """The last option of each."""
        return tuple(len(q.values) - 1 for q in self.questions)

    def solve(self, budget: int) -> Answers | None:
        """The answers of the least loss that cost at most `budget`; None where none do.

        HwsimError where SciPy is missing, and where the solver gives up.
        """
        assert self.price is None
        if self.cost(self.cheapest) > budget:
            return None
        if self.cost(self.dearest) <= budget and self._falling():
            return self.dearest
        return _MixedProgram(self).solve(budget)

    def _falling(self) -> bool:
        return all(q.losses[-1] <= min(q.losses) for q in self.questions)


class _MixedProgram:
    """A knapsack as a mixed integer program.

    A binary number for each option, of which one of each question is 1; for each pair of options
    that cost something together a number that is their product, because its sums along both are
    theirs.
    """

    def __init__(self, sack: Knapsack) -> None:
        self.sack = sack
        counts = [len(q.values) for q in sack.questions]
        self.starts = np.concatenate([[0], np.cumsum(counts)]).tolist()
        self.options = self.starts[-1]
        costs = [*(c for q in sack.questions for c in q.costs)]
        rows: list[Mapping[int, float]] = []
        sides: list[float] = []
        for start, count in zip(self.starts, counts, strict=False):
            rows.append(dict.fromkeys(range(start, start + count), 1.0))
            sides.append(1.0)
        for pair in sack.pairs:
            shape = counts[pair.first], counts[pair.second]
            products = len(costs) + np.arange(shape[0] * shape[1]).reshape(shape)
            costs += [c for row in pair.costs for c in row]
            for question, lines in ((pair.first, products), (pair.second, products.T)):
                for option, line in enumerate(lines.tolist()):
                    one = {self.starts[question] + option: -1.0}
                    rows.append(one | dict.fromkeys(line, 1.0))
                    sides.append(0.0)
        self.costs, self.rows, self.sides = costs, rows, sides

    def solve(self, budget: int) -> Answers:
        """As `Knapsack.solve`; the sum of the costs is checked in whole numbers."""
        unit = max(1, gcd(*self.costs))
        room = (budget - self.sack.fixed) // unit
        for _ in range(8):  # the solver may pass a limit by its tolerance
            found = self._solved(room, unit)
            over = self.sack.cost(found) - budget
            if over <= 0:
                return found
            room -= -(-over // unit)
        raise HwsimError(f"a choice within a budget of {budget} must be found, not only beyond it")

    def _solved(self, room: int, unit: int) -> Answers:
        optimize = library("scipy.optimize", '"hwsim[train]"', "a choice of widths")
        matrix = _sparse(self.rows, len(self.costs))
        losses = [loss for q in self.sack.questions for loss in q.losses]
        most = max(max(losses), 1e-300)
        goal = np.zeros(len(self.costs))
        goal[: self.options] = np.asarray(losses) * (SIZE / most)
        weights = np.asarray([[c // unit for c in self.costs]], np.float64)
        whole = np.zeros(len(self.costs))
        whole[: self.options] = 1
        found = optimize.milp(
            goal,
            integrality=whole,
            bounds=optimize.Bounds(0, 1),
            constraints=[
                optimize.LinearConstraint(matrix, self.sides, self.sides),
                optimize.LinearConstraint(weights, -np.inf, room),
            ],
            options=OPTIONS,
        )
        if found.x is None:
            raise HwsimError(f"the solver must find a choice, not end with {found.message!r}")
        ends = zip(self.starts, self.starts[1:], strict=False)
        return tuple(int(np.argmax(found.x[start:end])) for start, end in ends)


def _sparse(rows: Sequence[Mapping[int, float]], columns: int) -> Any:
    sparse = library("scipy.sparse", '"hwsim[train]"', "a choice of widths")
    places = [(r, c, value) for r, row in enumerate(rows) for c, value in row.items()]
    at, to, values = (list(part) for part in zip(*places, strict=True))
    return sparse.csr_array((values, (at, to)), shape=(len(rows), columns))
