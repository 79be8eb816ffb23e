"""The one catalogue of operator cases; every backend runs all of it.

A case is one operator, the types of what it reads and codes to feed it. Cases are small (a few
hundred codes), so that an RTL simulator written in Python gets through them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.fixed import Format, Overflow, Rounding
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import (
    EXACT,
    Add,
    ArgMax,
    AvgPool,
    Balanced,
    BatchNorm,
    Cast,
    ChannelTable,
    ChosenThresholds,
    Codebook,
    Concat,
    Conv1D,
    Conv2D,
    Dense,
    Divide,
    Division,
    Encoding,
    Flatten,
    Float32,
    Literal,
    MatMul,
    Maximum,
    MaxPool,
    Minimum,
    Mul,
    Op,
    Pad,
    PairTable,
    PowersOfTwo,
    Quant,
    Quotient,
    Reduce,
    Reduction,
    Relu,
    Requantize,
    Reshape,
    Rsqrt,
    ScaledAdd,
    Scheme,
    Select,
    Share,
    Split,
    Stepwise,
    Sub,
    Table,
    TensorType,
    Thresholds,
    Transpose,
    Window,
)

Codes = npt.NDArray[np.int64]
S8, U8 = Format.int(8), Format.uint(8)


@dataclass(frozen=True, slots=True)
class Case:
    """One operator on inputs of given types; `built` says whether it has hardware."""

    id: str
    op: Op
    types: tuple[TensorType, ...]
    built: bool = True

    def graph(self) -> Graph:
        """The operator alone: inputs `a`, `b`, ..., node `op`, outputs `y`, `y1`, ..."""
        names = [chr(ord("a") + k) for k in range(len(self.types))]
        ports = tuple(
            InputPort(name=name, tensor=name, type=kind)
            for name, kind in zip(names, self.types, strict=True)
        )
        made = self.op.output_types(self.types)
        edges = ["y", *(f"y{k}" for k in range(1, len(made)))]
        node = Node("op", self.op, tuple(names), edges)
        return Graph(ports, (node,), tuple(OutputPort(name=e, tensor=e) for e in edges))

    @staticmethod
    def by_name(outputs: Any) -> dict[str, Any]:
        """What `emulate` gives for `graph`, by output name for one output too."""
        return outputs if isinstance(outputs, dict) else {"y": outputs}

    def inputs(self, n: int, seed: int) -> dict[str, Codes]:
        """Codes for `n` samples by input name.

        The first sample runs through all codes as far as it reaches, the second and third hold
        the smallest and the largest, the rest are random.
        """
        rng = np.random.default_rng([seed, zlib.crc32(self.id.encode())])
        return {
            port.name: _codes(port.type, n, rng, stride)
            for port, stride in zip(self.graph().inputs, (1, 3, 5, 7), strict=False)
        }


def _codes(kind: TensorType, n: int, rng: np.random.Generator, stride: int) -> Codes:
    span = kind.hi - kind.lo + 1
    out = rng.integers(kind.lo, kind.hi + 1, (n, kind.size), np.int64)
    heads = [kind.lo + np.arange(kind.size) * stride % span, kind.lo, kind.hi]
    for row, head in enumerate(heads[:n]):
        out[row] = head
    return out.reshape(n, *kind.shape)


def tensor(
    shape: int | tuple[int, ...],
    fmt: str | Format = S8,
    zero: int | None = None,
    codes: tuple[int, int] | None = None,
) -> TensorType:
    """A type; with a zero point it has a scale instead of a binary point."""
    fmt = Format.parse(fmt) if isinstance(fmt, str) else fmt
    quant = None if zero is None else Quant((0.05,), zero)
    return TensorType((shape,) if isinstance(shape, int) else shape, fmt, quant, codes)


def weights(name: str, fmt: str, *shape: int) -> dict[str, Any]:
    """Random weights (output channels last) and biases of a layer of that name."""
    rng, kind = np.random.default_rng(zlib.crc32(name.encode())), Format.parse(fmt)
    codes = rng.integers(kind.min, kind.max + 1, shape, np.int64)
    codes.flat[0], codes.flat[-1] = kind.min, kind.max
    return {"weights": codes, "bias": rng.integers(-99, 99, shape[-1]), "weight_format": kind}


def dense_cases() -> Iterator[Case]:
    """Dense layers with exact accumulators."""

    def case(name: str, x: TensorType, outputs: int, fmt: str = "s4", **extra: Any) -> Case:
        data = weights(name, fmt, x.shape[-1], outputs) | extra
        return Case(f"dense-{name}", Dense(**data), (x,))

    yield case("plain", tensor(6), 4)
    yield case("one-term", tensor(1), 3)
    yield case("one-output", tensor(7), 1)
    yield case("unsigned", tensor(6, "u8"), 4, "u3")
    yield case("binary", tensor(12, "u1"), 6, "s1")
    yield case("zero-point", tensor(6, "s8", -7), 4, zero_point=-7)
    yield case("odd-zero-point", tensor(6, "u8", 201), 4, "s8", zero_point=201)
    yield case("scales", tensor(6, "u8", 0), 4, "s8", weight_scale=(0.5, 0.1, 0.01, 2.0))
    yield case("fraction", tensor(5, "s8.3"), 4, "s6.5", bias_frac=8)
    yield case("coarse-bias", tensor(5, "s8.3"), 4, "s6.5", bias_frac=2)
    yield case("fine-bias", tensor(5, "s8.3"), 4, "s6.5", bias_frac=11)
    yield case("no-bias", tensor(5, "s8.3"), 4, "s6.5", bias=np.zeros(4, int), bias_frac=20)
    yield case("rows", tensor((3, 4), "s6"), 5)
    yield case("narrow-range", tensor(6, "s8", codes=(-3, 90)), 4, "s8")
    yield case("wide", tensor(6, "s16"), 4, "s16")
    yield case("wider", tensor(4, "s24"), 3, "s24")
    yield case("past-2-to-53", tensor(3, "s30"), 2, "s30")


def encoded_cases() -> Iterator[Case]:
    """Weights that hardware stores as powers of two, sums of them or places in a table."""

    def data(name: str, encoding: Encoding, *shape: int, fmt: str = "s8") -> dict[str, Any]:
        drawn = weights(name, fmt, *shape)
        codes = encoding.nearest(drawn["weights"])
        return drawn | {"weights": codes, "encoding": encoding}

    powers = PowersOfTwo(exponents=((0, 1, 2, 3, 4, 5, 6),))
    sums = PowersOfTwo(exponents=((2, 4, 6), (1, 3, 5)))
    table = Codebook(entries=(-121, -64, -37, -6, 0, 3, 40, 99))
    sets = {
        "powers": powers,
        "sums": sums,
        "ternary": PowersOfTwo(exponents=((0,),)),
        "far-ternary": PowersOfTwo(exponents=((5,),)),
        "three-terms": PowersOfTwo(exponents=((6,), (0, 3), (1, 2, 5))),
        "table": table,
        "binary-table": Codebook(entries=(-1, 1)),
        "positive-table": Codebook(entries=(0, 8, 24, 120)),
        "narrow-table": Codebook(entries=(0, 4)),
    }
    for name, encoding in sets.items():
        yield Case(f"dense-{name}", Dense(**data(name, encoding, 6, 4)), (tensor(6),))
    for name, x in {"unsigned": tensor(6, "u8"), "zero-point": tensor(6, "s8", -7)}.items():
        for kind, encoding in {"powers": powers, "table": table}.items():
            op = Dense(**data(f"{kind}-{name}", encoding, 6, 4), zero_point=x.zero_point)
            yield Case(f"dense-{kind}-{name}", op, (x,))
    acc = Stepwise(format=Format.parse("s12.5"), rounding=Rounding.RND, overflow=Overflow.SAT)
    for kind, encoding in {"sums": sums, "table": table}.items():
        op = Dense(**data(f"{kind}-fine", encoding, 6, 4, fmt="s8.3"), bias_frac=9)
        yield Case(f"dense-{kind}-fine-bias", op, (tensor(6, "s8.3"),))
        yield Case(f"dense-{kind}-step", replace(op, accumulator=acc), (tensor(6, "s8.3"),))
        conv = Conv2D(**data(kind, encoding, 2, 2, 2, 4), window=Window((2, 2), (1, 1)), groups=2)
        yield Case(f"conv2d-{kind}", conv, (tensor((3, 3, 4)),))


def stepwise_cases() -> Iterator[Case]:
    """Accumulators with a format: exact, rounded, wrapped and saturated steps."""

    def case(name: str, fmt: str, **modes: Any) -> Case:
        data = weights("step", "s6.4", 6, 5)
        data["weights"][:, 1] = data["weights"][:, 1] // 16 * 16  # never rounded
        data["weights"][:, 3] = 1  # never overflows
        data["bias"] //= 8
        acc = Stepwise(format=Format.parse(fmt), **modes)
        return Case(
            f"dense-step-{name}", Dense(**data, bias_frac=3, accumulator=acc), (tensor(6, "s8.5"),)
        )

    yield case("exact", "s20.9")
    yield case("wrap", "s10.9")
    yield case("negative-drop", "s20.11")
    for rounding in Rounding:
        yield case(f"round-{rounding.value}", "s18.3", rounding=rounding)
    for mode in Overflow:
        yield case(f"fit-{mode.value}", "s8.4", rounding=Rounding.RND, overflow=mode)
    yield case("unsigned", "u8.4", rounding=Rounding.RND_CONV, overflow=Overflow.SAT)
    order = (5, 0, 3, 1, 4, 2)
    yield case("order", "s8.4", rounding=Rounding.RND, overflow=Overflow.SAT, order=order)
    acc = Stepwise(format=Format.parse("s9.3"), rounding=Rounding.RND, overflow=Overflow.SAT)
    data = weights("conv-step", "s5.3", 2, 3, 2, 3)
    conv = Conv2D(**data, window=Window((2, 3), (1, 2), (1, 1, 0, 1)), accumulator=acc)
    yield Case("conv2d-step", conv, (tensor((3, 4, 2), "s6.3"),))
    yield from grouped_step_cases(acc)


def grouped_step_cases(acc: Stepwise) -> Iterator[Case]:
    """Groups and single channels whose sums are rounded and brought into range at each step."""
    turned = replace(acc, order=(3, 0, 2, 1))
    wraps = replace(acc, overflow=Overflow.WRAP)
    for name, chosen in {"": acc, "-order": turned, "-wrap": wraps}.items():
        data = weights(f"depthwise-step{name}", "s5.3", 2, 2, 1, 3)
        data["weights"][..., 1] *= 4  # one channel's products are less often rounded
        data["weight_format"] = Format.parse("s7.3")
        window = Window((2, 2), (1, 2), (1, 0, 0, 1))
        conv = Conv2D(**data, window=window, groups=3, accumulator=chosen)
        yield Case(f"depthwise-step{name}", conv, (tensor((3, 4, 3), "s6.3"),))
    data = weights("groups-step", "s5.3", 3, 2, 6)
    line = Conv1D(**data, window=Window((3,), (2,), (1, 1)), groups=2, accumulator=acc)
    yield Case("groups-step", line, (tensor((6, 4), "s6.3"),))


def conv_cases() -> Iterator[Case]:
    """Convolutions: strides, paddings, groups, zero points."""

    def case(
        name: str, x: TensorType, outputs: int, window: Window, fmt: str = "s4", **extra: Any
    ) -> Case:
        inputs = x.channels // extra.get("groups", 1)
        data = weights(name, fmt, *window.kernel, inputs, outputs) | extra
        return Case(f"conv2d-{name}", Conv2D(**data, window=window), (x,))

    x, square = tensor((5, 6, 2)), Window((3, 3))
    yield case("plain", x, 3, square)
    yield case("same", x, 3, Window((3, 3), (1, 1), (1, 1, 1, 1)))
    yield case("one-by-one", x, 4, Window((1, 1)))
    yield case("whole-map", x, 3, Window((5, 6)))
    yield case("stride", x, 2, Window((3, 3), (2, 2), (1, 1, 1, 1)))
    yield case("stride-skips", x, 2, Window((1, 2), (3, 3)))
    yield case("uneven", x, 2, Window((2, 3), (2, 1), (1, 0, 0, 2)))
    yield case("row", tensor((1, 9, 2)), 3, Window((1, 3), (1, 2), (0, 1, 0, 1)))
    yield case("column", tensor((9, 1, 2)), 3, Window((3, 1), (2, 1), (1, 0, 1, 0)))
    yield case("groups", tensor((4, 4, 4)), 6, Window((2, 2)), groups=2)
    yield case("depthwise", tensor((4, 5, 3)), 3, Window((3, 3), (1, 1), (1, 1, 1, 1)), groups=3)
    yield case("depth-multiplier", tensor((4, 4, 2)), 4, Window((2, 2), (2, 2)), groups=2)
    yield case(
        "zero-point",
        tensor((4, 4, 2), "u8", 131),
        3,
        Window((3, 3), (1, 1), (1, 1, 1, 1)),
        "s8",
        zero_point=131,
    )
    yield case(
        "depthwise-zero-point",
        tensor((4, 4, 2), "s8", -5),
        2,
        Window((3, 3), (2, 2), (0, 0, 1, 1)),
        "s8",
        zero_point=-5,
        groups=2,
    )
    yield case(
        "padding-past-range",
        tensor((3, 3, 1), "s8", 0, codes=(5, 60)),
        2,
        Window((2, 2), (1, 1), (1, 1, 1, 1)),
    )
    yield case(
        "fraction",
        tensor((3, 3, 2), "s8.5"),
        2,
        Window((2, 2)),
        "s6.4",
        bias_frac=10,
    )


def line_cases() -> Iterator[Case]:
    """Windows of one axis: convolutions and pools over (length, channels)."""

    def conv(name: str, x: TensorType, outputs: int, window: Window, **extra: Any) -> Case:
        inputs = x.channels // extra.get("groups", 1)
        data = weights(f"line-{name}", "s5", *window.kernel, inputs, outputs) | extra
        return Case(f"conv1d-{name}", Conv1D(**data, window=window), (x,))

    x = tensor((11, 2))
    yield conv("plain", x, 3, Window((3,)))
    yield conv("point", x, 4, Window((1,)))
    yield conv("whole-line", x, 3, Window((11,)))
    yield conv("stride", x, 2, Window((4,), (2,), (1, 2)))
    yield conv("stride-skips", x, 2, Window((2,), (3,)))
    yield conv("one-code", tensor((9, 1)), 2, Window((3,), (1,), (1, 1)))
    yield conv("groups", tensor((7, 4)), 6, Window((2,)), groups=2)
    yield conv("depthwise", tensor((7, 3)), 3, Window((3,), (1,), (2, 0)), groups=3)
    zero = tensor((6, 2), "u8", 131)
    yield conv("zero-point", zero, 3, Window((3,), (1,), (1, 1)), zero_point=131)
    acc = Stepwise(format=Format.parse("s9.3"), rounding=Rounding.RND, overflow=Overflow.SAT)
    fine = {"weight_format": Format.parse("s5.3"), "accumulator": acc}
    yield conv("step", tensor((6, 2), "s6.3"), 3, Window((3,), (2,), (1, 1)), **fine)
    for name, window in {
        "plain": Window((2,), (2,)),
        "padded": Window((3,), (2,), (1, 2)),
        "global": Window((11,)),
    }.items():
        yield Case(f"maxpool-line-{name}", MaxPool(window=window), (x,))
        yield Case(f"avgpool-line-{name}", AvgPool(window=window), (x,))
    pool = AvgPool(window=Window((3,), (2,), (1, 1)), zero_point=113)
    yield Case("avgpool-line-zero-point", pool, (tensor((7, 2), "u8", 113),))
    acc = Stepwise(format=Format.parse("s7.2"), rounding=Rounding.RND_CONV, overflow=Overflow.SAT)
    pool = AvgPool(window=Window((3,), (2,), (1, 1)), accumulator=acc)
    yield Case("avgpool-line-step", pool, (tensor((7, 2), "s6.3"),))
    by = np.array([2, 3, 3, 2])
    yield Case("divide-by-place", Divide(divisors=by), (tensor((4, 16), "s9.4"),))


def rank_cases() -> Iterator[Case]:
    """Tensors of three axes and more without windows: heads, rows and channels."""
    heads = tensor((2, 3, 4))
    yield Case("dense-heads", Dense(**weights("heads", "s4", 4, 3)), (heads,))
    yield Case("dense-five-axes", Dense(**weights("five", "s4", 2, 3)), (tensor((2, 1, 3, 2, 2)),))
    yield Case("transpose-heads", Transpose(axes=(1, 0, 2)), (heads,))
    yield Case("transpose-keys", Transpose(axes=(0, 2, 1)), (heads,))
    yield Case("transpose-four", Transpose(axes=(2, 0, 3, 1)), (tensor((2, 3, 2, 4)),))
    yield Case("reshape-heads", Reshape(shape=(3, 2, 2, 2)), (tensor((3, 8)),))
    yield Case("concat-heads", Concat(), (heads, tensor((2, 3, 2))))
    yield Case("add-four-axes", Add(), (tensor((2, 2, 3, 2)), tensor((2, 2, 3, 2), "s6")))
    yield Case("relu-four-axes", Relu(zero_point=3), (tensor((2, 2, 3, 2)),))
    yield Case("argmax-four-axes", ArgMax(), (tensor((2, 2, 3, 5)),))
    cast = Cast(out=Format.parse("s5.1"), rounding=Rounding.RND, overflow=Overflow.SAT)
    yield Case("cast-four-axes", cast, (tensor((2, 2, 3, 4), "s8.3"),))
    channels = {"multiplier": (0.3, 0.02, 0.11, 0.5), "out": S8}
    to8 = Requantize(scheme=Scheme.F32_RNE_OUT, **channels)
    yield Case("requantize-four-axes", to8, (tensor((2, 2, 3, 4), "s12", 0),))


def pool_cases() -> Iterator[Case]:
    """Max and average pools, and the division that truncates."""
    x = tensor((5, 6, 2))
    windows = {
        "plain": Window((2, 2), (2, 2)),
        "overlapping": Window((3, 3), (1, 1)),
        "padded": Window((3, 3), (2, 2), (1, 1, 1, 1)),
        "uneven": Window((3, 2), (2, 1), (0, 1, 2, 0)),
        "global": Window((5, 6)),
    }
    for name, window in windows.items():
        yield Case(f"maxpool-{name}", MaxPool(window=window), (x,))
        yield Case(f"avgpool-{name}", AvgPool(window=window), (x,))
    padded = windows["padded"]
    yield Case("maxpool-unsigned", MaxPool(window=padded), (tensor((5, 6, 2), "u8"),))
    yield Case("maxpool-all-negative", MaxPool(window=padded), (tensor((5, 6, 2), codes=(-9, -2)),))
    for zero in (-7, 113):
        pool = AvgPool(window=padded, zero_point=zero)
        yield Case(f"avgpool-zero-point-{zero}", pool, (tensor((5, 6, 2), "s8", zero),))
    for mode in (Overflow.WRAP, Overflow.SAT):
        acc = Stepwise(format=Format.parse("s7.2"), rounding=Rounding.RND_CONV, overflow=mode)
        pool = AvgPool(window=padded, accumulator=acc)
        yield Case(f"avgpool-step-{mode.value}", pool, (tensor((5, 6, 2), "s6.3"),))
    yield Case("divide-by-one-number", Divide(divisors=np.array([9])), (tensor((3, 20, 2)),))
    by = np.array([[4, 6, 4], [6, 9, 6]])
    yield Case("divide-by-position", Divide(divisors=by), (tensor((2, 3, 24), "s9.4"),))


def reduce_cases() -> Iterator[Case]:
    """The largest code, the smallest, sums and means along any axes."""
    x = tensor((3, 4, 5))
    ways = {"inner": (2,), "outer": (0,), "ends": (0, 2)}
    for name, axes in {**ways, "middle": (1,), "map": (0, 1), "all": (0, 1, 2)}.items():
        for way in Reduction if name in ways else (Reduction.MAX, Reduction.SUM):
            yield Case(f"reduce-{way.value}-{name}", Reduce(reduction=way, axes=axes), (x,))
    four = tensor((2, 3, 2, 3), "u4")
    yield Case("reduce-sum-crossed", Reduce(reduction=Reduction.SUM, axes=(0, 2)), (four,))
    yield Case("reduce-max-crossed", Reduce(reduction=Reduction.MAX, axes=(1, 3)), (four,))
    zero = Reduce(reduction=Reduction.SUM, axes=(1,), zero_point=131)
    yield Case("reduce-sum-zero-point", zero, (tensor((3, 7), "u8", 131),))
    mean = Reduce(reduction=Reduction.MEAN, axes=(0,), zero_point=-5)
    yield Case("reduce-mean-zero-point", mean, (tensor((6, 4), "s8", -5),))
    binary = Reduce(reduction=Reduction.MEAN, axes=(0, 1))
    yield Case("reduce-mean-fraction", binary, (tensor((2, 4, 3), "s6.3"),))
    yield Case("reduce-min-one", Reduce(reduction=Reduction.MIN, axes=(1,)), (tensor((4, 1)),))
    wide = Reduce(reduction=Reduction.SUM, axes=(1,))
    yield Case("reduce-sum-wide", wide, (tensor((2, 5), "s40.3"),))
    yield from reduce_step_cases()


def reduce_step_cases() -> Iterator[Case]:
    """Sums through an accumulator with a format, one after the other or as a tree."""

    def case(name: str, acc: Stepwise | Balanced, x: TensorType, built: bool, *axes: int) -> Case:
        op = Reduce(reduction=Reduction.SUM, axes=axes, accumulator=acc)
        return Case(f"reduce-{type(acc).__name__.lower()}-{name}", op, (x,), built)

    rows = tensor((6, 11), "s6.3")
    for kind in (Stepwise, Balanced):
        chain = kind is Stepwise
        for mode in Overflow:
            acc = kind(format=Format.parse("s7.2"), rounding=Rounding.RND_CONV, overflow=mode)
            any_order = mode is Overflow.WRAP
            yield case(f"fit-{mode.value}", acc, rows, chain or any_order, 1)
        acc = kind(format=Format.parse("s7.4"), rounding=Rounding.RND, overflow=Overflow.SAT)
        yield case("finer", acc, rows, chain, 1)
        yield case("columns", acc, tensor((7, 3), "s6.3"), chain, 0)
        yield case("all-axes", acc, tensor((2, 3, 3), "s6.3"), False, 0, 2)
        yield case("one-sign", acc, tensor((6, 11), "u5.3"), True, 1)
        yield case("below-zero", acc, tensor((2, 3, 4), "s6.3", codes=(-30, -1)), True, 0, 2)
        small = kind(format=Format.parse("u4"), rounding=Rounding.RND, overflow=Overflow.SAT)
        yield case("unsigned", small, rows, True, 1)
        yield case("of-3", acc, tensor((4, 3), "s6.3"), chain, 1)
        yield case("of-2", acc, tensor((4, 2), "s6.3"), True, 1)
        room = kind(format=Format.parse("s20.1"), rounding=Rounding.RND_INF, overflow=Overflow.SAT)
        yield case("rounded", room, tensor((2, 5, 4), "s6.3"), True, 0, 2)


def float_cases() -> Iterator[Case]:
    """Sums and quotients of float32 numbers, whose codes are their bit patterns."""
    one, tiny = 0x3F800000, 0x00800000
    spans = {
        "near-one": (one, one + (3 << 23)),
        "far-apart": (0, 0x7D000000),
        "denormal": (0, 2 * tiny),
        "fractions": (one - (20 << 23), one),
    }
    for name, codes in spans.items():
        x = tensor((5, 9), "u31", codes=codes)
        floats = Reduce(reduction=Reduction.SUM, axes=(1,), accumulator=Float32())
        yield Case(f"reduce-float-{name}", floats, (x,))
    floats = Reduce(reduction=Reduction.SUM, axes=(0,), accumulator=Float32())
    yield Case("reduce-float-columns", floats, (tensor((7, 3), "u31", codes=(0, one)),), False)
    yield from quotient_cases()
    yield from rsqrt_cases()
    yield from share_cases()


def rsqrt_cases() -> Iterator[Case]:
    """Reciprocals of square roots, of few bits and of many."""
    for name, shape, fmt, offset, bits in (
        ("plain", (64, 4), "u8", 1.0, 8),
        ("fraction", (64, 4), "u8", 0.1, 12),
        ("wide", (2, 6), "u40", 67_000.25, 44),
        ("rows", (7, 1), "u20", 13.7, 30),
        ("rounded", (2, 3), "u62", 0.013, 48),
        ("whole", (3, 2), "u60", 4.0, 53),
    ):
        yield Case(f"rsqrt-{name}", Rsqrt(offset=offset, bits=bits), (tensor(shape, fmt),))


def share_cases() -> Iterator[Case]:
    """Shares by Newton steps of sums of all sizes, and of float32 numbers."""
    one = 1 << 31
    fields = {"out": S8, "zero_point": -128, "quant": Quant((1 / 256,), -128)}
    for name, terms, sums in (
        ("small", 1 << 12, (1, 1 << 9)),
        ("whole", one, (1 << 19, 1 << 24)),
        ("large", one, (1 << 29, one - 1)),
    ):
        types = tensor((20, 2), "u31", codes=(0, terms - 1)), tensor((20, 1), "u31", codes=sums)
        by_steps = Share(division=Division.NEWTON, **fields)
        yield Case(f"share-newton-{name}", by_steps, types)
    bits = 127 << 23
    for name, ends in (
        ("near", (bits, bits + (1 << 24))),
        ("far", (bits - (20 << 23), bits + (9 << 23))),
    ):
        types = tensor((20, 2), "u31", codes=(0, bits)), tensor((20, 1), "u31", codes=ends)
        in_floats = Share(division=Division.FLOAT32, **fields)
        yield Case(f"share-float32-{name}", in_floats, types)
    fields = {"out": Format.int(16), "zero_point": -(1 << 15), "bits": 16}
    for division, most, ends in (
        (Division.NEWTON, one - 1, (1 << 19, 1 << 24)),
        (Division.FLOAT32, bits, (bits, bits + (1 << 24))),
    ):
        types = tensor((20, 2), "u31", codes=(0, most)), tensor((20, 1), "u31", codes=ends)
        op = Share(division=division, **fields)
        yield Case(f"share-{division.value}-16-bit", op, types)


def quotient_cases() -> Iterator[Case]:
    """Quotients of whole numbers in every rounding, and of float32 numbers."""
    for rounding in Rounding:
        op = Quotient(out=U8, factor=6, rounding=rounding)
        types = tensor((64, 1), "u6"), tensor((64, 1), "u5", codes=(1, 31))
        yield Case(f"quotient-{rounding.value}", op, types)
    op = Quotient(out=S8, factor=200, zero_point=-100, quant=Quant((0.005,), -100))
    rows = tensor((9, 2), "u12"), tensor((9, 1), "u16", codes=(900, 40_000))
    yield Case("quotient-rows", op, rows)
    wide = Quotient(out=Format.uint(24), factor=3)
    yield Case("quotient-wide", wide, (tensor((9, 1), "u30"), tensor((9, 1), "u9", codes=(1, 9))))
    one = 0x3F800000
    floats = tensor((16, 2), "u31", codes=(0, one)), tensor((16, 1), "u31", codes=(one, one + 99))
    for factor in (255, 256, 77_777):
        op = Quotient(out=U8, factor=factor, zero_point=3, floats=True)
        yield Case(f"quotient-floats-{factor}", op, floats)
    near = tensor((16, 2), "u31", codes=(one - (9 << 23), one)), floats[1]
    op = Quotient(out=S8, factor=255, zero_point=-128, floats=True)
    yield Case("quotient-floats-near", op, near)


def cast_cases() -> Iterator[Case]:
    """All modes, and formats that meet in every way."""

    def case(name: str, src: str, dst: Format | str, rounding: Rounding, mode: Overflow) -> Case:
        dst = Format.parse(dst) if isinstance(dst, str) else dst
        return Case(
            f"cast-{name}", Cast(out=dst, rounding=rounding, overflow=mode), (tensor(64, src),)
        )

    for rounding in Rounding:
        for mode in Overflow:
            yield case(f"{rounding.value}-{mode.value}", "s6.4", "s3.1", rounding, mode)
    for mode in Overflow:
        yield case(f"to-unsigned-{mode.value}", "s6.4", "u3.2", Rounding.RND, mode)
        yield case(f"from-unsigned-{mode.value}", "u6.4", "s4.2", Rounding.RND_CONV, mode)
        yield case(f"left-{mode.value}", "s6.1", "s5.3", Rounding.TRN, mode)
        yield case(f"one-bit-{mode.value}", "s6.4", "s1", Rounding.RND, mode)
    yield case("same", "s6.2", "s6.2", Rounding.RND_INF, Overflow.SAT)
    yield case("widening", "s6.2", "s12.5", Rounding.RND_INF, Overflow.WRAP)
    yield case("below-the-point", "s6.8", Format(True, -2, 6), Rounding.RND_ZERO, Overflow.SAT)
    yield case("above-the-point", "s6", Format(True, 7, -3), Rounding.RND_CONV, Overflow.SAT)
    yield case("drops-everything", "s6.9", "s4", Rounding.RND_CONV, Overflow.SAT)
    yield case("wide", "s30.20", "s16.9", Rounding.RND_CONV, Overflow.SAT)
    yield case("past-2-to-53", "s58.30", "s16.4", Rounding.RND_INF, Overflow.SAT_ZERO)


def cast_by_channel_cases() -> Iterator[Case]:
    """A format for each channel: other widths, binary points and signs, and none at all."""

    def case(name: str, src: str, *formats: str, **modes: Any) -> Case:
        channels = [Format.parse(f) if f else None for f in formats]
        op = Cast.by_channel(channels, **{"rounding": Rounding.RND_CONV, **modes})
        return Case(f"cast-by-channel-{name}", op, (tensor((12, len(formats)), src),))

    mixed = "s4.2", "u3", "s6.5", "", "s2.-1", "u5.3"
    for mode in Overflow:
        yield case(f"mixed-{mode.value}", "s8.4", *mixed, overflow=mode)
    for rounding in Rounding:
        yield case(f"{rounding.value}", "s8.4", *mixed, rounding=rounding, overflow=Overflow.SAT)
    yield case("unsigned", "u8.4", "u4.2", "u2", "", "u6.6", overflow=Overflow.WRAP)
    yield case("alike", "s8.4", "s4.1", "s4.1", "s4.1", overflow=Overflow.SAT)
    yield case("nothing", "s8.4", "", "", overflow=Overflow.SAT)
    yield case("finer", "s8.1", "s12.5", "s4", overflow=Overflow.SAT)
    yield case("wide", "s50.20", "s40.9", "s16.12", "u3", "s33.1", overflow=Overflow.SAT)


def requantize_cases() -> Iterator[Case]:
    """All schemes, zero points and outputs."""
    sums = tensor((4, 8), "s14", 0)

    def case(name: str, x: TensorType, **fields: Any) -> Case:
        op = Requantize(**({"out": S8, "scheme": Scheme.F32_RNE_OUT} | fields))
        return Case(f"requantize-{name}", op, (x,))

    channels = (0.003, 0.0125, 0.0625, 0.00097, 0.5, 0.01171875, 0.0077, 0.9)
    powers = (0.25, 0.5, 0.125, 2.0, 1.0, 0.0625, 0.03125, 0.25)
    for scheme in Scheme:
        if scheme is Scheme.SHIFT:
            continue
        for zero in (0, -7, 93):
            fields = {"scheme": scheme, "zero_point": zero}
            name = f"{scheme.value}-zero-{zero}"
            yield case(name, sums, multiplier=(0.0171,), **fields)
            yield case(f"{name}-ties", sums, multiplier=(2.0**-5,), **fields)
        name, fields = scheme.value, {"scheme": scheme}
        yield case(f"{name}-channels", sums, multiplier=channels, zero_point=3, **fields)
        yield case(f"{name}-uint8", sums, multiplier=(0.021,), zero_point=113, out=U8, **fields)
        again = channels[:3] * 2 + channels[:2]
        yield case(f"{name}-repeated", sums, multiplier=again, zero_point=-9, **fields)
        yield case(f"{name}-up", tensor((4, 8), "s8", 0), multiplier=(2.7,), **fields)
        yield case(f"{name}-centred", tensor((8, 8), "u8", 77), multiplier=(0.37,), **fields)
        yield case(f"{name}-20-bit", tensor((4, 8), "s20", 0), multiplier=(0.000171,), **fields)
    to16 = {"out": Format.int(16), "multiplier": tuple(2.0**-v for v in (12.17, 11, 11.93, 9.6))}
    yield case("f64_away-16-bit", tensor((4, 4), "s26", 0), scheme=Scheme.F64_AWAY, **to16)
    for scheme in (Scheme.F32_RNE_OUT, Scheme.F32_RNE_IN):
        wide = tensor((4, 8), "s28", 0)
        yield case(f"{scheme.value}-28-bit", wide, multiplier=(7.7e-7,), scheme=scheme)
    for rounding in Rounding:
        shift = {"scheme": Scheme.SHIFT, "rounding": rounding, "zero_point": -3}
        yield case(f"shift-{rounding.value}", sums, multiplier=(2.0**-5,), **shift)
        yield case(f"shift-channels-{rounding.value}", sums, multiplier=powers, **shift)
    for mode in Overflow:
        fields = {"scheme": Scheme.SHIFT, "overflow": mode, "multiplier": (2.0**-4,)}
        yield case(f"shift-{mode.value}", sums, **fields)
        yield case(f"shift-unsigned-{mode.value}", sums, **fields, out=U8, zero_point=101)
    centred = tensor((8, 8), "u8", 77)
    yield case("shift-left", centred, multiplier=(2.0,), scheme=Scheme.SHIFT, input_zero_point=77)
    for scheme in Scheme:
        fields = {"scheme": scheme, "input_zero_point": 77, "zero_point": 5, "multiplier": (0.5,)}
        yield case(f"{scheme.value}-input-zero-point", centred, **fields)
    yield from wide_requantize_cases()


def wide_requantize_cases() -> Iterator[Case]:
    """Sums of more than 32 bits, as int16 codes make them, up to 62."""

    def case(name: str, fmt: str, scheme: Scheme, *multiplier: float, **fields: Any) -> Case:
        op = Requantize(**({"scheme": scheme, "multiplier": multiplier, "out": S8} | fields))
        x, built = tensor((4, 4), fmt, 0), scheme is not Scheme.F64_AWAY
        return Case(f"requantize-{scheme.value}-{name}", op, (x,), built=built)

    s16, s32 = Format.int(16), Format.int(32)
    up = 2.0**-31 * 1.37, 2.0**-20, 2.0**-31 * 1.93, 2.0**-24 * 1.71
    for scheme in (Scheme.F32_RNE_OUT, Scheme.F32_RNE_IN):
        yield case("40-bit", "s40", scheme, 2.0**-25 * 1.37, out=s16, zero_point=-9)
        yield case("62-bit", "s62", scheme, 2.0**-54 * 1.37, zero_point=3)
        yield case("62-bit-tiny", "s62", scheme, 2.0**-80)
        yield case("62-bit-channels", "s62", scheme, *(2.0**-16 * v for v in up), out=s16)
    yield case("40-bit", "s40", Scheme.SINGLE, 2.0**-25 * 1.37, out=s16, zero_point=-9)
    yield case("62-bit", "s62", Scheme.SINGLE, 2.0**-31 * 1.37, out=s32)
    yield case("62-bit-channels", "s62", Scheme.SINGLE, *up, out=s32, zero_point=77)
    yield case("62-bit-up", "s62", Scheme.SINGLE, 6.7, out=Format.int(48))
    yield case("48-bit", "s48", Scheme.F64_AWAY, 2.0**-31 * 1.37, zero_point=5)
    yield case("48-bit-channels", "s48", Scheme.F64_AWAY, *(2.0**-1 * v for v in up), out=s16)
    yield case("48-bit", "s48", Scheme.REDUCED, 2.0**-31 * 1.37, out=s16, zero_point=5)
    yield case("48-bit-channels", "s48", Scheme.REDUCED, *(2.0**-1 * v for v in up), out=s16)
    shift: dict[str, Any] = {"rounding": Rounding.RND_CONV, "out": s16, "zero_point": -9}
    yield case("62-bit", "s62", Scheme.SHIFT, 2.0**-47, **shift)
    yield case(
        "62-bit-channels", "s62", Scheme.SHIFT, *(2.0**-k for k in (46, 47, 61, 63)), **shift
    )


def pointwise_cases() -> Iterator[Case]:
    """Relu, table, adds, batch norm."""
    x = tensor(256)
    yield Case("relu-plain", Relu(), (x,))
    yield Case("relu-clipped", Relu(maximum=96), (x,))
    yield Case("relu-zero-point", Relu(zero_point=-13, maximum=77), (tensor(256, "s8", -13),))
    yield Case("relu-unsigned", Relu(zero_point=130), (tensor(256, "u8", 130),))
    sigmoid = np.round(255 / (1 + np.exp(-np.arange(-128, 128) / 20))).astype(int)
    yield Case("table-sigmoid", Table(values=sigmoid, out=U8), (x,))
    square = np.arange(16) ** 2 - 100
    yield Case("table-unsigned", Table(values=square, out=Format.int(9)), (tensor(16, "u4"),))
    few = Table(values=np.arange(-8, 8) * 3, out=Format.int(6))
    yield Case("table-narrow-range", few, (tensor(16, "s4", codes=(-3, 5)),))
    yield from ranged_table_cases()
    yield Case("add-plain", Add(), (tensor(64), tensor(64)))
    yield Case("add-aligned", Add(), (tensor((4, 9), "s8.5"), tensor((4, 9), "u6.1")))
    yield Case("add-one-scale", Add(), (tensor(9, "s12", 0), tensor(9, "s8", 0)))
    yield Case("add-of-zeros", Add(), (tensor(5, "s8.40"), tensor(5, "s4", codes=(0, 0))))
    yield Case("add-wide", Add(), (tensor(5, "s40.2"), tensor(5, "s30.4")))
    yield Case("sub-plain", Sub(), (tensor(64), tensor(64)))
    yield Case("sub-aligned", Sub(), (tensor((4, 9), "s8.5"), tensor((4, 9), "u6.1")))
    yield Case("sub-unsigned", Sub(), (tensor(9, "u4", 0), tensor(9, "u8", 0, codes=(3, 99))))
    yield Case("sub-zero-points", Sub(), (tensor(9, "u8", 77), tensor(9, "u8", 77, (5, 200))))
    yield Case("sub-broadcast", Sub(), (tensor(6, "u3"), tensor((2, 6), "s5.2")))
    yield from choice_cases()
    yield from constant_cases()
    yield from two_code_cases()
    yield from mul_cases()
    yield from matmul_cases()
    yield from scaled_add_cases()
    yield from broadcast_cases()
    data = {"scale": np.array([7, -16, 3, 0]), "bias": np.array([5, -300, 999, 1])}
    norm = BatchNorm(**data, scale_format=Format.parse("s5.3"), bias_frac=6)
    yield Case("batchnorm-plain", norm, (tensor((8, 4), "s8.4"),))
    fine = BatchNorm(**data, scale_format=Format.parse("s5.1"), bias_frac=11)
    yield Case("batchnorm-fine-bias", fine, (tensor((8, 4), "s8.2"),))
    factors, offsets = (1 << 25, 40_000_001, 3, 77), (5, -(1 << 31), 9, 0)
    wide = {"scale": np.array(factors), "bias": np.array(offsets)}
    scaled = BatchNorm(**wide, scale_format=Format.int(32), quant=Quant((0.25,)))
    yield Case("batchnorm-scaled", scaled, (tensor((8, 4), "s16", 0),))


BROADCAST: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "channels": ((3, 4, 6), (6,)),
    "one-number": ((1,), (5, 6)),
    "positions": ((3, 4, 6), (3, 4, 1)),
    "rows": ((3, 1, 4), (3, 5, 4)),
    "both": ((3, 1, 4), (5, 4)),
    "crossed": ((2, 1, 3, 4), (5, 1, 4)),
}


def broadcast_cases() -> Iterator[Case]:
    """Pairs of tensors of unlike shapes."""
    scaled = ScaledAdd(ratios=(0.5, 0.25), offset=1.0, out=S8)
    for name, (a, b) in BROADCAST.items():
        yield Case(f"add-broadcast-{name}", Add(), (tensor(a, "s6.3"), tensor(b, "u4.1")))
    for name in ("channels", "positions"):
        a, b = BROADCAST[name]
        types = tensor(a, "s8", 3), tensor(b, "s8", -5)
        yield Case(f"scaledadd-broadcast-{name}", scaled, types)


def choice_cases() -> Iterator[Case]:
    """The larger and the smaller of two codes: of one format or two, one scale, broadcast."""
    channels, crossed = BROADCAST["channels"], BROADCAST["crossed"]
    for op in (Maximum(), Minimum()):
        plain = tensor((2, 64), "s8", codes=(-128, 127)), tensor((2, 64), "s8", codes=(-128, 127))
        yield Case(f"{op.kind}-plain", op, plain)
        yield Case(f"{op.kind}-aligned", op, (tensor((4, 9), "s8.5"), tensor((4, 9), "u6.1")))
        yield Case(f"{op.kind}-zero-point", op, (tensor(64, "u8", 131), tensor(64, "u8", 131)))
        types = tensor(40, "s12", 0, codes=(-900, -5)), tensor(40, "s8", 0)
        yield Case(f"{op.kind}-one-scale", op, types)
        yield Case(f"{op.kind}-of-zeros", op, (tensor(40, "s8.40"), tensor(40, "s4", codes=(0, 0))))
        yield Case(f"{op.kind}-wide", op, (tensor(40, "s40.2"), tensor(40, "u30.4")))
        for name, (a, b) in {"channels": channels, "crossed": crossed}.items():
            types = tensor(a, "s6.3"), tensor(b, "u4.1")
            yield Case(f"{op.kind}-broadcast-{name}", op, types)


def constant_cases() -> Iterator[Case]:
    """Constants as edges, one for all, one a channel, a row, a position, or each its own."""
    shapes = {
        "one": (),
        "channels": (6,),
        "positions": (3, 4, 1),
        "rows": (3, 1, 1),
        "all": (3, 4, 6),
    }
    for name, shape in shapes.items():
        values = (np.arange(np.prod(shape, dtype=int)) * 37 % 201 - 100).reshape(shape)
        op = Literal(values=values, out=S8, quant=Quant((0.5,), 3))
        yield Case(f"literal-{name}", op, (tensor((3, 4, 6), "u4"),))
    periodic = Literal(values=np.arange(24).reshape(4, 6) * 9, out=U8)
    yield Case("literal-repeated-rows", periodic, (tensor((3, 4, 6), "s8"),))
    wide = Literal(values=np.arange(40) * 10**9, out=Format.parse("s40.4"))
    yield Case("literal-wide", wide, (tensor(40, "s8"),))


def two_code_cases() -> Iterator[Case]:
    """Functions of a code and its channel, and of two codes."""
    values = (np.arange(6 * 256).reshape(6, 256) * 41 + 7) % 255 - 127
    by_channel = ChannelTable(values=values, out=S8, first=-128)
    yield Case("channeltable-all", by_channel, (tensor((3, 4, 6), "s8"),))
    few = ChannelTable(values=values[:4, :21], out=S8, first=-5, quant=Quant((0.25,), 1))
    yield Case("channeltable-few", few, (tensor((9, 4), "s16", codes=(-3, 15)),))
    one = ChannelTable(values=values[:1, :16], out=S8, first=0)
    yield Case("channeltable-one-channel", one, (tensor((40, 1), "u4"),))
    grid = (np.arange(16)[:, None] * 13 + np.arange(32) * 5) % 100
    table = PairTable(values=grid, out=U8, quant=Quant((0.1,), 9))
    yield Case("pairtable-plain", table, (tensor((2, 20), "s4"), tensor((2, 20), "u5")))
    plane = np.rint(np.arange(256)[:, None] * 0.381 + np.arange(256) * 0.633 - 20.3).astype(int)
    summed = PairTable(values=np.clip(plane, 3, 200), out=U8)
    yield Case("pairtable-sum", summed, (tensor((8, 32), "u8"), tensor((8, 32), "s8")))
    turned = PairTable(values=grid.T, out=U8)
    yield Case(
        "pairtable-broadcast", turned, (tensor((3, 4, 6), "s5"), tensor((6,), "s4", codes=(-7, 2)))
    )


def ranged_table_cases() -> Iterator[Case]:
    """Tables of the codes that can occur, in formats that have many more."""

    def case(name: str, fmt: str, first: int, count: int, lo: int, hi: int) -> Case:
        values = (np.arange(count) * 37 + 11) % 255 - 127
        op = Table(values=values, out=S8, first=first)
        return Case(f"table-{name}", op, (tensor(hi - lo + 1, fmt, codes=(lo, hi)),))

    yield case("range-across-zero", "s16", -40, 97, -40, 56)
    yield case("range-below-zero", "s24", -1000, 100, -1000, -901)
    yield case("range-above-zero", "u16", 65_500, 36, 65_500, 65_535)
    yield case("range-wider-than-met", "s16.4", -128, 256, -100, 99)
    yield case("range-of-one", "s16", 7, 1, 7, 7)
    whole = Table(values=np.arange(-8, 8) * 3, out=Format.int(6), first=-8)
    yield Case("table-range-of-all", whole, (tensor(16, "s4"),))


def mul_cases() -> Iterator[Case]:
    """Products of codes, of few bits and of many."""
    yield Case("mul-plain", Mul(), (tensor(64), tensor(64)))
    yield Case("mul-fraction", Mul(), (tensor((4, 9), "s6.3"), tensor((4, 9), "u5.1")))
    yield Case("mul-one-bit", Mul(), (tensor(6, "u1"), tensor(6, "s8")))
    yield Case("mul-wide", Mul(), (tensor(5, "s20"), tensor(5, "u19")))
    types = tensor((2, 32), "u8", 131), tensor((2, 32), "s8", -5, codes=(-70, 90))
    yield Case("mul-zero-points", Mul(zero_points=(131, -5), quant=Quant((0.0025,))), types)
    for name in ("channels", "positions", "both"):
        a, b = BROADCAST[name]
        yield Case(f"mul-broadcast-{name}", Mul(), (tensor(a, "s6"), tensor(b, "u4")))


def matmul_cases() -> Iterator[Case]:
    """Products of two computed matrices, alone, in batches and broadcast."""

    def case(name: str, a: TensorType, b: TensorType, built: bool = True, **fields: Any) -> Case:
        return Case(f"matmul-{name}", MatMul(**fields), (a, b), built)

    yield case("plain", tensor((3, 4)), tensor((4, 5)))
    yield case("one-row", tensor((1, 6), "s5.2"), tensor((6, 3), "u4.1"))
    yield case("one-term", tensor((4, 1), "u8"), tensor((1, 3), "s6"))
    yield case("heads", tensor((2, 3, 4), "s6"), tensor((2, 4, 3), "s6"))
    yield case("broadcast", tensor((2, 1, 3, 4), "s6"), tensor((3, 4, 2), "s6"), built=False)
    types = tensor((2, 3, 5), "u8", 131), tensor((2, 5, 4), "s8", -5, codes=(-70, 90))
    yield case("zero-points", *types, zero_points=(131, -5), quant=Quant((0.0025,)))
    yield case("wide", tensor((2, 3), "s24"), tensor((3, 2), "s28"))


def scaled_add_cases() -> Iterator[Case]:
    """The float32 sum of ONNX Runtime, of int8 and uint8 codes."""

    def case(name: str, fmt: str, ratios: tuple[float, float], zeros: tuple[int, int, int]) -> Case:
        ra, rb = (float(np.float32(r)) for r in ratios)
        za, zb, zo = zeros
        moved = 0 if fmt[0] == "u" else 128
        offset = np.float32(zo + moved) - np.float32(ra) * np.float32(za + moved)
        offset = float(np.float32(offset - np.float32(rb) * np.float32(zb + moved)))
        op = ScaledAdd(
            ratios=(ra, rb), offset=offset, out=Format.parse(fmt), shifts=(moved, moved, moved)
        )
        return Case(f"scaledadd-{name}", op, (tensor(64, fmt, za), tensor(64, fmt, zb)))

    yield case("int8", "s8", (0.53, 1.17), (-3, 9, 5))
    yield case("uint8", "u8", (0.53, 1.17), (120, 9, 50))
    yield case("ties", "s8", (0.5, 0.25), (1, 2, 7))
    yield case("narrow", "s4", (0.71, 0.3), (1, 2, -3))
    yield case("difference", "s8", (0.53, -1.17), (-3, 9, 5))
    stepped = ScaledAdd(
        ratios=(0.0625, -0.05859375), offset=0.0, out=U8, shifts=(-3, -9, -77), divisor=0.0625
    )
    yield Case("scaledadd-stepped-difference", stepped, (tensor(64, "s8", 3), tensor(64, "s8", 9)))


def thresholds_cases() -> Iterator[Case]:
    """Steps up and down, one row for all channels or one each, few thresholds and many."""

    def case(name: str, x: TensorType, values: Any, **fields: Any) -> Case:
        given: dict[str, Any] = {"base": 0, "step": 1, "out": S8} | fields
        ends = {key: np.atleast_1d(np.asarray(given.pop(key))) for key in ("base", "step")}
        op = Thresholds(values=np.atleast_2d(np.asarray(values)), **ends, **given)
        return Case(f"thresholds-{name}", op, (x,))

    def rows(count: int, each: int, lo: int, hi: int) -> Codes:
        rng = np.random.default_rng([count, each])
        return np.sort(rng.integers(lo, hi + 1, (count, each)), axis=1)

    x, sums = tensor((9, 6)), tensor((12, 6), "s14", 0)
    yield case("one-row", tensor(256), [-100, -7, 0, 1, 99], out=Format.uint(3))
    yield case("channels", sums, rows(6, 7, -7000, 7000), out=Format.uint(3))
    yield case("falling", sums, rows(6, 7, -7000, 7000), base=7, step=-1, out=Format.uint(3))
    yield case("both-ways", x, rows(6, 3, -128, 127), base=[0, 3, 0, 3, 9, -5], step=[1, -1] * 3)
    yield case("sign", x, rows(6, 1, -128, 127), base=-1, step=2, out=Format.int(2))
    yield case("one-threshold", tensor(64, "s6"), [3], out=Format.uint(1))
    yield case("jumps", x, np.repeat(rows(6, 3, -128, 127), 3, axis=1), out=Format.uint(4))
    yield case("constant", x, rows(6, 3, -128, 127), base=[1, 2, 3, 4, 5, 6], step=0)
    yield case("never-reached", x, [-999, -129, -128, 127, 128, 999], quant=Quant((0.5,), 3))
    yield case("unsigned", tensor((8, 6), "u8", 131), rows(6, 5, 0, 255), base=-3)
    yield case("narrow-range", tensor((8, 6), codes=(-3, 90)), rows(6, 5, -128, 127))
    yield case("row-with-bases", x, [-50, 4, 60], base=[0, 1, 2, 3, 4, 5], step=[1, 1, 2, 2, 3, -1])
    yield case("many", sums, rows(6, 255, -9000, 9000), base=-128)
    yield case("many-of-few-codes", x, rows(6, 31, -128, 127), base=[0, 9, 3, 1, 2, 5], step=-2)
    yield case("many-in-one-row", sums, rows(1, 63, -8192, 8191), out=Format.uint(6))
    yield case("many-falling", sums, rows(6, 31, -8192, 8191), base=99, step=-4)
    line = np.arange(-100, 100) * 61 + np.arange(6)[:, None] * 13 // 5
    yield case("line", sums, line, base=-100)
    beside = line + np.isin(np.arange(200), (9, 77, 150)) - (np.arange(200) == 33 + line[:, :1] % 7)
    yield case("beside-a-line", sums, beside, base=-100)
    yield case("line-in-one-row", sums, beside[3], base=-100)
    yield case("wide", tensor((4, 6), "s40"), rows(6, 20, -(1 << 39), 1 << 39))
    yield case("wider", tensor((4, 6), "s60"), rows(6, 20, -(1 << 59), 1 << 59))


def chosen_thresholds_cases() -> Iterator[Case]:
    """Rows up and down, of few thresholds and many, chosen by codes of another tensor."""

    def case(name: str, a: TensorType, b: TensorType, count: int, **fields: Any) -> Case:
        rng, rows = np.random.default_rng([count, a.format.width]), 1 << a.format.width
        values = np.sort(rng.integers(b.lo, b.hi + 1, (rows, count)), axis=1)
        given = {"base": rng.integers(-9, 9, rows), "step": rng.integers(-1, 2, rows)} | fields
        op = ChosenThresholds(values=values, out=Format.int(10), **given)
        return Case(f"chosenthresholds-{name}", op, (a, b))

    sums = tensor((9, 1), "s20", 0)
    yield case("few", tensor((9, 6), "u4"), tensor((9, 6), "s14", 0), 3)
    yield case("many", tensor((9, 6), "s4"), sums, 255, base=np.zeros(16, np.int64))
    falling = {"base": np.full(16, 7), "step": np.full(16, -1)}
    yield case("falling", tensor((5, 1), "s4"), tensor((5, 6), "u9"), 7, **falling)
    yield case("wide", tensor((4, 6), "s5"), tensor((4, 6), "s40"), 20)
    yield case("one", tensor((6,), "u3", codes=(1, 5)), tensor((4, 6), "s9", codes=(-30, 99)), 1)


def moving_cases() -> Iterator[Case]:
    """Operators that move codes, and the index of the largest."""
    x = tensor((3, 4, 2))
    yield Case("flatten", Flatten(), (x,))
    yield Case("reshape-down", Reshape(shape=(6, 4)), (x,))
    yield Case("reshape-up", Reshape(shape=(2, 2, 6)), (tensor(24),))
    yield Case("transpose-channels-first", Transpose(axes=(2, 0, 1)), (x,))
    yield Case("transpose-matrix", Transpose(axes=(1, 0)), (tensor((3, 5)),))
    yield Case("transpose-nothing", Transpose(axes=(0, 1, 2)), (x,))
    yield Case("concat-two", Concat(), (x, tensor((3, 4, 3))))
    yield Case("concat-three", Concat(), (tensor(4), tensor(2, codes=(0, 5)), tensor(4)))
    yield Case("concat-one", Concat(), (tensor(4),))
    yield Case("concat-rows", Concat(axis=0), (x, tensor((1, 4, 2), codes=(-9, 3)), x))
    yield Case("concat-columns", Concat(axis=1), (tensor((3, 2, 4)), tensor((3, 1, 4))))
    yield Case("concat-last", Concat(axis=1), (tensor((3, 2)), tensor((3, 4))))
    yield Case("split-channels", Split(axis=2, sizes=(2, 4)), (tensor((3, 4, 6)),))
    yield Case("split-vector", Split(axis=0, sizes=(1, 4, 2)), (tensor(7, "u8", 9),))
    yield Case("split-rows", Split(axis=0, sizes=(1, 2)), (tensor((3, 2, 4)),))
    yield Case("split-columns", Split(axis=1, sizes=(3, 1)), (tensor((2, 4, 2)),))
    yield Case("split-one", Split(axis=0, sizes=(5,)), (tensor(5),))
    yield Case("argmax-vector", ArgMax(), (tensor(10),))
    yield Case("argmax-ties", ArgMax(), (tensor((16, 5), "s2"),))
    yield Case("argmax-map", ArgMax(), (tensor((3, 2, 7), "u8"),))
    yield Case("argmax-one", ArgMax(), (tensor((4, 1)),))


def select_cases() -> Iterator[Case]:
    """Indices of an axis: fewer, more, and in other orders."""

    def case(name: str, x: TensorType, axis: int, indices: Iterable[int]) -> Case:
        return Case(f"select-{name}", Select(axis=axis, indices=tuple(indices)), (x,))

    x, line = tensor((4, 5, 6)), tensor(12, "u4")
    yield case("crop-rows", x, 0, (1, 2))
    yield case("crop-columns", x, 1, (1, 2, 3))
    yield case("crop-channels", x, 2, (2, 3))
    yield case("every-second-column", x, 1, (0, 2, 4))
    yield case("every-third-channel", x, 2, (1, 4))
    yield case("blocks-of-channels", x, 2, (0, 1, 4, 5))
    yield case("one-row", x, 0, (3,))
    yield case("one-code", line, 0, (7,))
    yield case("all", line, 0, range(12))
    yield case("twice-rows", x, 0, (0, 0, 1, 1, 2, 2, 3, 3))
    yield case("twice-columns", x, 1, (0, 0, 1, 1, 2, 2, 3, 3, 4, 4))
    yield case("twice-channels", tensor((2, 3)), 1, (0, 0, 1, 1, 2, 2))
    yield case("uneven-rows", x, 0, (0, 0, 0, 2, 3, 3))
    yield case("uneven-columns", x, 1, (1, 1, 2, 4, 4, 4))
    yield case("uneven-codes", line, 0, (0, 3, 3, 4, 11, 11, 11))
    yield case("rows-end-early", tensor((5, 2, 2)), 0, (1, 1, 2))
    yield case("line-of-one-row", tensor((1, 4)), 0, (0, 0, 0))
    yield case("reversed-rows", x, 0, (3, 2, 1, 0))
    yield case("reversed-channels", x, 2, (5, 4, 3, 2, 1, 0))
    yield case("backwards-by-two", line, 0, (11, 9, 7))
    yield case("tiled-columns", tensor((2, 3, 2)), 1, (0, 1, 2, 0, 1, 2))
    yield case("tiled-channels", tensor((3, 4)), 1, (0, 1, 2, 3) * 3)
    yield case("reflected", tensor((5, 2)), 0, (2, 1, 0, 1, 2, 3, 4, 3))
    yield case("any-order", line, 0, (5, 0, 0, 11, 3, 4, 4, 1))
    yield case("shuffled-pixels", tensor((2, 2, 4), "s6.2"), 1, (1, 0))
    scaled = TensorType((3, 4), S8, Quant((0.1, 0.2, 0.3, 0.4), 5))
    yield case("scales", scaled, 1, (3, 3, 0))


def pad_cases() -> Iterator[Case]:
    """A code around a tensor and between its codes."""

    def case(name: str, x: TensorType, **fields: Any) -> Case:
        return Case(f"pad-{name}", Pad(**fields), (x,))

    x = tensor((3, 4, 2))
    yield case("map", x, before=(1, 2, 0), after=(1, 1, 0))
    yield case("after", x, after=(2, 0, 0), code=-128)
    yield case("channels", x, before=(0, 0, 1), after=(0, 0, 2), code=7)
    yield case("pairs-of-channels", tensor((2, 4)), before=(0, 2), after=(1, 4), code=7)
    yield case("between", x, between=(1, 2, 0))
    yield case("between-and-around", x, before=(2, 1, 0), after=(1, 0, 0), between=(1, 1, 0))
    yield case("between-channels", tensor((2, 3)), between=(0, 2), code=-3)
    yield case("line", tensor(5, "u4"), before=(3,), after=(2,), code=15)
    yield case("zero-point", tensor((2, 3), "u8", 131), before=(1, 0), code=131)
    yield case("past-range", tensor(6, codes=(3, 90)), before=(1,), code=-20)
    yield case("nothing", tensor((2, 3)))
    yield case("one-code", tensor(1), before=(2,), after=(2,), between=(7,))
    scaled = TensorType((3, 2), S8, Quant((0.1, 0.2), 5))
    yield case("scales", scaled, before=(1, 0), code=5)


FAMILIES: tuple[Callable[[], Iterator[Case]], ...] = (
    dense_cases,
    encoded_cases,
    stepwise_cases,
    conv_cases,
    pool_cases,
    reduce_cases,
    float_cases,
    line_cases,
    rank_cases,
    cast_cases,
    cast_by_channel_cases,
    requantize_cases,
    pointwise_cases,
    chosen_thresholds_cases,
    thresholds_cases,
    moving_cases,
    select_cases,
    pad_cases,
)
CASES: list[Case] = [case for family in FAMILIES for case in family()]
BUILT: list[Case] = [case for case in CASES if case.built]


def inexact(case: Case) -> bool:
    """Whether the case's accumulator has a format and steps."""
    return getattr(case.op, "accumulator", EXACT) != EXACT
