"""The emulator's plain steps: one for each node, by a kernel, in the cheapest exact carriers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwsim.emulator.kernels import CarrierForm, Kernel, Kernels, own
from hwsim.errors import HwsimError
from hwsim.fixed import Array, Namespace
from hwsim.graph import Graph, Node
from hwsim.ops import Carrier, Op, TensorType, Weighted
from hwsim.ops.base import Constants

CARRIERS = (Carrier.FLOAT32, Carrier.FLOAT64, Carrier.INT64)
"""What a backend computes in unless it says otherwise, cheapest first."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One node as the emulator runs it: what it reads and makes, in which carriers, how it goes."""

    node: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    form: CarrierForm
    convert: tuple[bool, ...]
    op: Op
    constants: Constants
    kernel: Kernel
    run: Callable[[Sequence[Array]], Array]

    @property
    def carrier(self) -> Carrier:
        """What holds its whole numbers."""
        return self.form.sums

    @property
    def output(self) -> str:
        """The edge that it makes, where it is one."""
        (edge,) = self.outputs
        return edge

    def add_to(self, edges: dict[str, Array], xp: Namespace, kind: Any) -> None:
        """Compute from the edges that it reads, converted to `kind` unless that is None."""
        if kind is None:
            codes = self.run([edges[edge] for edge in self.inputs])
        else:
            codes = self.run([xp.astype(edges[e], kind, copy=False) for e in self.inputs])
        if isinstance(codes, tuple):
            edges.update(zip(self.outputs, codes, strict=True))
        else:
            edges[self.outputs[0]] = codes

    def with_constants(self, xp: Namespace, constants: Constants) -> Step:
        """The same with other constants."""
        run = _bound(self.kernel, self.op, xp, constants)
        return replace(self, constants=constants, run=run)

    def with_run(self, run: Callable[[Sequence[Array]], Array]) -> Step:
        """The same by something else than its kernel, which no further rewrite knows."""
        return replace(self, run=run, constants={}, kernel=Kernel(run=self.kernel.run))


def _bound(
    kernel: Kernel, op: Op, xp: Namespace, constants: Constants
) -> Callable[[Sequence[Array]], Array]:
    run = kernel.run
    return lambda xs: run(op, xp, xs, constants)


def _looked_at(
    node: Node, run: Callable[[Sequence[Array]], Array], outputs: Sequence[TensorType]
) -> Callable[[Sequence[Array]], Array]:
    """What a kernel gives, once it has the shapes of the outputs: others would broadcast."""
    wanted = [kind.shape for kind in outputs]

    def looked_at(xs: Sequence[Array]) -> Array:
        codes = run(xs)
        made = codes if isinstance(codes, tuple) else (codes,)
        batch = xs[0].shape[:1]
        found = [getattr(array, "shape", None) for array in made]
        if found != [(*batch, *shape) for shape in wanted]:
            raise HwsimError(
                f"node {node.name!r}: the kernel of {node.op.kind} must give codes of the shapes "
                f"{[(*batch, *shape) for shape in wanted]}, not {found}"
            )
        return codes

    return looked_at


def plain_steps(
    graph: Graph, xp: Namespace, kernels: Kernels, carriers: Sequence[Carrier]
) -> list[Step]:
    """A step for each node, in order; codes are converted where the next one needs another carrier.

    `carriers` are those of the backend, cheapest first. Raises HwsimError for a node whose whole
    numbers none of them holds.
    """
    steps = []
    made: dict[str, Carrier] = {}
    shared: dict[tuple[int, tuple[TensorType, ...], CarrierForm], Constants] = {}
    for node in graph.nodes:
        types, outputs = graph.input_types(node), graph.output_types(node)
        ready = [made.get(edge) for edge in node.inputs]
        kernel, form = _chosen(node, types, outputs, kernels, carriers, ready)
        use = id(node.op), types, form  # of one operator by many nodes, as the steps of an LSTM are
        if use not in shared:
            prepared = kernel.prepare(node.op, types, form)
            shared[use] = {name: _to_namespace(xp, value) for name, value in prepared.items()}
        constants = shared[use]
        convert = tuple(carrier is not form.reads for carrier in ready)
        run = _bound(kernel, node.op, xp, constants)
        if type(node.op) in kernels and not kernel.allows.moves:
            run = _looked_at(node, run, outputs)
        steps.append(
            Step(
                node.name, node.inputs, node.outputs, form, convert, node.op, constants, kernel, run
            )
        )
        made.update(dict.fromkeys(node.outputs, form.gives))
    return steps


def _chosen(
    node: Node,
    types: Sequence[TensorType],
    outputs: Sequence[TensorType],
    kernels: Kernels,
    carriers: Sequence[Carrier],
    ready: Sequence[Carrier | None],
) -> tuple[Kernel, CarrierForm]:
    """What computes a node: the backend's kernel where one of its forms holds, or its own text."""
    op = node.op
    found = kernels.get(type(op))
    kernel = found if found is None or isinstance(found, Kernel) else Kernel(run=found)
    bound = max(op.bound(types), *(made.magnitude for made in outputs))
    if kernel is not None and kernel.proved is not None:
        proof = kernel.proved(op, types)
        if proof is not None and proof.carriers <= set(carriers):
            return kernel, proof
        kernel = None
    if kernel is not None and kernel.forms is not None:
        for form in kernel.forms(op):
            if form.carriers <= set(carriers) and form.holds(types, bound, outputs):
                return kernel, form
        kernel = None
    accepted = op.carriers(types)
    allowed = [carrier for carrier in carriers if carrier in accepted]
    if not allowed:
        raise HwsimError(
            f"node {node.name!r} must be computed in {_listed(accepted)}, but the backend has only "
            f"{_listed(carriers)}"
        )
    # What takes int8 meets no numbers but codes, so that -128 may be there without 128.
    codes = [*types, *outputs]
    carrier = choose_carrier(node.name, bound, allowed, codes, only=Carrier.INT8 in accepted)
    if not isinstance(op, Weighted):
        carrier = unconverted(carrier, ready)
    return kernel or own(type(op)), CarrierForm.of(carrier)


def _listed(carriers: Sequence[Carrier]) -> str:
    return " or ".join(carrier.value for carrier in carriers)


def choose_carrier(
    name: str, bound: int, allowed: Sequence[Carrier], codes: Sequence[TensorType], *, only: bool
) -> Carrier:
    """The cheapest carrier that is exact up to `bound`; one of integers must hold all `codes` too.

    `only`: no number is met but these and smaller ones.
    """
    for carrier in allowed:
        if carrier.is_float and bound < carrier.limit:
            return carrier
        held = carrier.holds(-bound, bound - only) and all(
            carrier.holds(kind.lo, kind.hi) for kind in codes
        )
        if held:
            return carrier
    raise HwsimError(
        f"node {name!r}: whole numbers up to {bound} must fit {allowed[-1].value}, which is exact "
        f"below {allowed[-1].limit}"
    )


def unconverted(carrier: Carrier, inputs: Sequence[Carrier | None]) -> Carrier:
    """A float carrier that spares a conversion; worth it where no BLAS runs twice as fast."""
    return Carrier.FLOAT64 if carrier.is_float and set(inputs) == {Carrier.FLOAT64} else carrier


def read_as(xp: Namespace, step: Step) -> Any:
    """The array type that a step's inputs are converted to, or None where they are of it."""
    return getattr(xp, step.form.reads.value) if True in step.convert else None


def last_uses(steps: Sequence[Step], outputs: set[str]) -> list[list[str]]:
    """The edges that nobody reads after each step."""
    seen, found = set(outputs), []
    for step in reversed(steps):
        edges = {*step.inputs, *step.outputs}
        found.append([edge for edge in edges if edge not in seen])
        seen |= edges
    return found[::-1]


def _to_namespace(xp: Namespace, value: Any) -> Any:
    if xp is np:
        return value
    if isinstance(value, np.ndarray):
        return xp.asarray(value)
    if isinstance(value, Mapping):
        return {key: _to_namespace(xp, item) for key, item in value.items()}
    return value
