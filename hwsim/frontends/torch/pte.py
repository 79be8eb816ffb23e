"""ExecuTorch's programs (`.pte`) as exported ones: delegates and operators between them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hwsim.errors import HwsimError
from hwsim.frontends.shared.flatbuffer import MalformedError
from hwsim.frontends.torch.program import (
    FIXED_SCALES,
    QUANTIZE_PT2E,
    ExportedGraph,
    ProgramNode,
    TensorMeaning,
    TensorName,
)
from hwsim.frontends.torch.pte_file import PteCall, PteFile, PteInts, PteTensor, damaged, read_pte
from hwsim.frontends.torch.xnn_file import DYNAMIC, TYPE_NAMES, XnnGraph, read_xnn
from hwsim.frontends.torch.xnn_nodes import RULES
from hwsim.frontends.torch.xnn_writer import Delegate, ProgramWriter
from hwsim.frontends.unread import NO_RULE, ListedOperator

XNNPACK = "XnnpackBackend"
QUANTIZED = "quantized_decomposed::"
Names = tuple[str, ...]
OPERATORS: dict[str, tuple[str, Names]] = {
    "aten::_softmax.out": ("aten._softmax", ("self", "dim", "half_to_float")),
    "aten::_log_softmax.out": ("aten._log_softmax", ("self", "dim", "half_to_float")),
    "aten::_adaptive_avg_pool2d.out": ("aten.adaptive_avg_pool2d", ("self", "output_size")),
    "aten::abs.out": ("aten.abs", ("self",)),
    "aten::add.out": ("aten.add", ("self", "other", "alpha")),
    "aten::add.Scalar_out": ("aten.add", ("self", "other", "alpha")),
    "aten::alias_copy.out": ("aten.alias", ("self",)),
    "aten::amax.out": ("aten.amax", ("self", "dim", "keepdim")),
    "aten::amin.out": ("aten.amin", ("self", "dim", "keepdim")),
    "aten::as_strided_copy.out": ("aten.as_strided", ("self", "size", "stride")),
    "aten::avg_pool2d.out": (
        "aten.avg_pool2d",
        ("self", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad",
         "divisor_override"),
    ),
    "aten::bmm.out": ("aten.bmm", ("self", "mat2")),
    "aten::cat.out": ("aten.cat", ("tensors", "dim")),
    "aten::clamp.out": ("aten.clamp", ("self", "min", "max")),
    "aten::clone.out": ("aten.clone", ("self",)),
    "aten::constant_pad_nd.out": ("aten.constant_pad_nd", ("self", "pad", "value")),
    "aten::div.out": ("aten.div", ("self", "other")),
    "aten::div.Scalar_out": ("aten.div", ("self", "other")),
    "aten::elu.out": ("aten.elu", ("self", "alpha", "scale", "input_scale")),
    "aten::exp.out": ("aten.exp", ("self",)),
    "aten::expand_copy.out": ("aten.expand", ("self", "size")),
    "aten::gelu.out": ("aten.gelu", ("self", "approximate")),
    "aten::hardtanh.out": ("aten.hardtanh", ("self", "min_val", "max_val")),
    "aten::leaky_relu.out": ("aten.leaky_relu", ("self", "negative_slope")),
    "aten::log.out": ("aten.log", ("self",)),
    "aten::maximum.out": ("aten.maximum", ("self", "other")),
    "aten::max_pool2d_with_indices.out": (
        "aten.max_pool2d_with_indices",
        ("self", "kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    ),
    "aten::mean.out": ("aten.mean", ("self", "dim", "keepdim")),
    "aten::minimum.out": ("aten.minimum", ("self", "other")),
    "aten::mul.out": ("aten.mul", ("self", "other")),
    "aten::mul.Scalar_out": ("aten.mul", ("self", "other")),
    "aten::native_layer_norm.out": (
        "aten.native_layer_norm", ("input", "normalized_shape", "weight", "bias", "eps")
    ),
    "aten::neg.out": ("aten.neg", ("self",)),
    "aten::permute_copy.out": ("aten.permute", ("self", "dims")),
    "aten::relu.out": ("aten.relu", ("self",)),
    "aten::rsqrt.out": ("aten.rsqrt", ("self",)),
    "aten::select_copy.int_out": ("aten.select", ("self", "dim", "index")),
    "aten::sigmoid.out": ("aten.sigmoid", ("self",)),
    "aten::slice_copy.Tensor_out": ("aten.slice", ("self", "dim", "start", "end", "step")),
    "aten::split_copy.Tensor_out": ("aten.split", ("self", "split_size", "dim")),
    "aten::split_with_sizes_copy.out": (
        "aten.split_with_sizes", ("self", "split_sizes", "dim")
    ),
    "aten::sqrt.out": ("aten.sqrt", ("self",)),
    "aten::squeeze_copy.dim_out": ("aten.squeeze", ("self", "dim")),
    "aten::squeeze_copy.dims_out": ("aten.squeeze", ("self", "dim")),
    "aten::stack.out": ("aten.stack", ("tensors", "dim")),
    "aten::sub.out": ("aten.sub", ("self", "other", "alpha")),
    "aten::sub.Scalar_out": ("aten.sub", ("self", "other", "alpha")),
    "aten::sum.IntList_out": ("aten.sum", ("self", "dim", "keepdim")),
    "aten::tanh.out": ("aten.tanh", ("self",)),
    "aten::transpose_copy.int_out": ("aten.transpose", ("self", "dim0", "dim1")),
    "aten::unbind_copy.int_out": ("aten.unbind", ("self", "dim")),
    "aten::unsqueeze_copy.out": ("aten.unsqueeze", ("self", "dim")),
    "aten::upsample_bilinear2d.vec_out": (
        "aten.upsample_bilinear2d", ("input", "output_size", "align_corners", "scale_factors")
    ),
    "aten::upsample_nearest2d.vec_out": (
        "aten.upsample_nearest2d", ("input", "output_size", "scale_factors")
    ),
    "aten::view_copy.out": ("aten.view", ("self",)),
    "dim_order_ops::_clone_dim_order.out": ("aten.clone", ("self",)),
    "dim_order_ops::_to_dim_order_copy.out": ("aten.clone", ("self",)),
    "executorch_prim::et_view.default": ("aten.view", ("self",)),
    "quantized_decomposed::dequantize_per_tensor.out": (
        "quantized_decomposed.dequantize_per_tensor",
        ("input", "scale", "zero_point", "quant_min", "quant_max", "dtype"),
    ),
    "quantized_decomposed::quantize_per_tensor.out": (
        "quantized_decomposed.quantize_per_tensor",
        ("input", "scale", "zero_point", "quant_min", "quant_max", "dtype"),
    ),
}  # fmt: skip
"""Operators that run outside of a delegate, and the arguments that they begin with."""
TYPES = {0: "uint8", 1: "int8", 2: "int16", 3: "int32", 6: "float32"}
"""Element types among arguments by their number."""
RESULTS = {"aten.max_pool2d_with_indices": 2, "aten.native_layer_norm": 3}
"""How many tensors an operator gives of which only the first is read."""
CODES = ("quantized_decomposed.quantize_per_tensor",)


def read_program(path: Path) -> ExportedGraph:
    """The program in a file; HwsimError names what is wrong with it."""
    held = read_pte(path)
    delegates = _delegates(held)
    _check(held, delegates)
    return _Program(held, delegates).graph()


def outline_of(path: Path) -> Iterator[ListedOperator]:
    """The nodes of a file in the order that they run in, and which of them are not read."""
    held = read_pte(path)
    delegates = _delegates(held)
    for place, call in enumerate(held.calls):
        if place in delegates:
            for number, node in enumerate(delegates[place].nodes):
                why = None if node.op in RULES else NO_RULE
                yield ListedOperator(f"delegate{place}.{number}", f"XNN{node.op}", why)
        elif call.blob is not None:
            yield ListedOperator(f"delegate{place}", call.op, "it is not XNNPACK's")
        else:
            why = None if call.op in OPERATORS else NO_RULE
            yield ListedOperator(f"call{place}", call.op, why)


def _delegates(held: PteFile) -> dict[int, XnnGraph]:
    """What each call of XNNPACK's delegate runs, by the call's place."""
    try:
        return {
            place: read_xnn(call.blob, held.named, f"delegate{place}")
            for place, call in enumerate(held.calls)
            if call.blob is not None and call.op == XNNPACK
        }
    except (MalformedError, struct.error, ValueError, OverflowError) as error:
        raise damaged(held.path, error) from None


def _check(held: PteFile, delegates: dict[int, XnnGraph]) -> None:
    """Raise HwsimError for another backend's delegate, and for operators that are not read."""
    others = sorted({c.op for c in held.calls if c.blob is not None and c.op != XNNPACK})
    if others:
        raise HwsimError(
            f"{held.path} must be lowered for XNNPACK, not for {', '.join(others)}, which computes "
            "by rules of its own; lower the program with XnnpackPartitioner, or load the .pt2"
        )
    values = [value for graph in delegates.values() for value in graph.values.values()]
    if any(TYPE_NAMES.get(value.kind) == DYNAMIC for value in values):
        raise HwsimError(
            f"{held.path} must be quantized with fixed scales, but finds them anew for each input; "
            f"what helps: {FIXED_SCALES}"
        )
    quantized = any(call.op.startswith(QUANTIZED) for call in held.calls)
    if not quantized and all(value.scales is None for value in values):
        raise HwsimError(
            f"{held.path} must be quantized: {QUANTIZE_PT2E}, then lowered for XNNPACK"
        )
    missing = {c.op for c in held.calls if c.blob is None and c.op not in OPERATORS}
    missing |= {
        f"XNN{node.op}" for d in delegates.values() for node in d.nodes if node.op not in RULES
    }
    if missing and not delegates:
        raise HwsimError(
            f"{held.path} must be lowered for XNNPACK, but nothing of it is: "
            "to_edge_transform_and_lower with partitioner=[XnnpackPartitioner()] does it"
        )
    if missing:
        raise HwsimError(
            f"{held.path} must use supported operators only, but has {', '.join(sorted(missing))}; "
            "docs/pytorch.md lists what is supported"
        )


class _Program:
    """The program that is written while its calls are gone through."""

    def __init__(self, held: PteFile, delegates: dict[int, XnnGraph]) -> None:
        self.held, self.delegates, self.writer = held, delegates, ProgramWriter()
        self.names: dict[int, str] = {}

    def graph(self) -> ExportedGraph:
        """The whole of it."""
        place = str(self.held.path)
        try:
            inputs = tuple(self._input(index, n) for n, index in enumerate(self.held.inputs))
            for number, call in enumerate(self.held.calls):
                if call.blob is None:
                    self._operator(number, call)
                else:
                    self._delegate(number, call)
            outputs = tuple(self._name(index) for index in self.held.outputs)
        except HwsimError as error:
            raise HwsimError(f"{place}: {error}") from None
        except (IndexError, ValueError, TypeError, KeyError) as error:
            raise damaged(self.held.path, error) from None
        writer = self.writer
        return ExportedGraph(
            place, inputs, outputs, tuple(writer.nodes), writer.constants, writer.meanings
        )

    def _tensor(self, index: int) -> PteTensor:
        value = self.held.values[index]
        if not isinstance(value, PteTensor):
            raise HwsimError(f"value {index} must be a tensor")
        return value

    def _input(self, index: int, number: int) -> str:
        tensor = self._tensor(index)
        name = f"input{number}"
        self.names[index] = name
        self.writer.meanings[name] = TensorMeaning(tensor.dtype, tensor.shape)
        return name

    def _name(self, index: int) -> str:
        if index not in self.names:
            tensor = self._tensor(index)
            if tensor.data is None:
                raise HwsimError(f"value {index} must be made before it is read")
            self.names[index] = self.writer.constant(f"constant{index}", tensor.data).name
        return self.names[index]

    def _delegate(self, number: int, call: PteCall) -> None:
        graph = self.delegates[number]
        run = Delegate(graph, self.writer, f"delegate{number}")
        ends = sorted((*graph.inputs, *graph.outputs))
        if len(ends) != len(call.args):
            raise HwsimError(f"delegate {number}: it must take {len(ends)} tensors")
        places = dict(zip(self._order(graph), call.args, strict=True))
        for value in graph.inputs:
            run.names[value] = self._name(places[value])
        for node in graph.nodes:
            RULES[node.op](run, node)
        for value in graph.outputs:
            if value not in run.names:
                raise HwsimError(f"delegate {number}: its output {value} must be made")
            self.names[places[value]] = run.names[value]

    @staticmethod
    def _order(graph: XnnGraph) -> tuple[int, ...]:
        """Values in the order of a call's arguments."""
        return (*graph.inputs, *graph.outputs)

    def _operator(self, number: int, call: PteCall) -> None:
        op, names = OPERATORS[call.op]
        args = {
            name: self._argument(name, index) for name, index in zip(names, call.args, strict=False)
        }
        made = self.held.values[call.args[-1]]
        indices = made if isinstance(made, tuple) else (call.args[-1],)
        if op in RESULTS:
            indices = indices[:1] if len(indices) > 1 else (call.args[-RESULTS[op]],)
        outputs = []
        for place, index in enumerate(indices):
            tensor = self._tensor(index)
            name = f"call{number}" if len(indices) == 1 else f"call{number}.{place}"
            self.names[index] = name
            self.writer.meanings[name] = TensorMeaning(tensor.dtype, tensor.shape)
            outputs.append(name)
        self.writer.nodes.append(ProgramNode(op, f"call{number}", args, tuple(outputs)))

    def _argument(self, name: str, index: int) -> Any:
        value = self.held.values[index]
        if name == "dtype":
            return TYPES.get(value, f"type {value}")
        if isinstance(value, PteInts):
            return tuple(self.held.values[each] for each in value.indices)
        if isinstance(value, PteTensor):
            return TensorName(self._name(index))
        if name == "tensors" and isinstance(value, tuple):
            return tuple(TensorName(self._name(each)) for each in value)
        return value
