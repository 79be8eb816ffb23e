"""A run of a module as an ONNX model in memory, its quantizers as operators of QONNX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.model import Attribute, OnnxModel, OnnxNode, OnnxPort
from hwsim.frontends.torch_modules.brevitas.quantizers import QuantizerNode, described
from hwsim.frontends.torch_modules.trace import WATCHED, Call, Laid, Trace

DOMAIN = "qonnx.custom_op.general"
OPSET = 17
SOURCE = Path("the module")


class Exporter:
    """ONNX nodes and constants, as the calls of a run are gone through.

    `names` are of tensors by their ids; `batch` is the size of the first axis in the run.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.batch = int(trace.inputs[0].shape[0])
        self.nodes: list[OnnxNode] = []
        self.constants: dict[str, npt.NDArray[Any]] = {}
        self.names: dict[int, str] = {}
        self.taken: set[str] = set()

    def unique(self, name: str) -> str:
        """A name that nothing has yet."""
        chosen, count = name or "node", 1
        while chosen in self.taken:
            count += 1
            chosen = f"{name}.{count}"
        self.taken.add(chosen)
        return chosen

    def constant(self, name: str, values: npt.ArrayLike, dtype: Any = np.float32) -> str:
        """A constant's name."""
        chosen = self.unique(name)
        self.constants[chosen] = np.asarray(values, dtype)
        return chosen

    def operand(self, call: Call, value: Any) -> str:
        """The name of an argument: computed, constant, quantized or a number."""
        if not isinstance(value, torch.Tensor):
            return self.constant(f"{call.title}.number", float(value))
        if id(value) not in self.names:
            self.names[id(value)] = self._held(call, value)
        return self.names[id(value)]

    def _held(self, call: Call, value: torch.Tensor) -> str:
        """A constant tensor; one that a quantizer gave stands behind its operator."""
        title = f"{call.title}.constant"
        name = self.constant(title, value.detach().cpu().numpy())
        found = self.trace.constants.get(id(value))
        steps: list[Callable[[torch.Tensor], torch.Tensor]] = []
        while isinstance(found, Laid):
            steps = [*found.steps, *steps]
            found = self.trace.constants.get(id(found.source))
        if found is None:
            return name
        node = described(found)
        shape = tuple(found.output.shape)
        laid = [_laid(parameter, shape, steps) for parameter in node.parameters]
        return self.quantizer(title, name, QuantizerNode(node.op, tuple(laid), node.attributes))

    def quantizer(self, title: str, given: str, node: QuantizerNode) -> str:
        """A quantizer behind a tensor."""
        inputs = [self.constant(f"{title}.{i}", p) for i, p in enumerate(node.parameters)]
        return self.node(title, node.op, [given, *inputs], node.attributes, domain=DOMAIN)

    def node(
        self,
        title: str,
        op: str,
        inputs: Sequence[str],
        attributes: Mapping[str, Attribute] | None = None,
        *,
        domain: str = "",
    ) -> str:
        """Append a node with one output; gives its name."""
        out = self.unique(title)
        self.nodes.append(OnnxNode(out, op, domain, tuple(inputs), (out,), attributes or {}))
        return out

    def give(self, call: Call, op: str, inputs: Sequence[str], **attributes: Attribute) -> None:
        """Make the first output of a call by one node."""
        self.names[id(call.output)] = self.node(call.title, op, inputs, attributes)

    def same(self, call: Call, name: str = "self") -> None:
        """Say that a call gives what it took."""
        self.names[id(call.output)] = self.operand(call, call[name])

    def shape(self, call: Call) -> list[int]:
        """The shape of a call's output for any batch."""
        first, *others = call.output.shape
        if first != self.batch:
            raise HwsimError(
                f"{call}: it must keep the batch of {self.batch} first, not give "
                f"{tuple(call.output.shape)}"
            )
        return [-1, *others]


def _laid(
    parameter: npt.NDArray[np.float32],
    shape: tuple[int, ...],
    steps: Sequence[Callable[[torch.Tensor], torch.Tensor]],
) -> npt.NDArray[np.float32]:
    """A parameter of a tensor whose axes were laid out anew."""
    if parameter.size == 1 or not steps:
        return parameter
    held = torch.from_numpy(np.broadcast_to(parameter, shape).copy())
    for step in steps:
        held = step(held)
    values = held.numpy()
    for axis in range(values.ndim):
        first = values.take([0], axis=axis)
        values = first if (first == values).all() else values
    return np.asarray(values, np.float32)


Export = Callable[[Exporter, Call], None]


def exported(trace: Trace, handlers: dict[str, Export], names: Sequence[str]) -> OnnxModel:
    """The model of a run."""
    run = Exporter(trace)
    inputs = []
    for tensor, name in zip(trace.inputs, names, strict=True):
        run.names[id(tensor)] = run.unique(name)
        inputs.append(OnnxPort(name, "float32", (None, *tensor.shape[1:])))
    _expect_known(trace, handlers)
    for call in trace.calls:
        if call.name == WATCHED:
            given = run.operand(call, call["x"])
            title = f"{layer_of(call.place)}.quant".lstrip(".")
            run.names[id(call.output)] = run.quantizer(title, given, described(call))
        else:
            handlers[call.name](run, call)
    outputs = []
    for place, tensor in enumerate(trace.outputs):
        if id(tensor) not in run.names:
            raise HwsimError("each output of the module must depend on its input")
        name = "output" if len(trace.outputs) == 1 else f"output{place}"
        shown = run.node(run.unique(name) if name in run.taken else name, "Identity",
                         [run.names[id(tensor)]])  # fmt: skip
        outputs.append(OnnxPort(shown, "float32", (None, *tensor.shape[1:])))
    return OnnxModel(SOURCE, OPSET, tuple(run.nodes), run.constants, tuple(inputs), tuple(outputs))


def layer_of(place: str) -> str:
    """The layer of a quantizer, whose parts have long names."""
    for part in (".fused_activation_quant_proxy", ".tensor_quant"):
        place = place.partition(part)[0]
    return place


def _expect_known(trace: Trace, handlers: dict[str, Export]) -> None:
    missing: dict[str, str] = {}
    for call in trace.calls:
        if call.name not in handlers and call.name != WATCHED:
            missing.setdefault(call.name.removeprefix("aten::"), call.place)
    if missing:
        listed = ", ".join(
            f"{name} ({place!r})" if place else name for name, place in sorted(missing.items())
        )
        raise HwsimError(f"a module of Brevitas must use operators that are read, but has {listed}")
