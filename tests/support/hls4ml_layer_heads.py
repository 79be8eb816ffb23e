"""Many layers of hls4ml side by side in one model: lines, maps and vectors, with random types."""

from __future__ import annotations

import random

from support import hls4ml_layers as add
from support.hls4ml_heads import AUTO, types
from support.hls4ml_models import Model, precision

SUMS = ("weight", "bias", "accum", "result")
MERGES = ("add", "subtract", "multiply", "average", "maximum", "minimum")


def fan(model: Model, count: int) -> list[str]:
    """The input in several types, since hls4ml clones a stream at most seven times."""
    kinds = [{"result": f"fixed<{9 + k},{4 + k % 2},RND,SAT>"} for k in range(count)]
    return [model.activation("x", "linear", kind) for kind in kinds]


def result(rng: random.Random) -> dict[str, str]:
    """A random type of a result, signed or not."""
    return types(rng, "result")


def separated(rng: random.Random) -> dict[str, str]:
    """Random types of a separable layer's two convolutions."""
    first, second = types(rng, *SUMS), types(rng, *SUMS)
    return {
        "depthwise": first["weight"],
        "depthwise_accum": first["accum"],
        "depthwise_result": first["result"],
        "pointwise": second["weight"],
        "pointwise_accum": second["accum"],
        "pointwise_result": second["result"],
        "bias": second["bias"],
    }


def lines(seed: int, stream: bool, **options) -> Model:
    """Layers along one axis."""
    rng = random.Random(seed)
    model = Model(seed, (7, 3), given=precision(rng, least=6, most=14))
    a, b, c, *alone = fan(model, 6)  # hls4ml pads a stream before all that read it along a line
    add.depthwise(model, alone[0], (3,), types(rng, *SUMS), pads=(1, 1))
    add.depthwise(model, a, (2,), types(rng, *SUMS), stride=(2,))
    add.depthwise(model, alone[1], (3,), dict(AUTO), stride=(2,), pads=(0, 1))
    add.separable(model, alone[2], 4, (3,), separated(rng), pads=(1, 1))
    model.conv_line(a, 2, 3, types(rng, *SUMS), stride=2, **options)
    point = model.conv_line(b, 3, 1, types(rng, *SUMS), **options)
    add.concatenate(model, b, point, 1, result(rng))
    add.concatenate(model, point, b, -1, result(rng))
    model.merge(b, point, result(rng), op=rng.choice(MERGES))
    add.upsampling(model, b, (14,))
    padded = add.zero_padding(model, c, (2, 1), result(rng))
    model.activation(padded, "linear", result(rng))
    model.conv_line(padded, 2, 3, types(rng, *SUMS), **options)
    add.cropping(model, c, (1, 2), result(rng))
    if not stream:
        add.upsampling(model, c, (10,))
        add.batchnorm_flat(model, c, types(rng, "scale", "bias", "result"))
        add.pool(model, c, "Average", (3,), result(rng), stride=(2,), pads=(1, 1))
        bits = model.activation(c, "relu", {"result": "ufixed<7,3,RND,SAT>"})
        for source in (c, bits):  # of unsigned codes the padding is half the range
            add.pool(model, source, "Max", (3,), result(rng), stride=(2,), pads=(1, 1))
    return model


def maps(seed: int, stream: bool, **options) -> Model:
    """Layers along two axes."""
    rng = random.Random(seed)
    model = Model(seed, (4, 5, 2), given=precision(rng, least=6, most=14))
    a, b, c = fan(model, 3)
    add.depthwise(model, a, (3, 3), types(rng, *SUMS), pads=(1, 1, 1, 1))
    add.depthwise(model, a, (2, 3), types(rng, *SUMS), stride=(2, 1))
    add.depthwise(model, a, (2, 2), dict(AUTO), stride=(1, 2), pads=(0, 0, 1, 1))
    add.separable(model, a, 3, (3, 2), separated(rng), pads=(1, 0, 1, 0))
    point = model.conv(b, 2, (1, 1), types(rng, *SUMS), **options)
    for axis in (1, 2, -1):
        add.concatenate(model, b, point, axis, result(rng))
    model.merge(point, b, result(rng), op=rng.choice(MERGES))
    add.upsampling(model, b, (8, 10))
    padded = add.zero_padding(model, c, (2, 0, 1, 3), result(rng))
    model.activation(padded, "linear", result(rng))
    model.conv(padded, 2, (3, 3), types(rng, *SUMS), **options)
    add.cropping(model, c, (1, 2, 1, 1), result(rng))
    if not stream:
        add.upsampling(model, c, (3, 7))
        add.pool(model, c, "Average", (2, 3), result(rng), stride=(2, 2), pads=(0, 1, 0, 1))
        bits = model.activation(c, "relu", {"result": "ufixed<7,3,RND,SAT>"})
        for source in (c, bits):
            add.pool(model, source, "Max", (3, 2), result(rng), pads=(1, 0, 1, 1))
        add.batchnorm_flat(model, c, types(rng, "scale", "bias", "result"))
    return model


def vectors(seed: int) -> Model:
    """Layers of vectors, and tensors of unlike shapes beside them (parallel only)."""
    rng = random.Random(seed)
    model = Model(seed, (12,), given=precision(rng, least=5, most=9))
    few = model.dense("x", 2, types(rng, *SUMS))
    same = model.dense("x", 12, types(rng, *SUMS))
    for op in MERGES:
        model.merge("x", same, result(rng), op=op)
    add.concatenate(model, few, same, -1, result(rng))
    add.dot(model, "x", same, {"accum": "fixed<24,12>", **result(rng)})
    add.dot(model, same, "x", types(rng, "accum", "result"))
    rows = model.reshape("x", 4, 3)
    model.merge(rows, model.dense("x", 3, dict(AUTO)), result(rng))
    model.merge(model.dense("x", 10, dict(AUTO)), rows, result(rng), op="multiply")
    model.merge(model.reshape(few, 2, 1), model.reshape("x", 2, 6), result(rng), op="subtract")
    model.transpose(model.reshape("x", 2, 3, 2), 1, 2, 0)
    return model
