"""Operators in chains, and kernels that keep their constants their own way, for every backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from hwsim.emulator.kernels import CarrierForm, Kernel
from hwsim.emulator.run import Emulator
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.graph import Graph, Node, OutputPort
from hwsim.ops import (
    OPERATORS,
    Cast,
    Dense,
    Flatten,
    MaxPool,
    Op,
    Relu,
    Requantize,
    Scheme,
    TensorType,
    Window,
)
from support import oracle_ops
from support.cases import Case


def packed(op: Op, inputs: Sequence[TensorType], form: CarrierForm) -> dict[str, Any]:
    """The operator's constants under other names, arrays back to front, and the inputs' shapes."""
    constants = op.prepare(inputs, form.sums)
    return {"own": _each(constants, _reversed), "shapes": [kind.shape for kind in inputs]}


def unpacking(op: Op, xp: Any, xs: Sequence[Any], k: Any) -> Any:
    """`Op.run` by those."""
    assert [tuple(x.shape[1:]) for x in xs] == k["shapes"], "run on other maps than prepared for"
    return op.run(xp, xs, _each(k["own"], lambda value: _reversed(value, xp)))


def _reversed(value: Any, xp: Any = np) -> Any:
    array = hasattr(value, "ndim") and value.ndim > 0
    return xp.flip(value, axis=0) if array else value


def _each(constants: Any, change: Callable[[Any], Any]) -> dict[Any, Any]:
    return {
        key: _each(value, change) if isinstance(value, dict) else change(value)
        for key, value in constants.items()
    }


OWN_WAY = Kernel(run=unpacking, prepare=packed)
KERNELS = dict.fromkeys(OPERATORS.values(), OWN_WAY)


def chain(case: Case, *ops: Op, head: bool = False) -> Graph:
    """The operator of a case with others behind it; `head` makes its own output one too."""
    graph = case.graph()
    edges = ["y", *(f"t{k}" for k in range(len(ops)))]
    more = [Node(f"n{k}", op, (edges[k],), edges[k + 1]) for k, op in enumerate(ops)]
    ends = (edges[-1], "y") if head and ops else edges[-1:]
    outputs = tuple(OutputPort(name=f"out_{edge}", tensor=edge) for edge in ends)
    return Graph(graph.inputs, (*graph.nodes, *more), outputs)


def chains(case: Case) -> Iterator[Graph]:
    """What may follow: casts, relus, requantizers, pools, and a layer after those."""
    y = case.graph().types()["y"]
    relu = Relu(zero_point=y.zero_point) if y.quant is None else None
    narrow = Requantize(scheme=Scheme.SHIFT, multiplier=(0.25,), out=Format.int(6))
    cast = None
    if y.quant is None:
        out = Format(True, y.format.int_bits, max(0, y.format.frac_bits - 2))
        out = out if 1 < out.width < 40 else Format.int(12)
        cast = Cast(out=out, rounding=Rounding.RND_CONV, overflow=Overflow.SAT)
    for narrower in [op for op in (cast, narrow) if op is not None]:
        yield chain(case, narrower)
        between = [relu] if relu is not None else []
        yield chain(case, *between, narrower, head=True)
        if len(y.shape) == 3 and min(y.shape[:2]) >= 2:
            pool = MaxPool(window=Window((2, 2), (1, 2)))
            after = chain(case, *between, narrower, pool, Flatten())
            yield after
            terms = after.types()[after.outputs[0].tensor].size
            weights = np.arange(terms * 3).reshape(terms, 3) % 5 - 2
            layer = Dense(weights=weights, bias=np.arange(3), weight_format=Format.int(3))
            tail = Cast(out=Format.int(5)) if cast is not None else narrow
            yield chain(case, narrower, pool, Flatten(), layer, tail)


def by_oracle(graph: Graph, codes: dict[str, np.ndarray]) -> dict[str, list[Any]]:
    """Every output in plain integers."""
    types = graph.types()
    found: dict[str, list[Any]] = {port.tensor: [] for port in graph.outputs}
    for k in range(len(next(iter(codes.values())))):
        edges = {edge: x[k].tolist() for edge, x in codes.items()}
        for node in graph.nodes:
            inputs = [types[edge] for edge in node.inputs]
            xs = [edges[edge] for edge in node.inputs]
            made = oracle_ops.run_all(node.op, inputs, list(graph.output_types(node)), xs)
            edges.update(zip(node.outputs, made, strict=True))
        for edge, samples in found.items():
            samples.append(edges[edge])
    return found


def fetched(xp: Any, array: Any) -> np.ndarray:
    """An array of any namespace as NumPy's."""
    return xp.asnumpy(array) if hasattr(xp, "asnumpy") else np.asarray(array)


def ways(emulator: Emulator, codes: dict[str, np.ndarray]) -> Iterator[dict[str, list[Any]]]:
    """The outputs by `run`, `run_chunked` in two pieces, and `run` that keeps every edge."""
    xp = emulator.xp
    given = {edge: xp.asarray(x) for edge, x in codes.items()}
    emulator.chunk = 2
    for out in (emulator.run(given), emulator.run_chunked(given), emulator.run(given, keep=True)):
        yield {p.tensor: fetched(xp, out[p.tensor]).tolist() for p in emulator.outputs}
