"""Rewrites of layers: a product and its bias become one, a float bias becomes int32."""

from __future__ import annotations

import numpy as np

from hwsim.frontends.onnx.ort.graph_copy import CLAMPS, DQ, CopiedNode, Copy, Q

F32 = np.float32


def products_with_bias(copy: Copy) -> None:
    """MatMul and the Add of a bias become a Gemm."""
    for step in copy.each("MatMul"):
        add = copy.only_reader(step.output)
        if add is None or add.op != "Add" or copy.ranks.get(step.inputs[1]) != 2:
            continue
        bias = add.inputs[1 if add.inputs[0] == step.output else 0]
        rank, value = copy.ranks.get(step.inputs[0], 0), copy.constants.get(bias)
        shape = value.shape if value is not None else _shape_behind(copy, bias)
        outputs = _outputs(copy, step.inputs[1])
        row = shape in ((outputs,), (1, outputs)) if rank == 2 else shape == (outputs,)
        if not row and not (rank == 2 and copy.ranks.get(bias) == 2 and value is None):
            continue
        if rank == 2:
            _become_gemm(copy, step, add, bias)
        elif rank > 2 and copy.batch:
            _become_gemm(copy, step, add, bias, reshaped=True)
    copy.index()


def _become_gemm(
    copy: Copy, product: CopiedNode, add: CopiedNode, bias: str, reshaped: bool = False
) -> None:
    position = copy.steps.index(add)
    gemm = CopiedNode(
        "Gemm", [*product.inputs, bias], add.output, None, product.origins + add.origins
    )
    new = [gemm]
    if reshaped:
        flat, rows = copy.fresh(product.inputs[0]), copy.fresh(add.output)
        new = [
            CopiedNode("Reshape", [product.inputs[0], copy.fresh("shape")], flat),
            CopiedNode("Gemm", [flat, product.inputs[1], bias], rows, None, gemm.origins),
            CopiedNode("Reshape", [rows, copy.fresh("shape")], add.output),
        ]
    copy.steps[position : position + 1] = new
    copy.steps.remove(product)
    copy.ranks.update({s.output: 2 for s in new[:2]})
    copy.index()


def _outputs(copy: Copy, weights: str) -> int:
    """Columns of a matrix of weights behind its dequantizer."""
    maker = copy.maker(weights, DQ)
    codes = copy.constants.get(maker.inputs[0] if maker else weights)
    return int(codes.shape[-1]) if codes is not None and codes.ndim == 2 else -1


def _shape_behind(copy: Copy, tensor: str) -> tuple[int, ...] | None:
    maker = copy.maker(tensor, DQ)
    codes = copy.constants.get(maker.inputs[0]) if maker else None
    return None if codes is None else codes.shape


def integer_biases(copy: Copy) -> None:
    """The float bias of a layer that a quantizer ends becomes int32, and float weights int8."""
    for step in copy.each("Conv", "ConvTranspose", "Gemm"):
        data, weights = copy.maker(step.inputs[0], DQ), copy.maker(step.inputs[1], DQ)
        bias = copy.constants.get(step.input(2))
        if data is None or (step.input(2) and (bias is None or bias.ndim != 1)):
            continue
        if copy.scalar(data.input(1)) is None or not _ends_in_quantizer(copy, step):
            continue
        weights = _integer_weights(copy, step) if weights is None else weights
        if weights is None or bias is None:
            continue
        scale = copy.constants.get(weights.input(1))
        channels = 0 if step.op == "Conv" or step.integer("transB", 0) else 1
        if scale is None or weights.integer("block_size", 0):
            continue
        if copy.scalar(weights.input(1)) is None and (
            scale.shape != bias.shape
            or weights.integer("axis", 1) not in (channels, channels - _weights_rank(copy, weights))
        ):
            continue
        step.bias_codes = True
        codes, real = copy.fresh(step.inputs[2]), copy.fresh(step.inputs[2])
        named = copy.fresh(weights.inputs[1])
        copy.constants[codes] = np.broadcast_to(np.int32(0), bias.shape)
        folded = copy.constants[data.inputs[1]].ndim <= scale.ndim
        if folded:  # else the runtime cannot fold the product of the two scales
            copy.constants[named] = copy.constants[data.inputs[1]] * scale
        copy.steps.insert(copy.steps.index(step), CopiedNode(DQ, [codes, named], real))
        step.inputs[2] = real
        copy.index()


def _integer_weights(copy: Copy, step: CopiedNode) -> CopiedNode | None:
    """The dequantizer of weights that are float32 constants: one scale, and a zero point."""
    floats = copy.constants.get(step.inputs[1])
    if floats is None or floats.dtype != np.float32 or not np.isfinite(floats).all():
        return None
    if not floats.size:
        return None
    low, high = np.minimum(floats.min(), F32(0)), np.maximum(floats.max(), F32(0))
    scale = (high - low) / F32(255) if high > low else F32(1)
    zero = np.rint(np.clip(F32(-128) - low / scale, F32(-128), F32(127)))
    codes = np.clip(np.rint(floats / scale) + zero, -128, 127).astype(np.int8)
    named = [copy.fresh(step.inputs[1]) for _ in range(4)]
    for name, value in zip(named, (codes, np.float32(scale), zero.astype(np.int8)), strict=False):
        copy.constants[name] = np.asarray(value)
    made = CopiedNode(DQ, named[:3], named[3])
    copy.steps.insert(copy.steps.index(step), made)
    step.inputs[1], step.weight_codes = named[3], True
    copy.ranks[named[3]] = floats.ndim
    copy.index()
    return made


def _weights_rank(copy: Copy, weights: CopiedNode) -> int:
    codes = copy.constants.get(weights.inputs[0])
    return codes.ndim if codes is not None else copy.ranks.get(weights.output, 2)


def _ends_in_quantizer(copy: Copy, step: CopiedNode) -> bool:
    while True:
        readers = copy.readers(step.output)
        if len(readers) != 1:
            return False
        if readers[0].op == Q:
            return True
        if readers[0].op not in CLAMPS:
            return False
        step = readers[0]
