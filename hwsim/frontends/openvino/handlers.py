"""How nodes of an OpenVINO model are read: those of ONNX, and FakeQuantize."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.onnx.handlers import FLOAT_HANDLERS
from hwsim.frontends.onnx.importer import Handler, Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.qdq import dequantize_linear
from hwsim.frontends.openvino.fake_quantizer import FakeQuantizer
from hwsim.frontends.openvino.lowering import DOMAIN
from hwsim.frontends.shared.rounding import quantize
from hwsim.frontends.shared.values import Constant, FloatArray, Level, RawInput, Real, Weighing

F32 = np.float32
MOST_LEVELS = 256


class OvImporter(Importer):
    """An Importer of a model that OpenVINO runs."""

    a_quantizer: ClassVar[str] = "a FakeQuantize"

    @property
    def computes_reals(self) -> bool:
        """It does: what nothing quantizes goes on in float32."""
        return True

    def note(self, name: str, text: str, **values: object) -> None:
        """Nothing: what is said of other runtimes' float32 sums is not true of whole numbers."""

    def note_end(self, real: Real) -> None:
        """Nothing: a layer's sum is added up in whole numbers."""


def fake_quantize(run: Importer, node: OnnxNode) -> None:
    """FakeQuantize of an input or a computed tensor."""
    value, ends = run.value(node, 0), [run.constant(node, i).array for i in range(1, 5)]
    levels = node.integer("levels", MOST_LEVELS)
    if isinstance(value, Constant):
        raise HwsimError(f"{node}: its input must not be constant")
    by = quantizer(node, levels, ends)
    name = f"{node.output}.codes"
    if isinstance(value, RawInput):
        if not value.dtype.startswith("float"):
            raise HwsimError(f"{node}: its input must be reals, not {value.dtype}")
        codes = by.enter(run, value, node.name, value.name)
    else:
        codes = quantize(run, run.real(node, 0), by, node.name, name)
    scales = None if len(by.scales) == 1 else np.array(by.scales, F32)
    made = Real(Level(codes, by.scale, by.zero_point, scales), codes.layout)
    if _shown_only(run, node) and scales is None:
        in_layer = isinstance(value, Real) and isinstance(value.source, Weighing)
        made = made.then(by.shown(ends[2], ends[3], in_layer=in_layer))
    run.values[node.output] = made


def _shown_only(run: Importer, node: OnnxNode) -> bool:
    """Whether nothing but the model's user reads what a node makes."""
    read = any(node.output in other.inputs for other in run.model.nodes)
    return not read and any(port.name == node.output for port in run.model.outputs)


def quantizer(node: OnnxNode, levels: int, ends: list[FloatArray]) -> FakeQuantizer:
    """The rule of a FakeQuantize, checked."""
    if not 2 <= levels <= MOST_LEVELS:
        raise HwsimError(f"{node}: its levels must be from 2 to {MOST_LEVELS}, not {levels}")
    if not all(np.isfinite(end).all() and end.size for end in ends):
        raise HwsimError(f"{node}: its ranges must be finite numbers")
    low, high, least, most = (end.astype(F32) for end in ends)
    if not (low < high).all() or not (least < most).all():
        raise HwsimError(f"{node}: its ranges must be from a number to a larger one")
    scale = (most - least) / F32(levels - 1)
    place = -least / scale
    zero = np.rint(place)
    if np.abs(place - zero).max() > 1e-3 or (zero != zero.ravel()[0]).any():
        raise HwsimError(f"{node}: 0 must be one of its values, and the same one in all channels")
    if not 0 <= int(zero.ravel()[0]) < levels:
        raise HwsimError(f"{node}: 0 must lie in its range")
    width = max(1, (levels - 1).bit_length())
    ends = [end.ravel()[:1] if (end == end.ravel()[0]).all() else end for end in (low, high, scale)]
    size = max(end.size for end in ends)
    lows, highs, scales = (
        tuple(float(value) for value in np.broadcast_to(end.ravel(), size)) for end in ends
    )
    fmt = Format.uint(width)
    return FakeQuantizer(fmt, levels, lows, highs, scales, int(zero.ravel()[0]))


HANDLERS: dict[tuple[str, str], Handler] = {
    **FLOAT_HANDLERS,
    ("", "DequantizeLinear"): dequantize_linear,
    (DOMAIN, "FakeQuantize"): fake_quantize,
}
