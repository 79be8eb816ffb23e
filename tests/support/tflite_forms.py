"""Every TensorFlow Lite operator in all forms in which it is compared with its runtimes."""

from __future__ import annotations

import numpy as np

from support.seeds import fixed
from support.tflite_ends import ENDS
from support.tflite_islands import ISLANDS
from support.tflite_maker import Build, Maker, Shape
from support.tflite_memories import MEMORIES
from support.tflite_models import Array, Lite
from support.tflite_operators import OPERATORS
from support.tflite_shapes import SHAPES
from support.tflite_uint8 import UINT8

FORMS: dict[str, list[Build]] = {}
"""Models of each operator, by its name."""

for _table in (OPERATORS, SHAPES, ENDS, UINT8, MEMORIES, ISLANDS):
    for _name, _builds in _table.items():
        FORMS.setdefault(_name, []).extend(_builds)


def unsigned(build: Build) -> Build | None:
    """A model of int8 as one of uint8; None where weights have a scale a channel."""

    def made(m: Maker) -> list[int]:
        outputs = build(m)
        for tensor in m.lite.tensors:
            if tensor.dtype == "int8":
                tensor.dtype, tensor.axis = "uint8", 0
                tensor.zero_points = tuple(zero + 128 for zero in tensor.zero_points)
                if tensor.data is not None:
                    tensor.data = (tensor.data.astype(np.int16) + 128).astype(np.uint8)
        return outputs

    tried = Maker(fixed(0), powers=True, odd=False)
    build(tried)
    several = any(t.dtype == "int8" and len(t.scales) > 1 for t in tried.lite.tensors)
    return None if several else made


for _name, _builds in [*OPERATORS.items(), *SHAPES.items()]:
    _made = [made for build in _builds if (made := unsigned(build)) is not None]
    if _made:
        FORMS.setdefault(f"{_name} of uint8", []).extend(_made)


def short(build: Build) -> Build:
    """A layer with weights of int4."""

    def made(m: Maker) -> list[int]:
        outputs = build(m)
        for tensor in m.lite.tensors:
            if tensor.data is not None and tensor.dtype == "int8":
                tensor.dtype, tensor.data = "int4", tensor.data >> 4
        return outputs

    return made


for _name in ("CONV_2D", "CONV_2D dilated", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
    FORMS[f"{_name} of int4"] = [short(build) for build in OPERATORS[_name]]

WRONG = {
    ("SUM", "reference"),
    ("SPACE_TO_BATCH_ND", "tflm"),
    *(("SVDF of an int8 state", like) for like in ("reference", "builtin", "xnnpack")),
    *(("RESIZE_BILINEAR of uint8", like) for like in ("reference", "builtin")),
    *(
        (name, like)
        for name in ("LOG_SOFTMAX", "LOG_SOFTMAX of uint8")
        for like in ("builtin", "xnnpack")
    ),
}
"""Kernels that run and are wrong, or not followed, so that they are refused."""


def written(
    build: Build, seed: int, *, powers: bool, odd: bool, wide: bool = False
) -> tuple[bytes, Lite, list[int]]:
    """A model, what it is made of, and its inputs."""
    maker = Maker(np.random.default_rng(seed), powers, odd, wide)
    outputs = build(maker)
    return maker.lite.build(maker.inputs, outputs), maker.lite, maker.inputs


def feeds(lite: Lite, inputs: list[int], samples: int, seed: int) -> dict[str, Array]:
    """Random codes for each input, saturating ones among them."""
    rng, found = np.random.default_rng(seed), {}
    for place in inputs:
        tensor = lite.tensors[place]
        shape = tensor.shape[1:] if tensor.shape[:1] == (1,) else tensor.shape
        if tensor.dtype == "float32":
            found[tensor.name] = _reals(lite, place, (samples, *shape), rng)
            continue
        ends = np.iinfo(tensor.dtype)
        codes = rng.integers(ends.min, ends.max + 1, (samples, *shape))
        if tensor.dtype == "int16":  # half of them not far from zero, where functions are not flat
            codes[1::2] = np.clip(rng.normal(0, 3000, codes[1::2].shape), ends.min, ends.max)
            first = codes.reshape(samples, -1)[0, :2]
            first[:] = (ends.min, ends.max)[: first.size]
        found[tensor.name] = codes.astype(tensor.dtype)
    return found


def _reals(lite: Lite, place: int, shape: Shape, rng: np.random.Generator) -> Array:
    """Floats near codes, half way between two of them and far away."""
    made = [out[0] for op, given, out, _ in lite.nodes if op == "QUANTIZE" and given == [place]]
    step = lite.tensors[made[0]].scales[0] if made else 0.05
    halves = rng.integers(-300, 300, shape) / 2
    noise = rng.choice([0.0, 0.0, 1e-6, 0.3, 1e6], shape) * rng.normal(0, 1, shape)
    return ((halves + noise) * step).astype(np.float32)
