"""hls4ml models of many layers with random precisions."""

from __future__ import annotations

import random

from support.hls4ml_models import Model, precision

AUTO = dict.fromkeys(("weight", "bias", "accum", "result"), "auto")


def types(rng: random.Random, *names: str) -> dict[str, str]:
    """Random precisions; those of `names` only."""
    chosen = {
        "weight": precision(rng, most=10),
        "bias": precision(rng, most=12),
        "accum": precision(rng, least=6, most=24, signed=False),
        "result": precision(rng, least=3, most=20, signed=False),
        "scale": precision(rng, most=12),
    }
    return {name: chosen[name] for name in names}


def dense_heads(seed: int, **options) -> Model:
    """Eight dense layers side by side, each with precisions of its own."""
    model = Model(seed, (12,), given=precision(random.Random(seed), least=6, most=14))
    for _ in range(7):
        model.dense("x", 5, types(model.rng, "weight", "bias", "accum", "result"), **options)
    model.dense("x", 5, dict(AUTO), **options)  # inferred: nothing is cut
    return model


def layers(seed: int, stream: bool) -> Model:
    """One of everything else, with precisions that round, wrap and saturate on the way."""
    model = Model(seed, (6, 6, 2), given="fixed<12,5,RND_CONV,SAT>")
    conv = model.conv("x", 4, (3, 3), types(model.rng, "weight", "bias", "accum", "result"))
    norm = model.batchnorm(conv, types(model.rng, "scale", "bias", "result"))
    relu = model.activation(norm, "relu", {"result": "ufixed<8,4,RND,SAT>"})
    line = model.activation(norm, "linear", {"result": "fixed<8,4,RND_INF,SAT_SYM>"})
    both = model.merge(relu, line, {"result": "fixed<9,5,TRN_ZERO,WRAP>"})
    if not stream:
        beside = model.concatenate(both, relu, {"result": "fixed<8,4,RND,SAT_ZERO>"})
        model.transpose(beside, 2, 0, 1)
        model.global_pool(both, "Average", {"result": "fixed<10,5>"})
    model.pool(both, "Max", 2, {"result": "fixed<7,4,RND,SAT>"})
    mean = model.pool(both, "Average", 2, {"result": "fixed<10,5,RND_ZERO,SAT>"})
    flat = model.reshape(mean, 16)
    model.dense(flat, 3, types(model.rng, "weight", "bias", "accum", "result"))
    return model
