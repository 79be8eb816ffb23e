"""Random small TensorFlow Lite models of every operator that the front end reads.

Each step takes tensors that are there and makes new ones, or says that it cannot. Scales are powers
of two, random, or both in one model; zero points lie anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from support.tflite_models import Lite, Written

F32 = np.float32
Shape = tuple[int, ...]
MOST = 3000  # codes of a tensor
ACTIVATIONS = ("NONE", "NONE", "RELU", "RELU6", "RELU_N1_TO_1")
NOT_MICRO = {"RELU_N1_TO_1"}
NOT_MICRO_INT16 = {
    "GATHER", "MIRROR_PAD", "REDUCE_MAX", "REDUCE_MIN", "RESIZE_BILINEAR",
    "SPACE_TO_BATCH_ND", "TILE",
}  # fmt: skip
NOT_INT16 = {"DEPTH_TO_SPACE", "HARD_SWISH", "RELU_N1_TO_1", "SPACE_TO_DEPTH"}


@dataclass(slots=True)
class Net:
    """A model that grows, and which of its tensors the next step may take."""

    rng: np.random.Generator
    wide: bool = False
    lite: Lite = field(default_factory=Lite)
    inputs: list[int] = field(default_factory=list)
    pool: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)  # outputs that no step may take
    read: set[int] = field(default_factory=set)
    drawn: list[str] = field(default_factory=list)
    powers: float = 0.5  # share of scales that are powers of two
    unlike: float = 0.0  # share of those far from what they should be

    @property
    def dtype(self) -> str:
        return "int16" if self.wide else "int8"

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def number(self, low: int, high: int) -> int:
        """From low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def choice(self, things: Sequence[Any]) -> Any:
        return things[int(self.rng.integers(len(things)))]

    def step(self, top: float) -> float:
        """A scale whose codes reach about `top`."""
        step = top / (32768 if self.wide else 128) * self.rng.uniform(0.6, 1.7)
        if self.chance(self.unlike):  # beyond what XNNPACK takes of unlike scales
            step *= 2.0 ** self.number(-9, 9)
        if self.chance(self.powers):
            step = 2.0 ** round(math.log2(step))
        return float(F32(step))

    def zero(self) -> int:
        if self.wide or self.chance(0.2):
            return 0
        return int(self.choice((-128, 127))) if self.chance(0.2) else self.number(-70, 70)

    def shape(self, index: int) -> Shape:
        """Without the batch."""
        return self.lite.tensors[index].shape[1:]

    def meaning(self, index: int) -> tuple[float, int]:
        tensor = self.lite.tensors[index]
        return tensor.scales[0], tensor.zero_points[0]

    def top(self, index: int) -> float:
        """The largest number, about."""
        return self.meaning(index)[0] * (32768 if self.wide else 128)

    def y(self, shape: Shape, top: float, *, like: int | None = None) -> int:
        """A computed tensor of a meaning of its own, or of another's."""
        meant = (self.step(top), self.zero()) if like is None else self.meaning(like)
        return self.fixed(shape, *meant)

    def fixed(self, shape: Shape, scale: float, zero: int) -> int:
        name = f"t{len(self.lite.tensors)}"
        return self.lite.codes(name, (1, *shape), scale, zero, self.dtype)

    def ints(self, values: Any) -> int:
        name = f"t{len(self.lite.tensors)}"
        return self.lite.constant(name, np.array(values, np.int32))

    def constant(self, shape: Shape, scale: float, zero: int) -> int:
        """Codes of an activation that do not change."""
        low, high = (-32768, 32767) if self.wide else (-128, 127)
        codes = self.rng.integers(low, high + 1, shape).astype(self.dtype)
        return self.lite.constant(f"t{len(self.lite.tensors)}", codes, scale, zero=zero)

    def pick(self, fits: Callable[[Shape], bool] = lambda _: True) -> int | None:
        """A tensor with such a shape, sooner one that was made late; None where there is none."""
        found = [index for index in self.pool if fits(self.shape(index))]
        if not found:
            return None
        last = found[-1] if self.chance(0.6) else self.choice(found)
        self.read.add(last)
        return int(last)

    def node(self, op: str, inputs: Sequence[int], *outputs: int, **options: Any) -> bool:
        """Add an operator; False of one that no kernel set has for these codes, and most often
        of one that TensorFlow Lite Micro has not."""
        if self.wide and op in NOT_INT16:
            return False
        if op in NOT_MICRO and self.chance(0.8):
            return False
        if self.wide and op in NOT_MICRO_INT16 and self.chance(0.8):
            return False
        self.lite.node(op, list(inputs), list(outputs), **options)
        self.drawn.append(op)
        self.pool.extend(outputs)
        return True


Step = Callable[[Net], bool]
"""Whether it made something."""


def is_map(shape: Shape) -> bool:
    return len(shape) == 3


def weights(n: Net, shape: Shape, axis: int, count: int) -> int:
    codes = n.rng.integers(-127, 128, shape).astype(np.int8)
    steps = [2.0 ** n.number(-9, -5) if n.chance(n.powers) else n.rng.uniform(0.002, 0.03)
             for _ in range(count)]  # fmt: skip
    held = [float(F32(step)) for step in steps]
    return n.lite.constant(f"t{len(n.lite.tensors)}", codes, *held, axis=axis)


def bias(n: Net, x: int, w: int, count: int, top: int) -> int:
    codes = n.rng.integers(-top, top, count)
    given = n.lite.tensors[x].scales[0]
    held = [float(F32(given * step)) for step in n.lite.tensors[w].scales]
    kind = np.int64 if n.wide else np.int32
    return n.lite.constant(f"t{len(n.lite.tensors)}", codes.astype(kind), *held)


def spread(n: Net, x: int, w: int, terms: int) -> tuple[float, int]:
    """About how far sums reach, and a bias that matters."""
    step = n.meaning(x)[0] * float(np.median(n.lite.tensors[w].scales))
    one = (8000 if n.wide else 50) * 70
    return step * one * math.sqrt(terms) * float(n.rng.uniform(0.7, 3)), int(one * math.sqrt(terms))


def window(n: Net, shape: Shape, dilated: bool = False) -> dict[str, Any] | None:
    """A kernel, strides and padding over a map, and the map that they make."""
    kernel = n.number(1, min(4, shape[0])), n.number(1, min(4, shape[1]))
    stride = (1, 1) if n.chance(0.5) else (n.number(1, 3), n.number(1, 3))
    spread = (n.number(1, 2), n.number(1, 2)) if dilated and n.chance(0.2) else (1, 1)
    if spread != (1, 1):
        stride = (1, 1)
    padding = n.number(0, 1)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, spread, strict=True)]
    if padding and any(size < length for size, length in zip(shape, reach, strict=False)):
        return None
    made = [-(-(size if not padding else size - length + 1) // step)
            for size, length, step in zip(shape, reach, stride, strict=False)]  # fmt: skip
    return {"kernel": kernel, "stride": stride, "spread": spread, "padding": padding, "made": made}


def _options(view: dict[str, Any], dilation: bool = True) -> dict[str, Any]:
    found = {"padding": view["padding"], "stride_h": view["stride"][0]}
    found["stride_w"] = view["stride"][1]
    if dilation:
        found |= {"dilation_h": view["spread"][0], "dilation_w": view["spread"][1]}
    return found


def conv(n: Net) -> bool:
    x = n.pick(is_map)
    view = None if x is None else window(n, n.shape(x), dilated=True)
    if x is None or view is None:
        return False
    channels, count = n.shape(x)[2], n.number(1, 20)
    w = weights(n, (count, *view["kernel"], channels), 0, count if n.chance(0.7) else 1)
    top, most = spread(n, x, w, math.prod(view["kernel"]) * channels)
    y = n.y((*view["made"], count), top)
    given = [x, w, bias(n, x, w, count, most)]
    return n.node("CONV_2D", given, y, activation=n.choice(ACTIVATIONS), **_options(view))


def depthwise(n: Net) -> bool:
    x = n.pick(lambda shape: is_map(shape) and shape[2] <= 12)
    view = None if x is None else window(n, n.shape(x), dilated=True)
    if x is None or view is None:
        return False
    times = n.choice((1, 1, 1, 2, 3))
    count = n.shape(x)[2] * times
    w = weights(n, (1, *view["kernel"], count), 3, count if n.chance(0.7) else 1)
    top, most = spread(n, x, w, math.prod(view["kernel"]))
    y = n.y((*view["made"], count), top)
    given = [x, w, bias(n, x, w, count, most)]
    return n.node("DEPTHWISE_CONV_2D", given, y, activation=n.choice(ACTIVATIONS),
                  multiplier=times, **_options(view))  # fmt: skip


def dense(n: Net) -> bool:
    x = n.pick(lambda shape: shape[-1] <= 200)
    if x is None:
        return False
    given, count = n.shape(x), n.number(1, 20)
    keep = len(given) > 1 and n.chance(0.6)
    terms = given[-1] if keep else math.prod(given)
    if terms > 400:
        return False
    w = weights(n, (count, terms), 0, count if n.chance(0.4) else 1)
    top, most = spread(n, x, w, terms)
    y = n.y((*given[:-1], count) if keep else (count,), top)
    return n.node("FULLY_CONNECTED", [x, w, bias(n, x, w, count, most)], y,
                  activation=n.choice(ACTIVATIONS), keep_dims=keep)  # fmt: skip


def transpose_conv(n: Net) -> bool:
    x = n.pick(lambda shape: is_map(shape) and shape[0] * shape[1] <= 25)
    if x is None:
        return False
    height, width, channels = n.shape(x)
    count, kernel, stride = n.number(1, 12), n.number(1, 4), n.number(1, 3)
    if stride > kernel:
        return False
    padding = n.number(0, 1)
    sizes = [s * stride if not padding else (s - 1) * stride + kernel for s in (height, width)]
    w = weights(n, (count, kernel, kernel, channels), 0, count if n.chance(0.7) else 1)
    top, most = spread(n, x, w, channels * max(kernel // stride, 1) ** 2)
    y = n.y((*sizes, count), top)
    given = [n.ints((1, *sizes, count)), w, x, bias(n, x, w, count, most)]
    return n.node("TRANSPOSE_CONV", given, y, padding=padding, stride_h=stride, stride_w=stride)


def _second(n: Net, x: int, *, like: bool = False) -> int | None:
    """Another tensor that broadcasts to one: of its shape, smaller, or constant."""
    shape = n.shape(x)
    if n.chance(0.25):
        shapes = [shape, shape[-1:], (1,), (1,) * len(shape) + shape[-1:]]
        held = n.choice(shapes if not like else shapes[:1])
        held = (1, *shape) if held == shape else held
        meant = n.meaning(x) if like else (n.step(n.top(x)), n.zero())
        return n.constant(held, *meant)

    def fits(other: Shape) -> bool:
        if other == shape or like:
            return other == shape
        if len(other) != len(shape):
            return False
        return all(b in (1, a) for a, b in zip(shape, other, strict=True))

    found = [i for i in n.pool if fits(n.shape(i)) and (not like or n.meaning(i) == n.meaning(x))]
    if not found:
        return None
    other = int(n.choice(found))
    n.read.add(other)
    return other


def pair(n: Net) -> bool:
    x = n.pick()
    other = None if x is None else _second(n, x)
    if x is None or other is None:
        return False
    op = n.choice(("ADD", "ADD", "SUB", "MUL"))
    both = n.top(x), n.top(other)
    top = max(both) * 1.5 if op != "MUL" else both[0] * both[1] * 0.5
    y = n.y(n.shape(x), max(top, 1e-3) * float(n.rng.uniform(0.4, 1.5)))
    given = [x, other] if n.chance(0.7) or n.lite.tensors[other].data is None else [other, x]
    options = {"powers_of_two": False} if n.wide and op != "MUL" else {}
    return n.node(op, given, y, activation=n.choice(ACTIVATIONS), **options)


def extreme(n: Net) -> bool:
    x = n.pick()
    other = None if x is None else _second(n, x, like=True)
    if x is None or other is None:
        return False
    return n.node(n.choice(("MAXIMUM", "MINIMUM")), [x, other], n.y(n.shape(x), 1, like=x))


def pool(n: Net) -> bool:
    x = n.pick(is_map)
    view = None if x is None else window(n, n.shape(x))
    if x is None or view is None:
        return False
    op = n.choice(("AVERAGE_POOL_2D", "MAX_POOL_2D"))
    y = n.y((*view["made"], n.shape(x)[2]), 1, like=x)
    kernel = {"filter_h": view["kernel"][0], "filter_w": view["kernel"][1]}
    return n.node(op, [x], y, activation=n.choice(ACTIVATIONS), **kernel,
                  **_options(view, dilation=False))  # fmt: skip


def reduction(n: Net) -> bool:
    x = n.pick(lambda shape: len(shape) > 1)
    if x is None:
        return False
    shape, keep = n.shape(x), n.chance(0.5)
    axes = sorted(set(n.rng.integers(1, len(shape) + 1, n.number(1, 2)).tolist()))
    made = tuple(1 if axis + 1 in axes else size for axis, size in enumerate(shape))
    if not keep:
        made = tuple(size for axis, size in enumerate(shape) if axis + 1 not in axes)
    if not made:
        return False
    op = n.choice(("MEAN", "MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"))
    count = math.prod(shape[axis - 1] for axis in axes)
    top = n.top(x) * {"MEAN": count**-0.5, "SUM": count**0.5}.get(op, 1)
    y = n.y(made, top) if op in ("MEAN", "SUM") else n.y(made, 1, like=x)
    return n.node(op, [x, n.ints(axes)], y, keep_dims=keep)


def unary(n: Net) -> bool:
    x = n.pick()
    if x is None:
        return False
    op = n.choice(("RELU", "RELU6", "RELU_N1_TO_1", "LEAKY_RELU", "HARD_SWISH", "QUANTIZE"))
    shape, top = n.shape(x), n.top(x) * float(n.rng.uniform(0.4, 1.6))
    options = {"alpha": float(F32(n.rng.uniform(-0.2, 1.2)))} if op == "LEAKY_RELU" else {}
    return n.node(op, [x], n.y(shape, top), **options)


def curve(n: Net) -> bool:
    x = n.pick()
    if x is None:
        return False
    op = n.choice(("LOGISTIC", "TANH"))
    scale, zero = (2.0**-8, -128) if op == "LOGISTIC" else (2.0**-7, 0)
    y = n.fixed(n.shape(x), 2.0**-15, 0) if n.wide else n.fixed(n.shape(x), scale, zero)
    return n.node(op, [x], y)


def softmax(n: Net) -> bool:
    x = n.pick(lambda shape: shape[-1] > 1)
    if x is None:
        return False
    shape = n.shape(x)
    y = n.fixed(shape, 2.0**-15, 0) if n.wide else n.fixed(shape, 2.0**-8, -128)
    return n.node("SOFTMAX", [x], y, beta=float(n.choice((1.0, 0.5, 2.0))))


def prelu(n: Net) -> bool:
    x = n.pick(is_map)
    if x is None:
        return False
    slopes = weights(n, (1, 1, n.shape(x)[2]), 0, 1)
    return n.node("PRELU", [x, slopes], n.y(n.shape(x), n.top(x)))


def resize(n: Net) -> bool:
    x = n.pick(lambda shape: is_map(shape) and math.prod(shape) <= 300)
    if x is None:
        return False
    op = n.choice(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"))
    sizes = n.number(1, 11), n.number(1, 11)
    align, half = n.choice(((False, False), (True, False), (False, True)))
    y = n.y((*sizes, n.shape(x)[2]), 1, like=x)
    return n.node(op, [x, n.ints(sizes)], y, align_corners=align, half_pixel=half)


def concat(n: Net) -> bool:
    x = n.pick()
    if x is None:
        return False
    shape = n.shape(x)
    axis = n.number(1, len(shape))

    def fits(index: int) -> bool:
        other = n.shape(index)
        if len(other) != len(shape) or n.meaning(index) != n.meaning(x):
            return False
        return other[: axis - 1] == shape[: axis - 1] and other[axis:] == shape[axis:]

    found = [index for index in n.pool if fits(index)]
    several = [x, *(int(n.choice(found)) for _ in range(n.number(1, 2)))]
    made = list(shape)
    made[axis - 1] = sum(n.shape(index)[axis - 1] for index in several)
    if math.prod(made) > MOST:
        return False
    n.read.update(several)
    fused = n.choice(ACTIVATIONS) if n.chance(0.03) else "NONE"  # which only XNNPACK takes
    y = n.y(tuple(made), 1, like=x)
    return n.node("CONCATENATION", several, y, axis=axis, activation=fused)


def pack(n: Net) -> bool:
    x = n.pick(lambda shape: len(shape) <= 2 and math.prod(shape) <= MOST // 2)
    if x is None:
        return False
    axis, shape = n.number(1, len(n.shape(x)) + 1), list(n.shape(x))
    shape.insert(axis - 1, 2)
    return n.node("PACK", [x, x], n.y(tuple(shape), 1, like=x), count=2, axis=axis)


def unpack(n: Net) -> bool:
    x = n.pick(lambda shape: len(shape) > 1 and min(shape) <= 4)
    if x is None:
        return False
    shape = n.shape(x)
    axis = shape.index(min(shape))
    made = shape[:axis] + shape[axis + 1 :]
    outputs = [n.y(made, 1, like=x) for _ in range(shape[axis])]
    return n.node("UNPACK", [x], *outputs, count=shape[axis], axis=axis + 1)


def split(n: Net) -> bool:
    x = n.pick(lambda shape: any(size > 1 for size in shape))
    if x is None:
        return False
    shape = n.shape(x)
    axis = int(n.choice([i for i, size in enumerate(shape) if size > 1]))
    size = shape[axis]
    equal = [k for k in (2, 3) if size % k == 0]
    if equal and n.chance(0.5):
        parts = [size // equal[0]] * equal[0]
    else:
        first = n.number(1, size - 1)
        parts = [first, size - first]
    made = [n.y((*shape[:axis], part, *shape[axis + 1 :]), 1, like=x) for part in parts]
    place = n.ints(np.array(axis + 1).reshape(()))
    if len(set(parts)) == 1:
        return n.node("SPLIT", [place, x], *made, count=len(parts))
    given = [x, n.ints([parts[0], -1] if n.chance(0.5) else parts), place]
    return n.node("SPLIT_V", given, *made, count=len(parts))


def slices(n: Net) -> bool:
    x = n.pick()
    if x is None:
        return False
    shape = n.shape(x)
    begin = [n.number(0, size - 1) for size in shape]
    if n.chance(0.5):
        size = [n.number(1, s - b) for s, b in zip(shape, begin, strict=True)]
        given = [x, n.ints([0, *begin]), n.ints([1, *size])]
        return n.node("SLICE", given, n.y(tuple(size), 1, like=x))
    steps = [n.choice((1, 1, 2, -1)) for _ in shape]
    ends = [-1 - s if step < 0 else s for s, step in zip(shape, steps, strict=True)]
    made = [len(range(s)[b : (None if step < 0 else e) : step])
            for s, b, e, step in zip(shape, begin, ends, steps, strict=True)]  # fmt: skip
    masks = {"begin_mask": 0, "end_mask": 1, "ellipsis_mask": 0, "new_axis_mask": 0}
    given = [x, n.ints([0, *begin]), n.ints([1, *ends]), n.ints([1, *steps])]
    return n.node("STRIDED_SLICE", given, n.y(tuple(made), 1, like=x), shrink_mask=0, **masks)


def gather(n: Net) -> bool:
    x = n.pick()
    if x is None:
        return False
    shape = n.shape(x)
    axis = n.number(0, len(shape) - 1)
    order = n.rng.integers(0, shape[axis], n.number(1, 5)).tolist()
    made = (*shape[:axis], len(order), *shape[axis + 1 :])
    return n.node("GATHER", [x, n.ints(order)], n.y(made, 1, like=x), axis=axis + 1)


def pad(n: Net) -> bool:
    x = n.pick(lambda shape: math.prod(shape) <= 800)
    if x is None:
        return False
    shape = n.shape(x)
    mirrors = n.chance(0.3)
    rows = [[n.number(0, 2 if not mirrors else max(min(size - 1, 2), 0)) for _ in range(2)]
            for size in shape]  # fmt: skip
    if is_map(shape) and n.chance(0.6):
        rows[2] = [0, 0]
    made = tuple(size + sum(row) for size, row in zip(shape, rows, strict=True))
    y, table = n.y(made, 1, like=x), n.ints([[0, 0], *rows])
    if mirrors:
        return n.node("MIRROR_PAD", [x, table], y, mode=n.number(0, 1))
    if n.chance(0.3):
        code = n.constant((), *n.meaning(x))
        return n.node("PADV2", [x, table, code], y)
    return n.node("PAD", [x, table], y)


def turn(n: Net) -> bool:
    x = n.pick(lambda shape: len(shape) > 1)
    if x is None:
        return False
    shape = n.shape(x)
    order = n.rng.permutation(len(shape)).tolist()
    made = tuple(shape[axis] for axis in order)
    return n.node("TRANSPOSE", [x, n.ints([0, *(axis + 1 for axis in order)])],
                  n.y(made, 1, like=x))  # fmt: skip


def reshape(n: Net) -> bool:
    x = n.pick()
    if x is None:
        return False
    shape = n.shape(x)
    if 1 in shape and len(shape) > 1 and n.chance(0.5):
        axis = shape.index(1)
        made = shape[:axis] + shape[axis + 1 :]
        return n.node("SQUEEZE", [x], n.y(made, 1, like=x), axes=[axis + 1])
    if len(shape) < 3 and n.chance(0.5):
        axis = n.number(1, len(shape) + 1)
        made = (*shape[: axis - 1], 1, *shape[axis - 1 :])
        given = [x, n.ints(np.array(axis).reshape(()))]
        return n.node("EXPAND_DIMS", given, n.y(made, 1, like=x))
    size = math.prod(shape)
    first = int(n.choice([k for k in range(1, min(size, 12) + 1) if size % k == 0]))
    second = int(n.choice([k for k in range(1, 13) if size // first % k == 0]))
    made = n.choice(((size,), (first, size // first), (first, second, size // first // second)))
    return n.node("RESHAPE", [x, n.ints([1, *made])], n.y(made, 1, like=x), shape=[1, *made])


def repeat(n: Net) -> bool:
    """Codes once more, or in the reverse order."""
    x = n.pick(lambda shape: math.prod(shape) <= 300)
    if x is None:
        return False
    shape = n.shape(x)
    kind = n.number(0, 2)
    if kind == 0:
        axis = n.ints([n.number(1, len(shape))])
        return n.node("REVERSE_V2", [x, axis], n.y(shape, 1, like=x))
    times = [n.number(1, 2) for _ in shape]
    if kind == 1:
        made = tuple(size * count for size, count in zip(shape, times, strict=True))
        return n.node("TILE", [x, n.ints([1, *times])], n.y(made, 1, like=x))
    made = tuple(3 if size == 1 else size for size in shape)
    return n.node("BROADCAST_TO", [x, n.ints([1, *made])], n.y(made, 1, like=x))


def atrous(n: Net) -> bool:
    """A layer between blocks that go to the batch and come back: a dilation by hand."""
    x = n.pick(lambda shape: is_map(shape) and min(shape[:2]) >= 2 and shape[2] <= 8)
    if x is None:
        return False
    (height, width, channels), block = n.shape(x), 2
    ends = [[0, height % block], [0, width % block]]
    rows, columns = -(-height // block), -(-width // block)
    many, fewer = (block * block, rows, columns, channels), (block * block, rows, columns, channels)
    kept = len(n.pool)
    blocks = n.ints([block, block])
    first = n.lite.codes(f"t{len(n.lite.tensors)}", many, *n.meaning(x), n.dtype)
    if not n.node("SPACE_TO_BATCH_ND", [x, blocks, n.ints(ends)], first):
        return False
    kernel = 1, n.number(1, 3), n.number(1, 3), channels
    w = weights(n, kernel, 3, channels)
    top, most = spread(n, first, w, kernel[1] * kernel[2])
    second = n.lite.codes(f"t{len(n.lite.tensors)}", fewer, n.step(top), n.zero(), n.dtype)
    given = [first, w, bias(n, first, w, channels, most)]
    n.node("DEPTHWISE_CONV_2D", given, second, activation="RELU", padding=0, stride_h=1, stride_w=1,
           multiplier=1)  # fmt: skip
    back = n.y((rows * block - ends[0][1], columns * block - ends[1][1], channels), 1, like=second)
    del n.pool[kept:]
    return n.node("BATCH_TO_SPACE_ND", [second, blocks, n.ints(ends)], back)


def blocks(n: Net) -> bool:
    x = n.pick(lambda s: is_map(s) and ((s[0] % 2 == 0 and s[1] % 2 == 0) or s[2] % 4 == 0))
    if x is None:
        return False
    height, width, channels = n.shape(x)
    if height % 2 == 0 and width % 2 == 0 and (channels % 4 or n.chance(0.5)):
        y = n.y((height // 2, width // 2, channels * 4), 1, like=x)
        return n.node("SPACE_TO_DEPTH", [x], y, block=2)
    y = n.y((height * 2, width * 2, channels // 4), 1, like=x)
    return n.node("DEPTH_TO_SPACE", [x], y, block=2)


def matmul(n: Net) -> bool:
    x = n.pick(lambda shape: len(shape) >= 2)
    if x is None:
        return False
    shape = n.shape(x)
    *batch, rows, inner = shape
    adj_x, adj_y = n.chance(0.3), n.chance(0.3)
    if adj_x:
        rows, inner = inner, rows
    wanted = (*batch, -1, inner) if adj_y else (*batch, inner, -1)

    def fits(other: Shape) -> bool:
        if len(other) != len(shape):
            return False
        return all(w in (-1, o) for w, o in zip(wanted, other, strict=True))

    found = [index for index in n.pool if fits(n.shape(index))]
    if not found:
        return False
    other = int(n.choice(found))
    n.read.add(other)
    columns = n.shape(other)[-2 if adj_y else -1]
    if math.prod(batch) * rows * columns > MOST:
        return False
    top = n.top(x) * n.top(other) * 0.3 * math.sqrt(inner)
    y = n.y((*batch, rows, columns), top)
    return n.node("BATCH_MATMUL", [x, other], y, adj_x=adj_x, adj_y=adj_y)


def arg(n: Net) -> bool:
    x = n.pick(lambda shape: len(shape) > 1)
    if x is None or n.wide:
        return False
    shape = n.shape(x)
    axis = n.number(1, len(shape))
    made = shape[: axis - 1] + shape[axis:]
    y = n.lite.add(Written(f"t{len(n.lite.tensors)}", (1, *made), "int32"))
    given = [x, n.ints(np.array(axis).reshape(()))]
    n.lite.node(n.choice(("ARG_MAX", "ARG_MIN")), given, [y], output_type=2)
    n.drawn.append(n.lite.nodes[-1][0])
    n.ends.append(y)
    return True


def again(n: Net) -> bool:
    """What a delegate may fuse: pad and layer, layer and clamp, two moves, two functions."""
    kind = n.number(0, 4)
    if kind == 0:
        return pad(n) and (conv(n) or depthwise(n))
    if kind == 1:
        return (conv(n) or dense(n)) and unary(n)
    if kind == 2:
        return turn(n) and turn(n)
    if kind == 3:
        return unary(n) and unary(n)
    return reshape(n) and reshape(n)


def remember(n: Net) -> bool:
    """A variable that this step reads and assigns."""
    if n.lite.first:
        return False
    x = n.pick(lambda shape: math.prod(shape) <= 400)
    if x is None:
        return False
    shape, name = n.shape(x), "kept"
    low, high = (-32768, 32767) if n.wide else (-128, 127)
    n.lite.first = [(name, n.rng.integers(low, high + 1, (1, *shape)).astype(n.dtype))]
    handle = n.lite.add(Written("handle", (), "resource"))
    kept, y = n.y(shape, 1, like=x), n.y(shape, n.top(x) * 1.2)
    n.lite.node("VAR_HANDLE", [], [handle], name=name)
    n.lite.node("READ_VARIABLE", [handle], [kept])
    options = {"powers_of_two": False} if n.wide else {}
    n.node("ADD", [x, kept], y, activation="NONE", **options)
    n.lite.node("ASSIGN_VARIABLE", [handle, x], [])
    n.drawn += ["VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"]
    n.pool.append(kept)
    return True


STEPS: tuple[Step, ...] = (
    conv, conv, depthwise, depthwise, dense, dense, transpose_conv, pair, pair, pair, extreme, pool,
    pool, reduction, reduction, unary, unary, unary, curve, softmax, prelu, resize, concat, concat,
    pack, unpack, split, slices, gather, pad, turn, reshape, blocks, matmul, arg, again, again,
    repeat, atrous, remember,
)  # fmt: skip


def network(seed: int, *, wide: bool = False) -> tuple[Net, list[int]]:
    """A random model, and its outputs: what nothing reads, and some of what is read."""
    rng = np.random.default_rng(seed)
    n = Net(rng, wide, powers=float(rng.choice([0.0, 0.5, 1.0])))
    n.unlike = float(rng.choice([0.0, 0.0, 0.0, 0.2]))
    for _ in range(n.number(1, 3)):
        size = n.number(2, 8), n.number(2, 8), n.number(1, 10)
        shape = size if n.chance(0.7) else size[: n.number(1, 2)]
        x = n.y(shape, float(rng.uniform(0.5, 6)))
        n.inputs.append(x)
        n.pool.append(x)
    for _ in range(n.number(2, 9)):
        for _ in range(12):
            step = n.choice(STEPS)
            before = len(n.lite.nodes), len(n.lite.tensors), list(n.pool), len(n.drawn)
            if step(n):
                break
            undo(n, *before)
    used = {index for _, given, _, _ in n.lite.nodes for index in given}
    made = [index for index in n.pool if index not in n.inputs]
    outputs = [index for index in made if index not in used or n.chance(0.1)] + n.ends
    if not outputs:
        return network(seed + (1 << 40), wide=wide)
    n.inputs = [index for index in n.inputs if index in used]
    return n, list(dict.fromkeys(outputs))


def undo(n: Net, nodes: int, tensors: int, pool: list[int], drawn: int) -> None:
    """Take back what a step began and did not end."""
    if len(n.lite.nodes) == nodes:
        del n.lite.tensors[tensors:], n.drawn[drawn:]
        n.pool = pool


def codes(n: Net, rng: np.random.Generator, samples: int) -> dict[str, np.ndarray[Any, Any]]:
    """Random codes of the inputs; the first two samples have the outermost ones only."""
    low, high = (-32768, 32767) if n.wide else (-128, 127)
    found = {}
    for index in n.inputs:
        tensor = n.lite.tensors[index]
        values = rng.integers(low, high + 1, (samples, *tensor.shape[1:]))
        values[:2] = rng.choice([low, high], values[:2].shape)
        found[tensor.name] = values.astype(n.dtype)
    return found
