"""Random networks over the operators of the catalogue: maps, lines, vectors, branches that meet."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from hwsim.fixed import Format, Overflow, Rounding
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import (
    Accumulator,
    Add,
    ArgMax,
    AvgPool,
    BatchNorm,
    Cast,
    ChannelTable,
    ChosenThresholds,
    Concat,
    Conv1D,
    Conv2D,
    Dense,
    Divide,
    Division,
    Exact,
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
from hwsim.ops.floats import BITS, patterns
from hwsim.ops.share import SUM_FRACTION
from rtl.layers.table import HARDWARE

MODES = [r for r in Rounding if r not in (Rounding.CEIL, Rounding.UP)]
WIDEST = 8  # bits of a code between two steps
LARGEST = 120  # codes of a tensor


class Mixed:
    """A graph that grows by steps; each keeps tensors small and codes narrow."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        shapes = [(4, 4, 2), (5, 3, 1), (6, 3), (7, 2), (6,), (3, 2, 4)]
        shape = shapes[self.below(len(shapes))]
        self.port = InputPort(name="x", tensor="x", type=TensorType(shape, self.format()))
        self.nodes: list[Node] = []
        self.types = {"x": self.port.type}
        self.edge = "x"
        self.older: list[str] = []

    # Choices ---------------------------------------------------------------------------------

    def below(self, end: int) -> int:
        """A number from 0 to end - 1."""
        return int(self.rng.integers(end))

    def one_of(self, *things: object) -> object:
        """One of them."""
        return things[self.below(len(things))]

    def format(self, most: int = WIDEST, *, least: int = 3) -> Format:
        """Any signed one of so many bits."""
        width = least + self.below(most - least + 1)
        integer = 1 + self.below(width)
        return Format(True, integer, width - integer)

    def modes(self) -> dict[str, object]:
        """Any rounding and overflow."""
        overflow = list(Overflow)[self.below(len(Overflow))]
        return {"rounding": MODES[self.below(len(MODES))], "overflow": overflow}

    @property
    def x(self) -> TensorType:
        """What the next step reads."""
        return self.types[self.edge]

    # Growth ----------------------------------------------------------------------------------

    def emit(self, op: Op, *edges: str) -> str:
        """A node of one output on these edges, or on the last one."""
        return self.emit_all(op, *edges)[0]

    def emit_all(self, op: Op, *edges: str) -> list[str]:
        """A node, its outputs named after it."""
        used = edges or (self.edge,)
        kinds = op.output_types([self.types[edge] for edge in used])
        name = f"n{len(self.nodes)}"
        made = [name] if len(kinds) == 1 else [f"{name}_{k}" for k in range(len(kinds))]
        self.nodes.append(Node(name, op, used, made))
        self.types.update(zip(made, kinds, strict=True))
        return made

    def then(self, op: Op) -> None:
        """A node behind the last edge."""
        self.edge = self.emit(op)

    def narrow(self) -> None:
        """Few bits again, by one of the operators that do it."""
        x = self.x
        scheme = self.one_of(*Scheme)
        kind = self.below(4)
        if kind == 0 and x.format.frac_bits == 0 and x.format.width <= 24:
            out, power = Format.int(6), 2.0 ** -max(x.format.width - 6, 0)
            factor = power if scheme is Scheme.SHIFT else power * float(self.rng.uniform(0.6, 1))
            self.then(Requantize(scheme=scheme, multiplier=(factor,), out=out))
        elif kind == 1 and x.format.width <= 20 and Thresholds in HARDWARE:
            rows = self.one_of(1, x.channels)
            ends = self.rng.integers(x.lo - 1, x.hi + 2, (rows, 7))
            step = self.rng.choice([-1, 1, 2], rows)
            base = np.where(step < 0, 3, -4)
            values = np.sort(ends, axis=1)
            self.then(Thresholds(values=values, base=base, step=step, out=Format.int(5)))
        else:
            self.then(Cast(out=self.format(7), **self.modes()))

    def step(self) -> None:
        """One of the steps that suit the last edge."""
        self.older.append(self.edge)
        steps = [
            step for step, suits, needed in STEPS if suits(self.x) and HARDWARE.keys() >= needed
        ]
        steps[self.below(len(steps))](self)
        if self.x.format.width > WIDEST:
            self.narrow()

    def graph(self) -> Graph:
        """What there is, with the last edge for its output."""
        used = {edge for node in self.nodes for edge in node.inputs}
        ends = [e for node in self.nodes for e in node.outputs if e not in used]
        outputs = tuple(OutputPort(name=f"y{k}", tensor=edge) for k, edge in enumerate(ends))
        return Graph((self.port,), tuple(self.nodes), outputs)


# Steps -------------------------------------------------------------------------------------------


def sums(net: Mixed) -> None:
    """A dense layer, or a convolution along one axis or two, with or without groups."""
    rank, channels = len(net.x.shape), net.x.channels
    if rank == 1 or min(net.x.shape[:-1]) == 1 or net.below(4) == 0:
        if rank > 1:
            net.then(Flatten())
        terms = net.x.channels
        net.then(Dense(**constants(net, terms, terms, 1 + net.below(5))))
        return
    grouped = net.below(3) == 0
    groups, inputs = (channels, 1) if grouped else (1, channels)
    outputs = channels if grouped else 1 + net.below(4)
    kernel = (2,) * (rank - 1)
    pads = net.below(2)
    window = Window(kernel, (1 + net.below(2),) * (rank - 1), (pads,) * (2 * (rank - 1)))
    kind = Conv2D if rank == 3 else Conv1D
    given = constants(net, prod(kernel) * inputs, *kernel, inputs, outputs)
    net.then(kind(**given, window=window, groups=groups))


def constants(net: Mixed, terms: int, *shape: int) -> dict[str, object]:
    """Weights, a bias, and now and then an accumulator that rounds or overflows."""
    fmt = net.format(5)
    found: dict[str, object] = {
        "weights": net.rng.integers(fmt.min, fmt.max + 1, shape),
        "weight_format": fmt,
        "bias": net.rng.integers(-20, 20, shape[-1]),
        "bias_frac": net.below(5),
    }
    if net.below(3) == 0:
        order = tuple(map(int, net.rng.permutation(terms))) if net.below(2) else None
        found["accumulator"] = Stepwise(format=net.format(11), order=order, **net.modes())
    return found


def pool(net: Mixed) -> None:
    """A max pool, or an average and its division."""
    rank = len(net.x.shape) - 1
    window = Window((2,) * rank, (1 + net.below(2),) * rank)
    if net.below(2):
        net.then(MaxPool(window=window))
        return
    net.then(AvgPool(window=window))
    net.then(Divide(divisors=np.array([2**rank])))


def each_code(net: Mixed) -> None:
    """A table, a ReLU, a factor a channel."""
    kind, x, out = net.below(4), net.x, net.format(7)
    if kind == 0 and x.format.width <= WIDEST:
        values = net.rng.integers(out.min, out.max + 1, 1 << x.format.width)
        net.then(Table(values=values, out=out))
    elif kind == 3:
        values = net.rng.integers(out.min, out.max + 1, (x.channels, x.hi - x.lo + 1))
        net.then(ChannelTable(values=values, out=out, first=x.lo))
    elif kind == 1:
        net.then(Relu(maximum=int(net.one_of(x.format.max, max(x.format.max // 2, 0)))))
    else:
        scale, bias = (net.rng.integers(-8, 8, x.channels) for _ in range(2))
        net.then(BatchNorm(scale=scale, bias=bias, scale_format=Format(True, 2, 2), bias_frac=3))


def moved(net: Mixed) -> None:
    """The same codes elsewhere, fewer of them, some twice, or some around them."""
    shape, kind = net.x.shape, net.below(6)
    axis = net.below(len(shape))
    if kind == 0:
        net.then(Transpose(axes=tuple(map(int, net.rng.permutation(len(shape))))))
    elif kind == 1:
        net.then(Reshape(shape=(prod(shape),) if net.below(2) else (1, prod(shape))))
    elif kind == 2:
        count = 1 + net.below(shape[axis] + 1)
        indices = np.sort(net.rng.integers(0, shape[axis], count))
        net.then(Select(axis=axis, indices=tuple(map(int, indices))))
    elif kind == 3 and net.x.size < LARGEST // 3:
        ends = [tuple(int(k == axis) * net.below(2) for k in range(len(shape))) for _ in range(3)]
        net.then(Pad(before=ends[0], after=ends[1], between=ends[2], code=net.x.lo))
    elif shape[axis] > 1:
        size = 1 + net.below(shape[axis] - 1)
        parts = net.emit_all(Split(axis=axis, sizes=(size, shape[axis] - size)))
        net.edge = net.emit(Concat(axis=axis if axis < len(shape) - 1 else -1), *reversed(parts))


def reduced(net: Mixed) -> None:
    """The largest, the smallest or the sum along an axis, which meets the codes again."""
    axis = net.below(len(net.x.shape))
    way = net.one_of(Reduction.MAX, Reduction.MIN, Reduction.SUM)
    less = net.emit(Reduce(reduction=way, axes=(axis,)))
    if net.below(3) == 0:
        net.edge = less
    else:
        net.edge = net.emit(net.one_of(Add(), Sub(), Mul(), Maximum(), Minimum()), net.edge, less)


def met(net: Mixed) -> None:
    """A branch of two steps meets what it started from, or one older edge of the same shape."""
    start, op = net.edge, net.one_of(Add(), Sub(), Mul(), Maximum(), Minimum())
    same = [edge for edge in net.older[:-1] if net.types[edge].shape == net.x.shape]
    other = same[net.below(len(same))] if same and net.below(2) else None
    if other is None and net.below(3) == 0:
        out = net.format(6)
        shape = net.x.shape if net.below(2) else net.x.shape[-1:]
        values = net.rng.integers(out.min, out.max + 1, shape)
        other = net.emit(Literal(values=values, out=out))
    elif other is None:
        net.narrow()
        net.then(Relu())
        other, net.edge = net.edge, start
    kinds = [net.types[edge].format for edge in (start, other)]
    if net.below(4) == 0 and sum(fmt.width for fmt in kinds) <= 10:
        out = net.format(6)
        values = net.rng.integers(out.min, out.max + 1, [1 << fmt.width for fmt in kinds])
        op = PairTable(values=values, out=out)
    elif net.below(4) == 0 and kinds[0].width <= 6:
        rows, codes = 1 << kinds[0].width, net.types[other]
        values = np.sort(net.rng.integers(codes.lo, codes.hi + 1, (rows, 6)), axis=1)
        base, step = net.rng.integers(-9, 9, rows), net.rng.integers(-1, 2, rows)
        op = ChosenThresholds(values=values, base=base, step=step, out=Format.int(6))
    elif net.below(4) == 0 and max(fmt.width for fmt in kinds) <= 8:
        ratios = tuple(float(np.float32(r)) for r in net.rng.uniform(0.2, 0.9, 2))
        op = ScaledAdd(ratios=ratios, offset=0.5, out=Format.int(6))
    net.edge = net.emit(op, start, other)


def softmax(net: Mixed) -> None:
    """Codes less the largest, an exponential, each times a function of their sum."""
    axis = len(net.x.shape) - 1
    top = net.emit(Reduce(reduction=Reduction.MAX, axes=(axis,)))
    net.edge = net.emit(Sub(), top, net.edge)
    net.then(Cast(out=Format(False, 6, 0), rounding=Rounding.TRN, overflow=Overflow.SAT))
    table = np.rint(31 * np.exp(-np.arange(64) / 8)).astype(int)
    net.then(Table(values=table, out=Format.uint(5)))
    total = net.emit(Reduce(reduction=Reduction.SUM, axes=(axis,)))
    first = net.types[total].lo
    entries = 255 // np.maximum(np.arange(first, net.types[total].hi + 1), 1)
    inverse = net.emit(Table(values=entries, out=Format.uint(8), first=first), total)
    net.edge = net.emit(Mul(), net.edge, inverse)


def shares(net: Mixed) -> None:
    """Each code's share of the sum of all along the channels, in whole numbers."""
    net.then(Cast(out=Format(False, 6, 0), rounding=Rounding.TRN, overflow=Overflow.SAT))
    total = net.emit(Reduce(reduction=Reduction.SUM, axes=(len(net.x.shape) - 1,)))
    one = net.emit(Literal(values=np.array(1), out=Format.uint(1)), total)
    below = net.emit(Add(), total, one)
    net.edge = net.emit(Quotient(out=Format.uint(6), factor=63), net.edge, below)


def fractions(net: Mixed) -> None:
    """A softmax as TensorFlow Lite's kernels have it: gemmlowp's, or in float32."""
    axis = len(net.x.shape) - 1
    top = net.emit(Reduce(reduction=Reduction.MAX, axes=(axis,)))
    net.edge = net.emit(Sub(), top, net.edge)
    net.then(Cast(out=Format(False, 6, 0), rounding=Rounding.TRN, overflow=Overflow.SAT))
    exponentials = np.exp(-np.arange(64) / float(net.one_of(2.0, 9.0)))
    newton = net.below(2) == 0
    if newton:
        values = np.rint(exponentials * ((1 << 31) - 1)).astype(np.int64)
        added: Accumulator = Exact()
        terms = net.emit(Table(values=values >> SUM_FRACTION, out=BITS))
    else:
        values, added = patterns(exponentials), Float32()
        terms = net.emit(Table(values=values, out=BITS))
    total = net.emit(Reduce(reduction=Reduction.SUM, axes=(axis,), accumulator=added), terms)
    least = int(values[0] >> SUM_FRACTION) if newton else int(values[0])
    total = net.emit(Relu(zero_point=least), total)
    net.then(Table(values=values, out=BITS))
    division = Division.NEWTON if newton else Division.FLOAT32
    share = Share(out=Format.int(8), division=division, zero_point=net.below(200) - 100)
    net.edge = net.emit(share, net.edge, total)


def normalized(net: Mixed) -> None:
    """Each code times one over the root of the squares along the channels."""
    squares = net.emit(Mul(), net.edge, net.edge)
    total = net.emit(Reduce(reduction=Reduction.SUM, axes=(len(net.x.shape) - 1,)), squares)
    total = net.emit(Relu(), total)
    offset = float(net.one_of(1.0, 0.37, 250.5))
    root = net.emit(Rsqrt(offset=offset, bits=8), total)
    net.edge = net.emit(Mul(), net.edge, root)


def products(net: Mixed) -> None:
    """A matrix times itself, turned."""
    axes = (*range(len(net.x.shape) - 2), len(net.x.shape) - 1, len(net.x.shape) - 2)
    turned = net.emit(Transpose(axes=axes))
    net.edge = net.emit(MatMul(), net.edge, turned)


Step = Callable[[Mixed], None]
STEPS: tuple[tuple[Step, Callable[[TensorType], bool], set[type[Op]]], ...] = (
    (sums, lambda x: True, set()),
    (pool, lambda x: len(x.shape) in (2, 3) and min(x.shape[:-1]) > 1, set()),
    (each_code, lambda x: True, set()),
    (moved, lambda x: True, set()),
    (reduced, lambda x: True, set()),
    (met, lambda x: True, set()),
    (softmax, lambda x: x.channels > 1, set()),
    (shares, lambda x: x.channels > 1, {Quotient}),
    (fractions, lambda x: x.channels > 1, {Share}),
    (normalized, lambda x: x.channels > 1, {Rsqrt}),
    (products, lambda x: len(x.shape) >= 2 and x.shape[-2] <= 8, {MatMul}),
)
"""What can come next: for which tensors, and with the hardware of which operators."""


def mixed(seed: int) -> Graph:
    """Four to seven steps, and now and then the largest code's place."""
    net = Mixed(seed)
    for _ in range(4 + net.below(4)):
        net.step()
        if net.x.size > LARGEST:
            net.then(Flatten())
            net.then(Select(axis=0, indices=tuple(range(0, net.x.size, net.x.size // 20))))
    if net.below(4) == 0 and net.x.channels > 1:
        net.then(ArgMax())
    return net.graph()
