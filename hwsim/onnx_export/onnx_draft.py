"""An ONNX graph under construction: nodes, constants, ports and the names that are taken."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError

OPSET = 21
IR_VERSION = 10
BATCH = "N"
"""What the batch's axis is called in the ports' shapes."""

NEXT = ".next"
"""Ends the name of the output with what a state holds in the next time step."""

BEFORE = "before/"
"""Begins the name of an output with the reals of another, ahead of float32 arithmetic there."""

MOST_NODES = 200_000
MOST_BYTES = (1 << 31) - (1 << 20)
"""Of one file of protocol buffers, with room for what is not counted."""

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DraftNode:
    """One ONNX node: its operator, the tensors that it reads and makes, its attributes."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    domain: str = ""


@dataclass(slots=True)
class OnnxDraft:
    """What has been written so far.

    `inputs` and `outputs` hold name, NumPy's name of the element type and shape without the batch.
    `read` and `shown` say what the file's inputs and outputs are called, by the names of ports and
    states (a state's output by its name and `NEXT`); `before` are tensors with the
    reals of outputs ahead of their float32 steps.
    With `once_each` no node reads a tensor twice, which QONNX's clean-up cannot rename.
    `shapes` are those of tensors of float32 in between, with the batch, where readers want them.
    `notes` are nodes that are written otherwise than the form's name says.
    `unread` says why hwsim's own reader does not read the file, where it was asked and does not.
    `now` is the Graph's node that is being written: nodes are named after it.
    """

    nodes: list[DraftNode] = field(default_factory=list)
    constants: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    inputs: list[tuple[str, str, Shape]] = field(default_factory=list)
    outputs: list[tuple[str, str, Shape]] = field(default_factory=list)
    read: dict[str, str] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)
    before: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    opset: int = OPSET
    batch: int | str = BATCH
    once_each: bool = False
    unread: str | None = None
    notes: list[str] = field(default_factory=list)
    now: str = ""
    _taken: set[str] = field(default_factory=set)
    _held: dict[tuple[str, Shape, bytes], str] = field(default_factory=dict)
    _bytes: int = 0

    def reserve(self, name: str) -> str:
        """A name that nothing else has: `name`, or that with a number."""
        wanted, number = name or "tensor", 1
        while name in self._taken or not name:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name)
        return name

    def add_input(self, name: str, element: str, shape: Shape) -> str:
        """An input of the file; its name there, which is `name` where nothing has that."""
        self.read[name] = self.reserve(name)
        self.inputs.append((self.read[name], element, shape))
        return self.read[name]

    def add_output(self, name: str, element: str, shape: Shape) -> str:
        """An output of the file, for a node to make; its name there."""
        self.shown[name] = self.reserve(name)
        self.outputs.append((self.shown[name], element, shape))
        return self.shown[name]

    def add(
        self,
        op: str,
        inputs: Sequence[str],
        made: str | Sequence[str] | None = None,
        *,
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """A node; the tensor that it makes, the first of several, by a new name unless given."""
        if len(self.nodes) >= MOST_NODES:
            raise HwsimError(f"what is written must have at most {MOST_NODES} nodes, not more")
        if self.once_each:
            inputs = [
                self.add("Identity", [name]) if name in inputs[:k] else name
                for k, name in enumerate(inputs)
            ]
        base = self.reserve(f"{self.now}/{op}" if self.now else op)
        outputs = (f"{base}_out",) if made is None else (made,) if isinstance(made, str) else made
        node = DraftNode(base, op, tuple(inputs), tuple(outputs), attributes, domain)
        self.nodes.append(node)
        return node.outputs[0]

    def rename(self, made: str, given: str) -> None:
        """Have a tensor be called `given`: by its own node where nothing reads it yet."""
        if self.nodes and self.nodes[-1].outputs == (made,):
            self.nodes[-1] = replace(self.nodes[-1], outputs=(given,))
            self.shapes.pop(made, None)
        else:
            self.add("Identity", [made], given)

    def constant(self, array: npt.NDArray[Any], name: str = "") -> str:
        """The name of a constant tensor; equal ones without a name of their own are held once."""
        array = np.ascontiguousarray(array).reshape(np.shape(array))
        key = (str(array.dtype), array.shape, array.tobytes())
        if not name and key in self._held:
            return self._held[key]
        self._bytes += array.nbytes
        if self._bytes > MOST_BYTES:
            raise HwsimError("the constants of an ONNX file must have less than 2 GiB, not more")
        given = self.reserve(name or f"{self.now or 'graph'}/constant")
        self.constants[given] = array
        if not name:
            self._held[key] = given
        return given

    def proto(self, doc: str) -> Any:
        """The model as a protocol buffer, checked by ONNX's own checker."""
        import onnx
        from onnx import helper, numpy_helper

        inputs, outputs = (
            [
                helper.make_tensor_value_info(
                    name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), [self.batch, *shape]
                )
                for name, kind, shape in some
            ]
            for some in (self.inputs, self.outputs)
        )
        nodes = [
            helper.make_node(
                n.op, n.inputs, n.outputs, name=n.name, domain=n.domain, **n.attributes
            )
            for n in self.nodes
        ]
        held = [numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        ends = {name for name, _, _ in (*self.inputs, *self.outputs)}
        told = [
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
            for name, shape in self.shapes.items()
            if name not in ends
        ]
        graph = helper.make_graph(
            nodes, "hwsim", inputs, outputs, held, doc_string=doc, value_info=told
        )
        domains = {"": self.opset, **{n.domain: 1 for n in self.nodes if n.domain}}
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(name, v) for name, v in domains.items()],
            ir_version=IR_VERSION,
            producer_name="hwsim",
        )
        helper.set_model_props(model, self.metadata)
        onnx.checker.check_model(model)
        return model


def plain(name: str) -> str:
    """A name with nothing but letters, digits and the signs that ONNX tools take."""
    return re.sub(r"[^\w./:\-]", "_", name) or "tensor"
