"""Walk a model's nodes through a table of handlers, from the graph's inputs to its outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np

from hwsim.errors import HwsimError
from hwsim.float_steps import PortStep
from hwsim.frontends.onnx import batch, constant_math
from hwsim.frontends.onnx.importer import Handler, Importer
from hwsim.frontends.onnx.model import OnnxModel, OnnxPort
from hwsim.frontends.onnx.ort.moves import note_shown
from hwsim.frontends.onnx.ort.note_ends import note_functions, note_reals, note_steps
from hwsim.frontends.onnx.ort.note_sums import note_layers
from hwsim.frontends.onnx.refusals import unsupported
from hwsim.frontends.onnx.runtime import Choices, Runtime
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.builder import MAX_ELEMENTS
from hwsim.frontends.shared.ends import at_the_end, float_steps
from hwsim.frontends.shared.settling import settle, tabled
from hwsim.frontends.shared.tensors import with_views
from hwsim.frontends.shared.values import Codes, RawInput, Real, Value
from hwsim.graph import ELEMENTS, Graph, OutputPort

Made = TypeVar("Made")
UNFIT = LookupError, ValueError, TypeError, AttributeError, RecursionError, ArithmeticError


def read_graph(
    model: OnnxModel,
    handlers: Mapping[tuple[str, str], Handler],
    runtime: Runtime | None = None,
    choices: Callable[[], Choices] | None = None,
    importer: type[Importer] = Importer,
) -> Graph:
    """The Graph of the whole model; `choices` says which kernels its runtime takes.

    `importer` is the class of the state, which knows what the runtime does with reals at the end.
    """
    return with_views(
        lambda views, grids: _read(importer(model, views, grids, runtime), handlers, choices)
    )


def _read(
    run: Importer,
    handlers: Mapping[tuple[str, str], Handler],
    choices: Callable[[], Choices] | None,
) -> Graph:
    model = run.model
    _refuse_unknown(run, handlers)
    _refuse_circles(run)
    if choices is not None:
        run.choices = fitting(model, choices)
    for port in run.model.inputs:
        run.values[port.name] = raw_input(run.model, port)
    for node in run.model.nodes:
        for made in filter(None, node.outputs):
            if made in run.values:
                raise HwsimError(f"{model.path}: {node}: tensor {made!r} must be made only once")
        try:
            if constant_math.is_constant(run, node):
                constant_math.compute(run, node)
            else:
                batch.read_node(run, node, handlers[node.domain, node.op])
        except HwsimError as error:
            raise run.named(error, node) from None
        except (ValueError, TypeError, IndexError, OverflowError, MemoryError) as error:
            # Whatever NumPy says to values that no handler thought of.
            raise HwsimError(f"{run.model.path}: {node}: it must be valid ({error})") from None
    outputs = tuple(_output(run, port) for port in run.model.outputs)
    if choices is not None:
        note_layers(run)
    return run.graph(outputs, inputs=[port.name for port in run.model.inputs])


def fitting(model: OnnxModel, make: Callable[[], Made]) -> Made:
    """What is made of a whole model; HwsimError names the file, also where no check has thought of.

    Nodes that do not fit together meet all sorts of code before their handlers look at them.
    """
    try:
        return make()
    except HwsimError as error:
        place = f"{model.path}: "
        text = str(error)
        raise HwsimError(text if text.startswith(place) else place + text) from None
    except UNFIT as error:
        raise HwsimError(f"{model.path}: its nodes must fit together ({error!r})") from None


def _refuse_unknown(run: Importer, handlers: Mapping[tuple[str, str], Handler]) -> None:
    unknown = [
        (f"{node.domain}.{node.op}" if node.domain else node.op, node.name)
        for node in run.model.nodes
        if (node.domain, node.op) not in handlers
    ]
    if unknown:
        raise HwsimError(unsupported(run.model.path, unknown))


def _refuse_circles(run: Importer) -> None:
    """Nodes stand in the order of computation, which rewrites of the whole graph rely on."""
    made: dict[str, int] = {}
    for place, node in enumerate(run.model.nodes):
        for name in filter(None, node.outputs):
            made.setdefault(name, place)
    for place, node in enumerate(run.model.nodes):
        late = [name for name in node.inputs if made.get(name, -1) >= place]
        if late:
            raise HwsimError(
                f"{run.model.path}: {node}: tensor {late[0]!r} must be made by a node before it"
            )


def _output(run: Importer, port: OnnxPort) -> OutputPort:
    value = run.values.get(port.name)
    what = f"{run.model.path}: output {port.name!r}"
    if port.name in run.places:
        raise HwsimError(
            f"{what}: its first axis must be the batch alone; a Transpose or Reshape behind "
            "it helps"
        )
    try:
        reals: tuple[float, ...] | None = None
        steps: tuple[PortStep, ...] = ()
        if isinstance(value, Real):
            value, rows = at_the_end(run.shown(value))
            if run.choices is not None:
                note_functions(run, value)
                note_shown(run, port.name)
            value, steps = float_steps(value)
            if not steps:
                value, reals = tabled(value)
            steps = (*steps, *rows)
            run.note_port(steps, reals)
            note_steps(run, port.name, steps)
        codes = _output_codes(run, value, port.name)
        element = _element(port, codes) if isinstance(value, Codes) else None
        return run.output(port.name, codes, element=element, reals=reals, steps=steps)
    except HwsimError as error:
        raise HwsimError(f"{what}: {error}") from None


def _element(port: OnnxPort, codes: Codes) -> str:
    """The integer type in which the runtime gives codes: as declared, where that holds them."""
    if port.dtype in ELEMENTS:
        return port.dtype
    return f"{'int' if codes.format.signed else 'uint'}{max(8, codes.format.width)}"


def _output_codes(run: Importer, value: Value | None, name: str) -> Codes:
    if isinstance(value, Codes):
        return value
    if not isinstance(value, Real):
        raise HwsimError("it must be computed from the graph's inputs by quantized operators")
    codes = settle(run, value, name)
    if run.choices is not None:
        note_reals(run, value)
    else:
        run.note_end(value)
    return codes


def raw_input(model: OnnxModel, port: OnnxPort) -> RawInput:
    """A graph input with a batch axis and known other axes."""
    shape = port.shape[1:]
    if not port.shape or any(d is None or d < 1 for d in shape):
        raise HwsimError(
            f"{model.path}: input {port.name!r} must have a batch axis and then fixed sizes, not "
            f"{port.shape}"
        )
    sizes = tuple(int(d) for d in shape if d is not None)
    if np.prod([float(d) for d in sizes], initial=1.0) > MAX_ELEMENTS:
        raise HwsimError(
            f"{model.path}: input {port.name!r} must have at most {MAX_ELEMENTS} elements, not "
            f"shape {sizes}"
        )
    return RawInput(
        port.name, port.dtype, Arrangement.plain(sizes), Arrangement.channels_last(sizes)
    )
