"""How a node is computed: by its operator's own text, or by a kernel that a backend has for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from hwsim.fixed import Array, Namespace
from hwsim.ops import Carrier, Op, TensorType
from hwsim.ops.base import AddBias, Constants


@dataclass(frozen=True, slots=True)
class CarrierForm:
    """The carriers of a node: of the codes that it reads, of its whole numbers, of what it gives.

    Proofs of bounds choose: a form is taken where each carrier holds exactly what it meets.
    """

    reads: Carrier
    sums: Carrier
    gives: Carrier

    @classmethod
    def of(cls, carrier: Carrier) -> CarrierForm:
        """One carrier for everything."""
        return cls(carrier, carrier, carrier)

    @property
    def carriers(self) -> set[Carrier]:
        """All that occur."""
        return {self.reads, self.sums, self.gives}

    def holds(
        self, inputs: Sequence[TensorType], bound: int, outputs: Sequence[TensorType]
    ) -> bool:
        """Whether inputs, whole numbers up to `bound` and outputs are exact in it."""
        return (
            all(self.reads.holds(kind.lo, kind.hi) for kind in inputs)
            and bound < self.sums.limit
            and all(self.gives.holds(kind.lo, kind.hi) for kind in outputs)
        )


Run = Callable[[Any, Namespace, Sequence[Array], Constants], Array]
Prepare = Callable[[Any, Sequence[TensorType], CarrierForm], Constants]
Forms = Callable[[Any], Sequence[CarrierForm]]
Proved = Callable[[Any, Sequence[TensorType]], CarrierForm | None]


def own_constants(op: Op, inputs: Sequence[TensorType], form: CarrierForm) -> Constants:
    """Those that the operator's own text computes with."""
    return op.prepare(inputs, form.sums)


def _no(*_: object) -> bool:
    return False


def _never(*_: object) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Allows:
    """What a rewrite may do to a node; nothing by default, which is right for any kernel.

    `moves`: the kernel may run at another place of the graph, on maps of another size and on codes
    of another edge. `keeps_scale(op)`: a power of two times what it reads gives as much times what
    it gives. `scaled(op, constants, factor)`: constants for `factor` times the sums.
    `unscaled(op, constants)`: a factor that meets each code first, and the constants without it.
    `unbiased(op, constants)`: the constants without biases, and what adds those, `(xp, sums)`.
    The last three give None where it cannot be done.
    """

    moves: bool = False
    keeps_scale: Callable[[Any], bool] = _no
    scaled: Callable[[Any, Constants, float], Constants | None] = _never
    unscaled: Callable[[Any, Constants], tuple[float, Constants] | None] = _never
    unbiased: Callable[[Any, Constants], tuple[Constants, AddBias] | None] = _never


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """Another text for an operator, which gives the codes that `Op.run` gives.

    `prepare(op, inputs, form)` makes the constants, in whatever form `run` wants; the emulator
    moves NumPy arrays in them to the namespace. `run(op, xp, xs, constants)` computes, with inputs
    in the carrier `form.reads`, and gives codes in `form.gives`. `forms(op)` lists the carriers
    that it computes in, best first; none of them holds, or there is none: the operator's own text
    runs. Without `forms` it computes in the operator's own carriers. `proved(op, inputs)` takes
    their place where codes are exact though numbers on the way are not: it gives the carriers with
    which all codes of these inputs are proved to be the operator's, or None. No rewrite touches a
    node that runs a kernel, unless `allows` says so.
    """

    run: Run
    prepare: Prepare = own_constants
    forms: Forms | None = None
    proved: Proved | None = None
    allows: Allows = field(default=Allows())


Kernels = Mapping[type[Op], Kernel | Run]  # a function alone computes with the operator's constants


@cache
def own(kind: type[Op]) -> Kernel:
    """The own text of a kind of operator, which all rewrites know."""
    allows = Allows(
        moves=True,
        keeps_scale=kind.keeps_scale,
        scaled=kind.scaled,
        unscaled=kind.unscaled,
        unbiased=kind.unbiased,
    )
    return Kernel(run=kind.run, allows=allows)
