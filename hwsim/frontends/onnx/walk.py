"""Walk a model's nodes through a table of handlers, from the graph's inputs to its outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.file import MAX_ELEMENTS, OnnxModel, OnnxPort
from hwsim.frontends.onnx.importer import Handler, Importer, Rearranged, RuntimeDifference
from hwsim.frontends.onnx.kernels import Choice
from hwsim.frontends.onnx.notes import note_functions, note_reals
from hwsim.frontends.onnx.order import View, view_of
from hwsim.frontends.shared.rounding import settle, tabled
from hwsim.frontends.shared.values import NO_PADDING, Codes, Layout, RawInput, Real, Value
from hwsim.frontends.ways import unsupported
from hwsim.graph import ELEMENTS, Graph, Node, OutputPort
from hwsim.notices import warn

Choices = Mapping[str, Choice]


def read_graph(
    model: OnnxModel,
    handlers: Mapping[tuple[str, str], Handler],
    choices: Callable[[OnnxModel], Choices] | None = None,
) -> Graph:
    """The Graph of the whole model; `choices` says which kernels its runtime takes."""
    views: dict[str, View] = {}
    while True:  # at most once more for each input
        run = Importer(model, views)
        try:
            graph = _read(run, handlers, choices)
        except Rearranged as asked:
            views[asked.name] = asked.view
            continue
        for text in run.warnings:
            warn(text, RuntimeDifference)
        return graph


def _read(
    run: Importer,
    handlers: Mapping[tuple[str, str], Handler],
    choices: Callable[[OnnxModel], Choices] | None,
) -> Graph:
    model = run.model
    _refuse_unknown(run, handlers)
    if choices is not None:
        run.choices = _chosen(model, choices)
    for port in run.model.inputs:
        run.values[port.name] = raw_input(run.model, port)
    for node in run.model.nodes:
        if node.output in run.values:
            raise HwsimError(f"{model.path}: {node}: tensor {node.output!r} must be made only once")
        try:
            handlers[node.domain, node.op](run, node)
        except HwsimError as error:
            raise run.named(error, node) from None
        except (ValueError, TypeError, IndexError, OverflowError, MemoryError) as error:
            # Whatever NumPy says to values that no handler thought of.
            raise HwsimError(f"{run.model.path}: {node}: it must be valid ({error})") from None
    outputs = tuple(_output(run, port) for port in run.model.outputs)
    missing = [port.name for port in run.model.inputs if port.name not in run.inputs]
    if missing:
        raise HwsimError(
            f"{run.model.path}: input {missing[0]!r} must be quantized and used by a node"
        )
    inputs = tuple(run.inputs[port.name] for port in run.model.inputs)
    try:
        return Graph(inputs, _live(run, outputs), outputs)
    except HwsimError as error:
        raise HwsimError(f"{run.model.path}: {error}") from None


def _chosen(model: OnnxModel, choices: Callable[[OnnxModel], Choices]) -> Choices:
    try:
        return choices(model)
    except (LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise HwsimError(f"{model.path}: its nodes must fit together ({error!r})") from None


def _refuse_unknown(run: Importer, handlers: Mapping[tuple[str, str], Handler]) -> None:
    unknown = [
        (f"{node.domain}.{node.op}" if node.domain else node.op, node.name)
        for node in run.model.nodes
        if (node.domain, node.op) not in handlers
    ]
    if unknown:
        raise HwsimError(unsupported(run.model.path, unknown))


def _live(run: Importer, outputs: Sequence[OutputPort]) -> tuple[Node, ...]:
    """Nodes that some output depends on."""
    needed = {port.tensor for port in outputs}
    kept: list[Node] = []
    for node in reversed(run.nodes):
        if node.output in needed:
            needed.update(node.inputs)
            kept.append(node)
    return tuple(reversed(kept))


def _output(run: Importer, port: OnnxPort) -> OutputPort:
    value = run.values.get(port.name)
    what = f"{run.model.path}: output {port.name!r}"
    try:
        reals = None
        if isinstance(value, Real):
            if run.choices is not None:
                note_functions(run, value)
            value, reals = tabled(value)
        codes = _output_codes(run, value, port.name)
    except HwsimError as error:
        raise HwsimError(f"{what}: {error}") from None
    seen = view_of(codes.layout.order, codes.layout.physical, codes.layout.shape)
    assert seen is not None
    return OutputPort(
        name=port.name,
        tensor=codes.edge,
        layout=seen.layout,
        shape=seen.shape,
        element=_element(port, codes) if isinstance(value, Codes) else None,
        reals=reals,
    )


def _element(port: OnnxPort, codes: Codes) -> str:
    """The integer type in which the runtime gives codes: as declared, where that holds them."""
    if port.dtype in ELEMENTS:
        return port.dtype
    return f"{'int' if codes.format.signed else 'uint'}{max(8, codes.format.width)}"


def _output_codes(run: Importer, value: Value | None, name: str) -> Codes:
    if isinstance(value, Codes):
        codes = value
    elif isinstance(value, Real):
        codes = settle(run, value, name)
        if run.choices is not None:
            note_reals(run, value)
    else:
        raise HwsimError("it must be computed from the graph's inputs by quantized operators")
    if codes.padding != NO_PADDING:
        raise HwsimError("a Pad must be followed by a convolution")
    layout = codes.layout
    if layout.standard and layout.shape:
        return run.standard(codes, "output")
    seen = view_of(layout.order, layout.physical, layout.shape)
    return run.arranged(codes, Layout.plain(layout.shape), "output") if seen is None else codes


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
    return RawInput(port.name, port.dtype, Layout.plain(sizes), Layout.channels_last(sizes))
