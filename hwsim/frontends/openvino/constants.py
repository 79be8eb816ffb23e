"""Constants of an IR: parameters, conversions, and what becomes of codes on the way to weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.model import OnnxPort
from hwsim.frontends.openvino.lowering import DTYPES, Array, IrConstant, Lowering
from hwsim.frontends.openvino.model import IrLayer

F32 = np.float32


def parameter(state: Lowering, layer: IrLayer) -> None:
    """An input of the model."""
    port = layer.outputs[0]
    name = port.names[0] if port.names else layer.name
    state.names[layer.id, 0] = state.unique(name)
    dtype = DTYPES.get(port.element)
    if dtype is None:
        raise HwsimError(f"{layer}: its elements must be of a known type, not {port.element!r}")
    state.inputs.append(OnnxPort(name, dtype, port.shape))


def result(state: Lowering, layer: IrLayer) -> None:
    """An output of the model."""
    source, place = layer.inputs[0]
    port = state.layers[source].outputs[place]
    name = state.tensor(layer, 0)
    if any(known.name == name for known in state.outputs):
        copy = state.unique(layer.name)
        state.node(layer, "Identity", [name], outputs=[copy])
        name = copy
    state.outputs.append(OnnxPort(name, DTYPES.get(port.element, "float32"), port.shape))


def const(state: Lowering, layer: IrLayer) -> None:
    """A constant of the file; half floats are computed with in float32."""
    assert layer.array is not None
    array = layer.array.astype(F32) if layer.array.dtype == np.float16 else layer.array
    state.held[layer.id, 0] = IrConstant(array)


def convert(state: Lowering, layer: IrLayer) -> None:
    """Another element type; integers that become floats may be the codes of weights."""
    wanted = layer.text("destination_type")
    wanted = "f32" if wanted == "f16" else wanted
    if wanted not in DTYPES:
        raise HwsimError(f"{layer}: it must convert to a known type, not {wanted!r}")
    held = state.constant(layer, 0)
    if held is None:
        _cast(state, layer, DTYPES[wanted])
        return
    array = held.array.astype(DTYPES[wanted])
    if held.array.dtype.kind in "iu" and wanted == "f32":
        codes, one = held.array.astype(np.int64), np.ones((1,) * array.ndim, F32)
        state.held[layer.id, 0] = IrConstant(array, codes, one, raw=True)
    else:
        state.held[layer.id, 0] = IrConstant(array, held.codes, held.scale, held.raw)


def _cast(state: Lowering, layer: IrLayer, dtype: str) -> None:
    from onnx.helper import np_dtype_to_tensor_dtype

    to = int(np_dtype_to_tensor_dtype(np.dtype(dtype)))
    state.node(layer, "Cast", [state.tensor(layer, 0)], {"to": to})


def arithmetic(op: str, compute: Callable[[Array, Array], Array]) -> Callable[..., None]:
    """A rule of Add, Subtract, Multiply and Divide."""

    def rule(state: Lowering, layer: IrLayer) -> None:
        first, second = state.constant(layer, 0), state.constant(layer, 1)
        if first is not None and second is not None:
            state.held[layer.id, 0] = _folded(op, first, second, compute)
            return
        state.node(layer, op, [state.tensor(layer, 0), state.tensor(layer, 1)])

    return rule


def _folded(
    op: str, a: IrConstant, b: IrConstant, compute: Callable[[Array, Array], Array]
) -> IrConstant:
    with np.errstate(all="ignore"):
        array = compute(a.array, b.array)
    if op == "Mul" and a.codes is None and b.codes is not None:
        a, b = b, a
    if a.codes is None or a.scale is None or array.shape != a.array.shape:
        return IrConstant(array)
    rank = a.codes.ndim
    if op == "Sub" and a.raw and (b.array == np.rint(b.array)).all():
        zero = np.rint(b.array).astype(np.int64)
        return IrConstant(array, a.codes - zero, a.scale, raw=True)
    if op == "Mul" and (b.array > 0).all():
        other = b.array.reshape((1,) * (rank - b.array.ndim) + b.array.shape)
        return IrConstant(array, a.codes, np.asarray(a.scale * other, F32))
    return IrConstant(array)


def fake_quantized(layer: IrLayer, held: IrConstant, ends: list[Array]) -> IrConstant:
    """A constant behind a FakeQuantize: codes and their scale, where 0 is a code."""
    levels = layer.integer("levels")
    if not 2 <= levels <= 256:
        raise HwsimError(f"{layer}: the levels of weights must be from 2 to 256, not {levels}")
    x = held.array.astype(F32)
    low, high, least, most = (np.asarray(e, F32).reshape(_lifted(e, x.ndim)) for e in ends)
    if not (low < high).all() or not (least < most).all():
        raise HwsimError(f"{layer}: its ranges must be from a number to a larger one")
    steps = F32(levels - 1)
    places = np.rint((np.clip(x, low, high) - low) / (high - low) * steps)
    scale = (most - least) / steps
    zero = np.rint(-least / scale)
    real = places * scale + least
    whole = np.abs(-least / scale - zero).max() < 1e-3
    if not whole:
        return IrConstant(real.astype(F32))
    codes = (places - zero).astype(np.int64)
    return IrConstant(np.asarray(codes * scale, F32), codes, np.asarray(scale, F32))


def _lifted(array: Array, rank: int) -> tuple[int, ...]:
    return (1,) * (rank - array.ndim) + array.shape
