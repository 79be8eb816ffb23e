"""TensorFlow Lite layers and variables that remember something from step to step."""

from __future__ import annotations

import numpy as np

from support.tflite_maker import F32, Build, Maker
from support.tflite_models import Written


def variable(m: Maker) -> list[int]:
    """A variable that each step reads, adds its input to, and assigns."""
    x, kept = m.x(3, 4), m.y(3, 4, top=5)
    y = m.y(3, 4, like=kept)
    handle = m.lite.add(Written("handle", (), "resource"))
    m.node("VAR_HANDLE", [], handle, name="total")
    m.node("READ_VARIABLE", [handle], kept)
    m.node("ADD", [x, kept], y, activation="NONE")
    m.node("ASSIGN_VARIABLE", [handle, y])
    m.lite.first = [("total", m.rng.integers(-128, 128, (1, 3, 4)).astype(np.int8))]
    return [y]


def lstm(m: Maker) -> list[int]:
    """An LSTM of random size and scales."""
    rng, lite = m.rng, m.lite
    steps, units, features = int(rng.integers(1, 6)), int(rng.integers(2, 9)), 5
    x = lite.codes("x", (1, steps, features), m.scale(0.025, 1), m.zero())
    m.inputs.append(x)
    meant = m.scale(0.006, 1), m.zero()
    sizes = (units, features), (units, units)
    given = [
        lite.constant(
            f"w{k}", rng.integers(-127, 128, sizes[k // 4]).astype(np.int8), m.scale(0.01, 1)
        )
        for k in range(8)
    ]
    first = lite.tensors[x].scales[0]
    biases = [
        lite.constant(
            f"b{k}",
            rng.integers(-4000, 4000, units).astype(np.int32),
            float(F32(first * lite.tensors[given[k]].scales[0])),
        )
        for k in range(4)
    ]
    hidden = lite.held("hidden", units, *meant, "int8")
    cell = lite.held("cell", units, 2.0 ** -int(rng.integers(9, 14)), 0, "int16")
    y = lite.codes("y", (1, steps, units), *meant)
    gates = [lite.add(Written(f"g{k}", (0,), "int16", (2.0**-12,), (0,))) for k in range(4)]
    gates.append(lite.add(Written("g4", (0,), "int8", meant[:1], meant[1:])))
    return m.node(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        [x, *given, -1, -1, -1, *biases, -1, -1, hidden, cell, -1, -1, -1, -1],
        y,
        activation="TANH",
        cell_clip=float(rng.choice([0.0, 10.0])),
        projection_clip=0.0,
        time_major=False,
        intermediates=gates,
    )


def svdf(m: Maker, kept: str = "int16") -> list[int]:
    """Filters over time of random size and scales, with a state of int16 or int8."""
    rng, lite = m.rng, m.lite
    units, rank, memory = int(rng.integers(1, 6)), int(rng.integers(1, 4)), 5
    x = lite.codes("x", (1, 7), m.scale(0.025, 1), m.zero())
    m.inputs.append(x)
    short = kept == "int8"
    step, filters = m.scale(0.06 if short else 0.0004, 1), units * rank
    features = rng.integers(-127, 128, (filters, 7)).astype(np.int8)
    top = 127 if short else 2000
    times = rng.integers(-top, top, (filters, memory)).astype(kept)
    first = lite.constant("features", features, m.scale(0.01, 1))
    second = lite.constant("times", times, m.scale(0.003 if short else 0.0002, 1))
    added = rng.integers(-20 * top, 20 * top, units).astype(np.int32)
    bias = lite.constant("bias", added, float(F32(step * lite.tensors[second].scales[0])))
    state = lite.held("state", filters * memory, step, 0, kept)
    y = lite.codes("y", (1, units), m.scale(0.02, 1), m.zero())
    return m.node("SVDF", [x, first, second, bias, state], y, rank=rank, activation="RELU")


MEMORIES: dict[str, list[Build]] = {
    "SVDF": [svdf] * 4,
    "SVDF of an int8 state": [lambda m: svdf(m, "int8")] * 4,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": [lstm] * 4,
    "VAR_HANDLE": [variable],
}
"""Models of each, by its name; those of one function are drawn anew."""
