"""A float ONNX graph in the form that quantizers are put into: norms in the layers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.windows import whole_windows
from hwsim.frontends.onnx.file import from_proto
from hwsim.frontends.onnx.fused_norms import norms

Array = npt.NDArray[Any]
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
LINES = ("Add", "Div", "Mul", "Sub")
EPSILON = 1e-5


def prepare(proto: Any) -> None:
    """Fold batch norms and factors into layers and name averages over all places so, in place.

    A norm goes into the layer before it, or, where a function stands between, into the dense layer
    behind it. So do a norm's parts and a bias, a factor or an offset a channel, which Keras writes;
    the axes may be moved in between. All are equal but for float32's rounding.
    """
    graph = _Graph(proto)
    for node in graph.nodes:
        if node.op_type in ("ReduceL2", "ReduceMean"):
            graph.along_the_last(node)
    graph.write()
    parts = frozenset().union(*(one.gone for one in norms(from_proto(proto))))
    graph = _Graph(proto)
    graph.untied()
    for node in list(proto.graph.node):
        if node.op_type == "AveragePool":
            graph.of_whole_windows(node)
        if node.op_type == "Gemm":
            graph.without_factors(node)
            graph.with_own_sum(node)
    for node in list(proto.graph.node):
        if node.op_type == "BatchNormalization":
            _ = graph.into_before(node) or graph.into_behind(node)
        if node.op_type == "ReduceMean" and node.output[0] not in parts:
            graph.averaged(node)
        if node.op_type in LINES:
            graph.line_into_before(node)
    graph.write()


def trains(proto: Any) -> list[str]:
    """Nodes that still behave as in training: norms of the batch's own, and dropped numbers."""
    from onnx import numpy_helper

    held = {t.name: t for t in proto.graph.initializer}
    held |= {
        node.output[0]: node.attribute[0].t
        for node in proto.graph.node
        if node.op_type == "Constant" and node.attribute[0].name == "value"
    }
    found = []
    for node in proto.graph.node:
        modes = [held[name] for name in node.input[2:3] if name in held]
        drops = node.op_type == "Dropout" and any(numpy_helper.to_array(m).any() for m in modes)
        own = node.op_type == "BatchNormalization" and _attribute(node, "training_mode", 0)
        if drops or own:
            found.append(f"{node.op_type} {str(node.name or node.output[0])!r}")
    return found


class _Graph:
    """Nodes and constants while they are changed."""

    def __init__(self, proto: Any) -> None:
        from onnx import numpy_helper

        self.proto = proto
        self.nodes: list[Any] = list(proto.graph.node)
        self.constants = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
        self.changed: dict[str, Array] = {}
        self.shapes = {
            info.name: [dim.dim_value for dim in info.type.tensor_type.shape.dim]
            for info in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output)
            if info.type.tensor_type.HasField("shape")
        }
        self.ranks = {name: len(shape) for name, shape in self.shapes.items()}

    def without_factors(self, gemm: Any) -> None:
        """Put Gemm's own factors into its constants, under names of their own."""
        for name, places in (("alpha", 1), ("beta", 2)):
            factor = _attribute(gemm, name, 1.0)
            held = gemm.input[places] if places < len(gemm.input) else ""
            if factor == 1.0 or (held and held not in self.constants):
                continue
            if held:
                gemm.input[places] = f"{gemm.output[0]}.{name}"
                self.constants[gemm.input[places]] = self.constants[held] * np.float32(factor)
            kept = [a for a in gemm.attribute if a.name != name]
            gemm.ClearField("attribute")
            gemm.attribute.extend(kept)

    def untied(self) -> None:
        """Give a layer its own constant where others read it with the channels on another axis."""
        axes: dict[str, int] = {}
        for node in self.nodes:
            name = node.input[1] if node.op_type in LAYERS else ""
            if name in self.constants and axes.setdefault(name, _out_axis(node)) != _out_axis(node):
                node.input[1] = f"{name}.{node.output[0]}"
                self.constants[node.input[1]] = self.constants[name]

    def of_whole_windows(self, pool: Any) -> None:
        """Average over whole windows, with padding, and multiply by what that is off."""
        from onnx import helper

        channels, *sizes = self.shapes.get(pool.input[0], [0, 0])[1:]
        if not channels or not sizes or not all(sizes):
            return
        attributes = {a.name: helper.get_attribute_value(a) for a in pool.attribute}
        found = whole_windows(attributes, sizes)
        if found is None:
            return
        pads, factors = found
        pool.ClearField("attribute")
        kept = {
            name: attributes[name] for name in ("kernel_shape", "strides") if name in attributes
        }
        for name, value in {**kept, "pads": pads, "count_include_pad": 1}.items():
            pool.attribute.append(helper.make_attribute(name, value))
        out, name = pool.output[0], str(pool.name or pool.output[0])
        pool.output[0], held = f"{out}.whole", f"{out}.factors"
        every = np.broadcast_to(factors, (1, channels if len(sizes) == 1 else 1, *factors.shape))
        self.constants[held] = every.astype(np.float32)
        product = helper.make_node("Mul", [pool.output[0], held], [out], f"{name}.factors")
        self.nodes.insert(self.nodes.index(pool) + 1, product)

    def with_own_sum(self, gemm: Any) -> None:
        """Put what is computed and added into an Add behind it, as it was before it was fused."""
        from onnx import helper

        added = gemm.input[2] if len(gemm.input) > 2 else ""
        if not added or added in self.constants or _attribute(gemm, "beta", 1.0) != 1.0:
            return
        out, name = gemm.output[0], str(gemm.name or gemm.output[0])
        gemm.output[0] = f"{out}.product"
        self.ranks[gemm.output[0]] = 2
        del gemm.input[2]
        place = self.nodes.index(gemm) + 1
        self.nodes.insert(
            place, helper.make_node("Add", [gemm.output[0], added], [out], f"{name}.sum")
        )

    def into_before(self, norm: Any) -> bool:
        """Fold a norm into the layer that gives what it takes."""
        layer = self._maker(norm.input[0])
        line = self._line(norm)
        if layer is None or line is None or not self._own(layer, norm.input[0]):
            return False
        factor, offset = line
        weights = self.constants[layer.input[1]]
        axis = _out_axis(layer)
        if layer.op_type == "ConvTranspose" and _attribute(layer, "group", 1) != 1:
            return False
        if weights.shape[axis] != len(factor):
            return False
        shape = [1] * weights.ndim
        shape[axis] = -1
        self._set(layer, 1, weights * factor.reshape(shape))
        bias = self._bias(layer)
        if layer.op_type == "MatMul":
            if weights.ndim != 2 or self.ranks.get(layer.input[0]) != 2:
                self._set(layer, 1, weights)
                return False
            layer.op_type = "Gemm"
        self._set(layer, 2, offset if bias is None else bias * factor + offset)
        layer.output[0] = norm.output[0]
        self.nodes.remove(norm)
        return True

    def into_behind(self, norm: Any) -> bool:
        """Fold a norm into the one dense layer that reads it."""
        readers = [node for node in self.nodes if norm.output[0] in node.input]
        line = self._line(norm)
        shown = norm.output[0] in {port.name for port in self.proto.graph.output}
        if len(readers) != 1 or line is None or shown:
            return False
        layer = readers[0]
        if layer.op_type != "Gemm" or layer.input[0] != norm.output[0] or not self._plain(layer):
            return False
        factor, offset = line
        weights = self.constants[layer.input[1]]
        turned = _attribute(layer, "transB", 0)
        dense = weights.T if turned else weights
        if dense.shape[0] != len(factor):
            return False
        bias = self._bias(layer)
        moved = offset.astype(np.float64) @ dense.astype(np.float64)
        scaled = dense * factor[:, None]
        self._set(layer, 1, np.ascontiguousarray(scaled.T) if turned else scaled)
        self._set(layer, 2, moved if bias is None else bias + moved)
        layer.input[0] = norm.input[0]
        self.nodes.remove(norm)
        return True

    def line_into_before(self, node: Any) -> bool:
        """Fold a factor or an offset a channel into the layer before it, if it is one."""
        held = [name for name in node.input if name in self.constants]
        taken = next((name for name in node.input if name not in self.constants), "")
        if len(held) != 1 or (node.op_type in ("Div", "Sub") and node.input[0] != taken):
            return False
        found = self._layer_behind(taken)
        if found is None:
            return False
        layer, last, axis = found
        values = self.constants[held[0]].astype(np.float64)
        channels = self._channels(layer)
        shape = (1,) * (self.ranks.get(taken, 0) - values.ndim) + values.shape
        wanted = tuple(channels if place == axis else 1 for place in range(len(shape)))
        if shape != wanted or channels < 2 or self.ranks.get(taken) != len(shape):
            return False
        one, none, bias = np.ones(channels), np.zeros(channels), self._bias(layer)
        factor = {"Mul": values.ravel(), "Div": 1 / values.ravel()}.get(node.op_type, one)
        offset = {"Add": values.ravel(), "Sub": -values.ravel()}.get(node.op_type, none)
        if not np.isfinite(factor).all():
            return False
        self._scale(layer, factor)
        self._set(layer, 2, (none if bias is None else bias) * factor + offset)
        last.output[0] = node.output[0]
        self.nodes.remove(node)
        return True

    def _layer_behind(self, tensor: str) -> tuple[Any, Any, int] | None:
        """The layer that gives a tensor, the node that does, and the axis of the channels there."""
        moved = []
        while (maker := self._maker(tensor)) is not None and maker.op_type in (
            "Transpose",
            "Squeeze",
        ):
            moved.append(maker)
            tensor = maker.input[0]
        whole = [node.output[0] for node in (*moved, *filter(None, [maker]))]
        rank, grouped = self.ranks.get(tensor, 0), _attribute(maker, "group", 1) if maker else 1
        if maker is None or not rank or not all(self._read_once(name) for name in whole):
            return None
        if maker.op_type not in ("Conv", "ConvTranspose", "Gemm") or not self._plain(maker):
            return None
        if maker.op_type == "ConvTranspose" and grouped != 1:
            return None
        axes = list(range(rank))
        for node in reversed(moved):
            if node.op_type == "Transpose":
                axes = [axes[place] for place in _attribute(node, "perm", axes[::-1])]
                continue
            gone = self.constants.get(node.input[1]) if len(node.input) > 1 else None
            if gone is None:
                return None
            axes = [a for place, a in enumerate(axes) if place not in {g % len(axes) for g in gone}]
        return (maker, moved[0] if moved else maker, axes.index(1)) if 1 in axes else None

    def _read_once(self, tensor: str) -> bool:
        readers = Counter(name for node in self.nodes for name in node.input)
        return readers[tensor] == 1 and tensor not in {
            port.name for port in self.proto.graph.output
        }

    def _channels(self, layer: Any) -> int:
        return int(self.constants[layer.input[1]].shape[_out_axis(layer)])

    def _scale(self, layer: Any, factor: Array) -> None:
        """Multiply what a layer gives by a factor a channel."""
        weights = self.constants[layer.input[1]]
        shape = [1] * weights.ndim
        shape[_out_axis(layer)] = -1
        self._set(layer, 1, weights * factor.reshape(shape))

    def along_the_last(self, node: Any) -> None:
        """Name the last axis -1, if it is reduced."""
        from onnx import helper

        axes, rank = self._axes(node), self.ranks.get(node.input[0], 0)
        if axes is None or axes != [rank - 1]:
            return
        if len(node.input) > 1:
            node.input[1] = f"{node.output[0]}.axes"
            self.constants[node.input[1]] = np.array([-1])
        else:
            kept = [a for a in node.attribute if a.name != "axes"]
            node.ClearField("attribute")
            node.attribute.extend([*kept, helper.make_attribute("axes", [-1])])

    def _axes(self, node: Any) -> list[int] | None:
        """The axes that a node reduces."""
        if len(node.input) > 1 and node.input[1] in self.constants:
            return [int(a) for a in self.constants[node.input[1]]]
        found: list[int] | None = _attribute(node, "axes", None)
        return found

    def averaged(self, node: Any) -> None:
        """Turn a mean over all places of each channel into GlobalAveragePool."""
        from onnx import helper

        axes, rank = self._axes(node), self.ranks.get(node.input[0], 0)
        if rank < 3 or axes is None or sorted(a % rank for a in axes) != list(range(2, rank)):
            return
        kept = _attribute(node, "keepdims", 1)
        place = self.nodes.index(node)
        name = str(node.name or node.output[0])
        pooled = str(node.output[0]) if kept else f"{node.output[0]}.pooled"
        made = [helper.make_node("GlobalAveragePool", [node.input[0]], [pooled], name)]
        if not kept:
            flat = helper.make_node("Flatten", [pooled], [node.output[0]], f"{name}.flatten")
            made.append(flat)
        self.nodes[place : place + 1] = made

    def write(self) -> None:
        """Put nodes and constants back; what nothing reads any more is left out."""
        from onnx import numpy_helper

        graph = self.proto.graph
        used = {port.name for port in graph.output}
        needed = []
        for node in reversed(self.nodes):
            if not used.isdisjoint(node.output):
                needed.append(node)
                used.update(node.input)
        self.nodes = needed[::-1]
        held = {**self.constants, **self.changed}
        nodes = [type(node).FromString(node.SerializeToString()) for node in self.nodes]
        graph.ClearField("node")
        graph.node.extend(nodes)
        graph.ClearField("initializer")
        graph.initializer.extend(
            numpy_helper.from_array(array, name) for name, array in held.items() if name in used
        )

    def _maker(self, tensor: str) -> Any:
        return next((node for node in self.nodes if tensor in node.output), None)

    def _own(self, layer: Any, out: str) -> bool:
        """Whether a layer's constants are its own and only one node reads what it gives."""
        readers = Counter(name for node in self.nodes for name in node.input)
        shown = {port.name for port in self.proto.graph.output}
        return self._plain(layer) and readers[out] == 1 and out not in shown

    def _plain(self, layer: Any) -> bool:
        """Whether a layer has constants that no other node reads, and no factors of its own."""
        if layer.op_type not in LAYERS:
            return False
        readers = Counter(name for node in self.nodes for name in node.input)
        held = [name for name in layer.input[1:] if name]
        factors = [_attribute(layer, name, 1.0) for name in ("alpha", "beta")]
        return (
            all(name in self.constants and readers[name] == 1 for name in held)
            and factors == [1.0, 1.0]
            and not _attribute(layer, "transA", 0)
        )

    def _line(self, norm: Any) -> tuple[Array, Array] | None:
        """A norm as a factor and an offset a channel."""
        if any(name not in self.constants for name in norm.input[1:5]):
            return None
        scale, bias, mean, variance = (
            self.constants[name].astype(np.float64) for name in norm.input[1:5]
        )
        factor = scale / np.sqrt(variance + _attribute(norm, "epsilon", EPSILON))
        return factor, bias - mean * factor

    def _bias(self, layer: Any) -> Array | None:
        if len(layer.input) < 3 or not layer.input[2]:
            return None
        return np.asarray(self.constants[layer.input[2]].astype(np.float64))

    def _set(self, layer: Any, place: int, values: Array) -> None:
        """Give a layer new constants under the name of the old ones, or one of its own."""
        if place < len(layer.input) and layer.input[place]:
            name = layer.input[place]
        else:
            name = f"{layer.output[0]}.bias"
            layer.input.extend([""] * (place - len(layer.input)) + [name])
        self.constants[name] = self.changed[name] = values.astype(np.float32)


def _out_axis(layer: Any) -> int:
    if layer.op_type in ("ConvTranspose", "MatMul"):
        return 1
    return 0 if layer.op_type == "Conv" or _attribute(layer, "transB", 0) else 1


def _attribute(node: Any, name: str, default: Any) -> Any:
    from onnx import helper

    found = [helper.get_attribute_value(a) for a in node.attribute if a.name == name]
    return found[0] if found else default
