"""TimeDistributed: layers between two markers, once for each time step (`nnet_time_distributed.h`).

They are read once, and their operators shared by all steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hwsim.errors import HwsimError
from hwsim.frontends.hls4ml.importer import LayerBuilder, result
from hwsim.frontends.hls4ml.types import read_precision
from hwsim.graph import InputPort, Node
from hwsim.ops import Concat, Reshape, Split, TensorType

KIND = "TimeDistributed"
Rule = Callable[[LayerBuilder, Any], None]


@dataclass(frozen=True, slots=True, eq=False)
class TimeStep:
    """The operators of one time step, between the edges that it reads and makes."""

    nodes: Sequence[Node]
    given: str
    made: str

    def repeat(self, build: LayerBuilder, prefix: str, source: str) -> str:
        """The same operators once more, on edges with names of their own."""
        edges = {self.given: source}
        for node in self.nodes:
            inputs = [edges[edge] for edge in node.inputs]
            names = [f"{prefix}/{edge}" for edge in node.outputs]
            made = build.emit_all(f"{prefix}/{node.name}", node.op, inputs, names)
            edges.update(zip(node.outputs, made, strict=True))
        return edges[self.made]


def blocks(layers: Sequence[Any]) -> Iterator[list[Any]]:
    """The layers one by one, those of a TimeDistributed together with its two markers."""
    end = None
    block: list[Any] = []
    for layer in layers:
        block.append(layer)
        if end is None and layer.class_name == KIND:
            end = layer.get_attr("wrapped_layer")
        elif end is None or layer is end:
            yield block
            block, end = [], None
    if block:
        raise HwsimError(f"layer {block[0].name!r}: the end of its time steps must follow it")


def read_time_distributed(build: LayerBuilder, layers: Sequence[Any], read: Rule) -> None:
    """The first and last of `layers` are the markers; `read` reads one of the others."""
    start, *inner, end = layers
    if build.stream:
        raise HwsimError("a TimeDistributed must have io_type io_parallel: hls4ml has no other")
    source, name = build.edge(start.inputs[0]), end.outputs[0]
    kind = build.types[source]
    body = _body(build, start, inner, end, kind, read)
    steps, shape = kind.shape[0], kind.shape[1:]
    parts = [source]
    if steps > 1:
        edges = [f"{name}/{at}/given" for at in range(steps)]
        cut = Split(axis=0, sizes=(1,) * steps)
        parts = list(build.emit_all(f"{name}/steps", cut, [source], edges))
    made = []
    for at, part in enumerate(parts):
        step = build.add(f"{name}/{at}/step", Reshape(shape=shape), part)
        step = body.repeat(build, f"{name}/{at}", step)
        row = Reshape(shape=(1, *build.types[step].shape))
        made.append(build.add(f"{name}/{at}/row", row, step))
    whole = made[0] if steps == 1 else build.add(f"{name}/rows", Concat(axis=0), *made)
    shape = tuple(int(n) for n in end.variables[name].shape)
    build.finish(end, build.add(f"{name}/shape", Reshape(shape=shape), whole))


def _body(
    build: LayerBuilder, start: Any, inner: Sequence[Any], end: Any, kind: TensorType, read: Rule
) -> TimeStep:
    """What one step computes; the markers only copy, so that their types are those beside them."""
    step, given = LayerBuilder(stream=build.stream), start.outputs[0]
    _check_copy(start, "its input")
    port = InputPort(name=given, tensor=given, type=kind.with_shape(kind.shape[1:]))
    step.edges[given] = step.input(port)
    for layer in inner:
        foreign = [name for name in layer.inputs if name not in step.edges]
        if foreign:
            raise HwsimError(
                f"layer {layer.name!r}: what a TimeDistributed wraps must read its time step only, "
                f"not {foreign[0]!r}"
            )
        read(step, layer)
    _check_copy(end, "what it wraps")
    return TimeStep(step.nodes, given, step.edge(end.inputs[0]))


def _check_copy(marker: Any, what: str) -> None:
    given = read_precision("its precision", marker.get_input_variable().type.precision)
    if result(marker) != given:
        raise HwsimError(
            f"layer {marker.name!r}: its precision must be that of {what}, {given}, not "
            f"{result(marker)}: the C++ of hls4ml 1.3 copies between one type only"
        )
