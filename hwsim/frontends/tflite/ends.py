"""Floats at a model's ends: what quantizes its inputs, and what is left of floats behind it.

A float tensor is not computed: an input of floats waits for its QUANTIZE, which becomes the
quantizer of a port, and what DEQUANTIZE makes are the codes in front of it with float32 steps. Both
may move in between, which codes do as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.fixed import Rounding
from hwsim.float_steps import FloatStep, PortStep, RowStep, UnaryStep, narrowed
from hwsim.frontends.tflite import float_functions
from hwsim.frontends.tflite.coded_floats import (
    Reals,
    Slopes,
    Step,
    alone,
    applied,
    of_ports,
    tabled,
)
from hwsim.frontends.tflite.handlers import HANDLERS, check_kernel
from hwsim.frontends.tflite.importer import FORMATS, WHOLE, EndFloats, LiteImporter
from hwsim.frontends.tflite.kernels import F32, KernelSet, only
from hwsim.frontends.tflite.lanes import VectorLanes, one
from hwsim.frontends.tflite.model import LiteNode, LiteQuant, LiteTensor
from hwsim.frontends.tflite.scaled import away
from hwsim.graph import InputPort, OutputPort
from hwsim.ops import ChannelTable, Table
from hwsim.ops.base import IntArray

LANES = 8  # numbers that the optimized kernels' vector code converts at a time
NARROW = 8  # bits of codes that XNNPACK converts
SHAPED = ("EXPAND_DIMS", "RESHAPE", "SQUEEZE")
MOVED = (*SHAPED, "GATHER", "GATHER_ND", "MIRROR_PAD", "PAD", "REVERSE_V2", "SLICE",
         "SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "STRIDED_SLICE", "TILE", "TRANSPOSE")  # fmt: skip
"""Operators of one output that move floats as they move codes; PAD pads 0, the zero point."""
ORDERED = ("MAX_POOL_2D", "REDUCE_MAX", "REDUCE_MIN")
"""Those that take the largest or the least, which codes do as the floats that they stand for."""

ANNOUNCED = (
    "{op} of floats is computed in float32 here, where the last bits may be other than the "
    "runtime's; the codes that it is computed of are the runtime's"
)


def read_floats(run: LiteImporter, node: LiteNode) -> bool:
    """Whether an operator is one of an end, and has been read as such."""
    if node.op == "DEQUANTIZE" and node.inputs and node.inputs[0] in run.edges:
        run.meaning(run.tensor(node, 0))
        run.made(node)
        run.floats[node.outputs[0]] = EndFloats(source=node.inputs[0])
        return True
    if node.op == "CAST" and node.inputs and run.tensor(node, 0).quant is WHOLE:
        if run.like is KernelSet.TFLM and run.tensor(node, 0).dtype == "uint8":
            raise only(f"{node} of uint8", _others(KernelSet.TFLM))
        run.shape(run.made(node))
        run.floats[node.outputs[0]] = EndFloats(source=node.inputs[0])
        return True
    if node.op == "DEQUANTIZE" and node.inputs and run.value(node.inputs[0]) is not None:
        name = run.label(run.tensor(node, 0))
        raise HwsimError(f"{node}: {name!r} must stay whole numbers: floats are no weights here")
    places = [place for place, index in enumerate(node.inputs) if index in run.floats]
    if not places:
        return False
    held = run.floats[node.inputs[places[0]]]
    if node.op == "QUANTIZE":
        if run.like is KernelSet.TFLM and run.made(node).dtype == "uint8":
            raise only(f"{node} of floats as uint8", _others(KernelSet.TFLM))
        if held.source in run.edges:
            _again(run, node, held)
        else:
            _quantized(run, node, held)
        return True
    if len(places) > 1 or len(node.outputs) != 1:
        return False  # its handler says that they must be quantized
    made = run.made(node)
    ordered = node.op in ORDERED and not node.options.get("activation")
    if ordered and places == [0] and not held.steps and held.source in run.edges:
        run.floats[node.outputs[0]] = EndFloats(source=_moved(run, node, held.source))
        return True
    if node.op in MOVED and places == [0] and not held.steps:
        if held.source in run.edges:
            source = _moved(run, node, held.source)
            run.floats[node.outputs[0]] = EndFloats(source=source)
        else:
            run.floats[node.outputs[0]] = replace(held, moves=(*held.moves, node))
        return True
    if node.op in SHAPED and held.source in run.edges and all(map(alone, held.steps)):
        source = _moved(run, node, held.source)
        run.floats[node.outputs[0]] = replace(held, source=source)
        return True
    if node.op not in FLOAT_OPERATORS or node.op == "DEQUANTIZE" or held.moves:
        return False
    check_kernel(run.like, node)
    steps = FLOAT_OPERATORS[node.op](run, node, places[0])
    if held.source not in run.edges and not all(isinstance(step, FloatStep) for step in steps):
        return False
    run.shape(made)
    run.floats[node.outputs[0]] = replace(held, steps=(*held.steps, *steps))
    return True


def _moved(run: LiteImporter, node: LiteNode, source: int) -> int:
    """Codes that move as the floats do which they stand for, by their index."""
    made, codes = run.made(node), run.tensors[source]
    target = run.made_up(
        replace(codes, name=made.name, shape=made.shape, open_axes=made.open_axes, data=None)
    )
    moved = replace(node, inputs=(source, *node.inputs[1:]), outputs=(target,))
    HANDLERS[node.op](run, moved)
    return target


def _quantized(run: LiteImporter, node: LiteNode, held: EndFloats) -> None:
    """The port of an input of floats, whose quantizer an operator is."""
    source, made = run.tensors[held.source], run.made(node)
    name, kind = run.label(source), run.kind(replace(made, shape=source.shape))
    shaped = all(move.op in SHAPED for move in held.moves)
    if run.like is KernelSet.BUILTIN and not shaped and kind.size % LANES:
        raise only(f"{node} of an input whose floats move", _others(KernelSet.BUILTIN))
    port = InputPort(
        name=name,
        tensor=run.label(made),
        type=kind,
        shape=None if kind.shape == run.view(source) else run.view(source),
        steps=of_ports(held.steps),
        **_quantizer(run.like, made),
    )
    known = run.inputs.get(name)
    if known is None:
        edge = run.input(port)
    elif replace(port, tensor=known.tensor) == known:
        edge = known.tensor
    else:
        raise HwsimError(f"{node}: input {name!r} must be quantized in one way, not in several")
    codes = run.made_up(
        replace(made, shape=source.shape, open_axes=source.open_axes, data=None), edge
    )
    for move in held.moves:
        codes = _moved(run, move, codes)
    run.give(node, [], run.edges[codes])


def _quantizer(like: KernelSet, made: LiteTensor) -> dict[str, Any]:
    """How a kernel set makes codes of floats, as fields of a port."""
    if like in (KernelSet.TFLM, KernelSet.REFERENCE):
        return {"rounding": Rounding.RND_INF}
    fields = {"rounding": Rounding.RND_CONV, "reciprocal": True}
    if like is KernelSet.XNNPACK and FORMATS[made.dtype].width <= NARROW:
        return fields
    return fields | {"lanes": LANES}


def _others(like: KernelSet) -> list[KernelSet]:
    return [known for known in KernelSet if known is not like]


def _again(run: LiteImporter, node: LiteNode, held: EndFloats) -> None:
    """DEQUANTIZE and then QUANTIZE: a table of the codes in between."""
    codes, made, edge = run.tensors[held.source], run.made(node), run.edges[held.source]
    if not all(alone(step) or isinstance(step, Slopes) for step in held.steps):
        raise HwsimError(f"{node}: what is computed of whole rows of floats must be the output")
    before, after, out = run.meaning(codes), run.meaning(made), run.format(made)
    fmt = run.types[edge].format
    if max(fmt.width, out.width) > 2 * NARROW:
        raise HwsimError(f"{node}: it must be of at most 16 bits")
    x = np.arange(fmt.min, fmt.max + 1)

    def values(*, vector: bool, channel: int = 0) -> IntArray:
        reals = applied(held.steps, dequantized(x, before, vector=vector), channel)
        return np.clip(_codes(run.like, reals, after, vector=vector), out.min, out.max)

    slopes = [step for step in held.steps if isinstance(step, Slopes)]
    if slopes:
        channels = range(len(slopes[0].values))
        rows, lanes = (
            np.stack([values(vector=vector, channel=channel) for channel in channels])
            for vector in (False, run.like is KernelSet.BUILTIN)
        )
        if fmt.width > NARROW:
            raise HwsimError(f"{node}: of one slope a channel it must be of int8, not of 16 bits")
        if not np.array_equal(rows, lanes):
            raise only(f"{node} of one slope a channel", _others(run.like))
        tables = ChannelTable(values=rows, out=out, first=fmt.min, quant=run.meant(made))
        run.give(node, [tables], edge)
        return

    def table(vector: bool) -> Table:
        return Table(values=values(vector=vector), out=out, quant=run.meant(made))

    if run.like is not KernelSet.BUILTIN:
        run.give(node, [table(vector=False)], edge)
        return
    split = VectorLanes(LANES, one(run, table(vector=True)), one(run, table(vector=False)))
    run.give(node, [], split.over(run, run.label(made), [edge]))


def dequantized(codes: IntArray, meant: LiteQuant, *, vector: bool) -> Reals:
    """Float32 numbers of codes; by the optimized kernels' `vector` code in two products."""
    scale, zero = F32(meant.scale), meant.zero_point
    if not vector:
        return (codes - zero).astype(F32) * scale
    return codes.astype(F32) * scale + F32(F32(-zero) * scale)


def _codes(like: KernelSet, reals: Reals, meant: LiteQuant, *, vector: bool) -> IntArray:
    """Codes of float32 numbers, as a port of the same kernel set would have them."""
    scale, limit = F32(meant.scale), 2.0**40
    if like is KernelSet.XNNPACK or vector:
        ratios = np.rint(reals * (F32(1) / scale))
    elif like is KernelSet.BUILTIN:
        ratios = away(np.clip(reals.astype(np.float64) / float(scale), -limit, limit))
    else:
        ratios = away(np.clip(reals / scale, -limit, limit))
    return np.asarray(np.clip(ratios, -limit, limit), np.int64) + meant.zero_point


def output(run: LiteImporter, index: int) -> OutputPort:
    """The port of an output: of codes, or of floats that codes stand for."""
    held, tensor = run.floats.get(index), run.tensors[index]
    if held is None:
        return run.output(index)
    if held.source not in run.edges:
        raise HwsimError(f"output {tensor.name!r} must be computed of codes, not of floats")
    codes, edge = run.tensors[held.source], run.edges[held.source]
    kind, meant, seen = run.types[edge], run.meaning(codes), run.view(tensor)
    told = kind.quant == run.meant(codes)
    vector = run.like is KernelSet.BUILTIN and kind.size >= LANES
    functions = [k for k, step in enumerate(held.steps) if tabled(step)]
    count = functions[-1] + 1 if functions else 0
    if not all(map(alone, held.steps[:count])):
        raise HwsimError(f"output {tensor.name!r} must have its functions of one number first")
    reals, lanes = None, 0
    if vector or count or not told:
        x = np.arange(kind.format.min, kind.format.max + 1)
        table = applied(held.steps[:count], dequantized(x, meant, vector=vector))
        reals, lanes = tuple(table.tolist()), LANES if vector and not count else 0
    if lanes and not told and kind.size % lanes:
        edge = _told(run, edge, codes)
    return OutputPort(
        name=run.label(tensor),
        tensor=edge,
        shape=None if kind.shape == seen else seen,
        reals=reals,
        lanes=lanes,
        steps=of_ports(held.steps[count:]),
    )


def _told(run: LiteImporter, edge: str, codes: LiteTensor) -> str:
    """The same codes with the meaning that the model gives them."""
    fmt, name = run.types[edge].format, f"{run.label(codes)}.meant"
    same = Table(values=np.arange(fmt.min, fmt.max + 1), out=fmt, quant=run.meant(codes))
    return run.emit(name, same, [edge], name)


Read = Callable[[LiteImporter, LiteNode, int], tuple[Step, ...]]


def _constants(run: LiteImporter, node: LiteNode, place: int) -> npt.NDArray[Any]:
    """The other operand of an operator on pairs, which does not widen the first."""
    tensor, values = run.tensor(node, 1 - place), run.value(node.inputs[1 - place])
    if values is None or values.dtype != np.dtype("<f4") or not np.isfinite(values).all():
        raise HwsimError(f"{node}: {tensor.name!r} must be constant floats that are finite")
    made = run.made(node)
    given = run.tensor(node, place)
    if given.shape != made.shape or values.ndim > len(made.shape):
        raise HwsimError(f"{node}: its floats must have the shape of its output")
    lead = int(run.drops(made)) if values.ndim == len(made.shape) else 0
    return values.reshape(values.shape[lead:])


def _pair(name: str, swapped: str | None) -> Read:
    def read(run: LiteImporter, node: LiteNode, place: int) -> tuple[Step, ...]:
        op = swapped if place else name
        if op is None or int(node.options.get("activation", 0)):
            raise HwsimError(f"{node}: floats must stand in front, with no activation behind")
        return (narrowed(op, _constants(run, node, place)),)

    return read


def _bounded(*steps: PortStep) -> Read:
    return lambda run, node, place: steps


def _function(
    step: Callable[[LiteImporter, LiteNode], tuple[Step, ...]], *, exact: bool = False
) -> Read:
    def read(run: LiteImporter, node: LiteNode, place: int) -> tuple[Step, ...]:
        if not exact:
            run.warn(run.label(run.made(node)), ANNOUNCED.format(op=node.op))
        return step(run, node)

    return read


def _rows(op: str) -> Callable[[LiteImporter, LiteNode], tuple[Step, ...]]:
    def steps(run: LiteImporter, node: LiteNode) -> tuple[Step, ...]:
        beta = float(node.options.get("beta", 1.0))
        rank = len(run.view(run.made(node)))
        if not rank or not np.isfinite(beta):
            raise HwsimError(f"{node}: it must have rows and a finite beta, not {beta}")
        scaled = () if beta == 1 else (FloatStep(op="mul", values=(beta,)),)
        return (*scaled, RowStep(op=op, axes=(rank - 1,)))

    return steps


LOWEST, SIX = FloatStep(op="max", values=(0.0,)), FloatStep(op="min", values=(6.0,))
FLOAT_OPERATORS: Mapping[str, Read] = {
    "ABS": _function(float_functions.absolute, exact=True),
    "ADD": _pair("add", "add"),
    "DEQUANTIZE": _bounded(),
    "DIV": _pair("div", None),
    "ELU": _function(float_functions.elu),
    "GELU": _function(float_functions.gelu),
    "HARD_SWISH": _function(float_functions.hard_swish, exact=True),
    "LEAKY_RELU": _function(float_functions.leaky_relu, exact=True),
    "LOGISTIC": _function(lambda run, node: (UnaryStep(op="sigmoid"),)),
    "LOG_SOFTMAX": _function(_rows("log_softmax")),
    "MAXIMUM": _pair("max", "max"),
    "MINIMUM": _pair("min", "min"),
    "MUL": _pair("mul", "mul"),
    "PRELU": _function(float_functions.prelu, exact=True),
    "RELU": _bounded(LOWEST),
    "RELU6": _bounded(LOWEST, SIX),
    "SOFTMAX": _function(_rows("softmax")),
    "SUB": _pair("sub", "sub_from"),
    "TANH": _function(lambda run, node: (UnaryStep(op="tanh"),)),
}
"""Operators on floats at an end, as steps of a port."""
