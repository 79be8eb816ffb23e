"""What PyTorch itself is asked: for which engine's kernels a layer was packed.

Nothing in a packed layer says it. It is run on codes, with scales of our own, whose sums lie on
ties: there the kernels round in ways that differ.
"""

from __future__ import annotations

import numpy as np
import torch

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.torch_modules.eager.engines import (
    F32,
    Engine,
    Float32Array,
    LayerKernel,
    LayerScales,
    rounded,
    running,
)
from hwsim.frontends.torch_modules.trace import Call
from hwsim.ops import Conv, Dense, Pad, TensorType
from hwsim.ops.base import Carrier, IntArray

SAMPLES, ZERO = 256, 129
LARGEST = 40  # a bias in steps of the sums: it leaves room for them


def asked_kernel(
    call: Call,
    op: Dense | Conv,
    scales: Float32Array,
    bias: Float32Array | None,
    usual: LayerKernel,
    pad: Pad | None = None,
) -> LayerKernel:
    """Whose kernel a packed layer runs; `usual` where several would give the same codes.

    `pad` stretches the input of a transposed convolution.
    """
    place = _channel(op, bias)
    codes = _probe(op)
    kind = TensorType(codes.shape[1:], Format.uint(8))
    held = codes.astype(np.float64)
    if pad is not None:
        held = pad.run(np, [held], pad.prepare([kind], Carrier.FLOAT64))
        (kind,) = pad.output_types([kind])
    held = op.run(np, [held], op.prepare([kind], Carrier.FLOAT64))
    sums = held.astype(np.int64)
    packed = next(v for v in call.arguments.values() if isinstance(v, torch.ScriptObject))
    low = ZERO if call.name.endswith("_relu") else 0
    each = np.broadcast_to(scales, (op.outputs,))
    fits = set(LayerKernel)
    for given in _scales(float(each[place]), 0.0 if bias is None else float(bias[place])):
        out = float(F32(2 * F32(given) * each[place]))  # a step of the sums is half a code
        tensor = torch._make_per_tensor_quantized_tensor(_for_torch(codes), given, 0)
        made = call.op(tensor, packed, out, ZERO).int_repr().numpy()
        made = made if codes.ndim == 2 else np.moveaxis(made, 1, -1)
        layer = LayerScales(given, scales, out, ZERO, bias, isinstance(op, Dense))
        for kernel in tuple(fits):
            known = np.clip(rounded(kernel, layer)(sums)[..., place], low, 255)
            if (known != made[..., place]).any():
                fits.discard(kernel)
    if not fits:
        raise HwsimError(
            f"{call}: PyTorch rounds its sums here as none of its engines is known to; name one "
            "with like="
        )
    return usual if usual in fits else min(fits, key=list(LayerKernel).index)


def _scales(weights: float, bias: float) -> list[float]:
    """Scales of the input with which a bias is so many and a half steps, and so many whole ones."""
    if not bias:
        return [2.0**-4]
    step = abs(bias) / weights / LARGEST
    return [float(F32(step * 0.99)), float(F32(step))]


def mixes_weights() -> bool:
    """Whether oneDNN takes the weights of a transposed convolution in a wrong order here.

    PyTorch 2.13 does where the numbers of input and output channels differ.
    """
    weight = torch._make_per_tensor_quantized_tensor(
        torch.arange(6, dtype=torch.int8).reshape(3, 2, 1, 1), 1.0, 0
    )
    given = torch._make_per_tensor_quantized_tensor(
        torch.tensor([0, 0, 1], dtype=torch.uint8).reshape(1, 3, 1, 1), 1.0, 0
    )
    with running(Engine.ONEDNN):
        packed = torch.ops.quantized.conv_transpose2d_prepack(
            weight, None, [1, 1], [0, 0], [0, 0], [1, 1], 1
        )
        made = torch.ops.quantized.conv_transpose2d(given, packed, 1.0, 0)
    return bool(made.int_repr().ravel().tolist() != [4, 5])


def _channel(op: Dense | Conv, bias: Float32Array | None) -> int:
    """The channel that tells most: with weights, and a bias."""
    tells = np.abs(op.matrix()).sum(axis=0).astype(np.float64)
    if bias is not None:
        tells *= np.where(bias != 0, 2.0, 1.0)
    return int(tells.argmax())


def _probe(op: Dense | Conv) -> IntArray:
    """Inputs (samples, ..., channels) with a few ones among zeros, so that sums are small."""
    if isinstance(op, Conv):
        shape = (*(k + 1 for k in op.window.kernel), op.weights.shape[-2] * op.groups)
    else:
        shape = (op.weights.shape[0],)
    rng = np.random.default_rng(0)  # seed: the probe is the same each time
    terms = len(op.matrix())
    return (rng.random((SAMPLES, *shape)) < min(2 / terms, 0.5)).astype(np.int64)


def _for_torch(codes: IntArray) -> torch.Tensor:
    """The same as (samples, channels, ...)."""
    held = codes if codes.ndim == 2 else np.moveaxis(codes, -1, 1)
    return torch.from_numpy(np.ascontiguousarray(held).astype(np.uint8))
